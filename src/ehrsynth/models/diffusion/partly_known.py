"""Networks for records of which a part is known: one reveals codes and groups, one denoises numbers."""

import torch
from torch import Tensor, nn

from ehrsynth.models.diffusion.embedding import FourierFeatures
from ehrsynth.models.diffusion.precondition import Network
from ehrsynth.models.nn import ResidualStack


class Revealer(nn.Module):
    """Logits of codes and levels, given those that are not hidden, the numbers, and which of these are missing."""

    def __init__(self, seen: int, numbers: int, columns: int, width: int, depth: int) -> None:
        super().__init__()
        self.stack = _residual(seen + numbers, width, depth)
        self.output = nn.Linear(width, columns)
        nn.init.zeros_(self.output.weight)

    def forward(self, seen: Tensor, scores: Tensor) -> Tensor:
        """Map what ``Masking.seen`` shows and the scores of numbers [..., C] to logits [..., B]."""
        logits: Tensor = self.output(self.stack(torch.cat([seen, scores], dim=-1)))
        return logits


class Denoiser(nn.Module):
    """EDM's F for the scores of numbers, given those that are known and the codes and levels that are not hidden."""

    def __init__(self, seen: int, numbers: int, width: int, depth: int) -> None:
        super().__init__()
        self.context = nn.Linear(seen, width) if seen else None
        self.noise = nn.Sequential(FourierFeatures(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.first = nn.Linear(2 * numbers, width)
        self.stack = _residual(width, width, depth)
        self.output = nn.Linear(width, numbers)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, seen: Tensor) -> Tensor:
        """Return what all calls for these records share, whatever the noise: a context [..., width]."""
        context: Tensor = seen.new_zeros(*seen.shape[:-1], 1) if self.context is None else self.context(seen)
        return context

    def given(self, context: Tensor, scores: Tensor, known: Tensor) -> Network:
        """Return F for records with this context, whose ``known`` [..., C] scores are these."""

        def network(noisy: Tensor, noise: Tensor) -> Tensor:
            at = torch.where(known, scores, noisy)
            x = self.first(torch.cat([at, known.to(at.dtype)], dim=-1)) + context + self.noise(noise)
            out: Tensor = self.output(self.stack(x))
            return out

        return network


class Networks(nn.Module):
    """Both networks; of a table without codes and groups, or without numbers, only the other."""

    def __init__(self, codes: Revealer | None, numbers: Denoiser | None) -> None:
        super().__init__()
        self.codes, self.numbers = codes, numbers


def _residual(inputs: int, width: int, depth: int) -> nn.Module:
    """Return a linear layer, then so many residual ones, ready for a linear output."""
    layers: list[nn.Module] = [nn.Linear(inputs, width)]
    for _ in range(depth):
        layers.append(nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width)))
    return nn.Sequential(ResidualStack(layers), nn.LayerNorm(width), nn.SiLU())
