"""The network of TabDDPM and TabSyn: an MLP that is told the noise level, or the step, and labels at its start."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ehrsynth.models.diffusion.embedding import Sinusoid
from ehrsynth.models.nn import mlp


class ToldMLP(nn.Module):
    """x = Linear(x) + noise(c) + SiLU(Linear(labels)), then an MLP; ``noise`` is Linear, SiLU, Linear of sinusoids.

    Args:
        columns: of rows, in and out.
        labels: k, numbers that it is told beside the noise level.
        stem_width: of the first layer.
        widths: of the MLP's hidden layers.
        activation: between these.
    """

    def __init__(
        self,
        columns: int,
        labels: int,
        stem_width: int,
        widths: Sequence[int],
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.noise = nn.Sequential(
            Sinusoid(stem_width), nn.Linear(stem_width, stem_width), nn.SiLU(), nn.Linear(stem_width, stem_width)
        )
        self.label = nn.Sequential(nn.Linear(labels, stem_width), nn.SiLU()) if labels else None
        self.stem = nn.Linear(columns, stem_width)
        self.body = mlp([stem_width, *widths, columns], activation)

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """Map rows [n, p], noise conditions or steps [n, 1] or [1, 1] and labels [n, k] to [n, p], in float32."""
        x = self.stem(x) + self.noise(noise)
        if self.label is not None:
            x = x + self.label(labels)
        output: Tensor = self.body(x)
        return output.float()
