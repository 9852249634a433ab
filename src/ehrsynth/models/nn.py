"""Network parts and starting values that models of several papers share."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from ehrsynth.bits import ones
from ehrsynth.layout import Layout, Records


class ResidualStack(nn.Module):
    """Layers of one width, each added to its input except the first: x <- f_1(x), then x <- x + f_i(x)."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, input width] to [n, width]."""
        first, *rest = self.layers
        x = first(x)
        for layer in rest:
            x = x + layer(x)
        return x


def mlp(widths: Iterable[int]) -> nn.Sequential:
    """Return linear layers from width to width with a ReLU between each two of them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def glorot_(module: nn.Module) -> None:
    """Start a linear layer as Keras does: Glorot uniform weights, zero bias. For ``nn.Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def marginal_logits(train: Records) -> Tensor:
    """Return logits [p] whose ``Layout.activate`` gives the training means of every column.

    Means are drawn half a row towards uniform (additive smoothing), so that a code nobody or everybody
    has stays finite. Missing values are left out of the mean.
    """
    layout: Layout = train.layout
    means = torch.cat([_smooth_mean(ones(train.bits), len(train)), train.values.nanmean(0)])
    logits = means.clamp(1e-3 / (len(train) + 1), 1 - 1e-6).logit()
    for group in layout.groups.values():
        logits[group] = means[group].log()
    return logits


def _smooth_mean(ones: Tensor, rows: int) -> Tensor:
    return (ones.to(torch.float32) + 0.5) / (rows + 1)
