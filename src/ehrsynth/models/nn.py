"""Network parts that models of several papers share."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


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


def mlp(widths: Iterable[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return linear layers from width to width with a ReLU, or another activation, between each two of them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def glorot_(module: nn.Module) -> None:
    """Start a linear layer as Keras does: Glorot uniform weights, zero bias. For ``nn.Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return a copy of ``network`` for ``update_parameters`` to average its weights in, exponentially.

    The decay is less at first: (1 + n) / (10 + n) after n updates, until that reaches ``decay``.
    """
    average = AveragedModel(network, multi_avg_fn=partial(_warmed_up_average, decay))
    average.requires_grad_(False)
    return average


def _warmed_up_average(decay: float, averages: Any, weights: Any, updates: Any) -> None:
    n = float(updates)
    torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + n) / (10 + n)))
