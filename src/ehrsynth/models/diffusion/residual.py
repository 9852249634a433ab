"""A denoiser for rows of many sparse columns: linear stem, residual blocks modulated by the noise level, linear head.

Layer normalisation modulated by a condition as in Peebles and Xie, Scalable Diffusion Models with Transformers, 2023.
"""

from torch import Tensor, nn

from ehrsynth.models.diffusion.embedding import FourierFeatures


class ModulatedBlock(nn.Module):
    """x + W2 drop(silu(W1 (norm(x) (1 + scale) + shift))), scale and shift linear in the context."""

    def __init__(self, width: int, context: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(context, 2 * width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map [..., width] and its context [..., c] to [..., width]."""
        scale, shift = self.modulation(context).chunk(2, dim=-1)
        changed: Tensor = self.layers(self.norm(x) * (1 + scale) + shift)
        return x + changed


class ResidualDenoiser(nn.Module):
    """F of the preconditioning, [n, p] to [n, p], told the noise level and labels. Its head starts at zero.

    Args:
        columns: p.
        width: of stem and blocks.
        depth: number of blocks.
        context: width of what blocks are modulated by; an even number.
        labels: k, numbers that it is told beside the noise level.
        dropout: within blocks, in training.
    """

    def __init__(
        self, columns: int, *, width: int, depth: int, context: int, labels: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.context = nn.Sequential(FourierFeatures(context), nn.Linear(context, context), nn.SiLU())
        self.labels = nn.Linear(labels, context, bias=False) if labels else None
        self.stem = nn.Linear(columns, width)
        self.blocks = nn.ModuleList(ModulatedBlock(width, context, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, columns)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """Map scaled rows [..., p], noise conditions [..., 1] and labels [..., k] to [..., p]."""
        context = self.context(noise)
        if self.labels is not None:
            context = context + self.labels(labels)
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, context)
        out: Tensor = self.head(self.norm(x))
        return out
