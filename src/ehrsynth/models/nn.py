"""Network parts that models of several papers share."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as processes
from torch.optim.swa_utils import AveragedModel

from ehrsynth.layout import Layout


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
    """Start a linear layer as Keras does: Glorot uniform weights, zero bias if it has one. For ``nn.Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def glorot_heads_(heads: nn.Linear, layout: Layout) -> None:
    """Start a layer [width, p] as Keras starts one layer for each one-hot group and one for all other columns.

    The range of Glorot's uniform weights falls with the number of outputs, and a group has few.
    """
    glorot_(heads)
    width, columns = heads.in_features, heads.out_features
    alone = columns - sum(group.stop - group.start for group in layout.groups.values())
    outputs = torch.full((columns, 1), float(alone))
    for group in layout.groups.values():
        outputs[group] = group.stop - group.start
    with torch.no_grad():
        heads.weight *= ((width + columns) / (width + outputs)).sqrt()


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the rows of all processes, so that several normalise as one does.

    torch's own way of it, ``SyncBatchNorm``, needs GPUs. All processes have equally many rows.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise rows [n, width], or channels [n, width, length] over their length too."""
        if not self.training or not processes.is_available() or not processes.is_initialized():
            return super().forward(x)
        rows = x.movedim(1, -1).flatten(0, -2).to(self.weight.dtype)
        world = processes.get_world_size()
        mean = _over_processes(rows.mean(0)) / world
        variance = _over_processes((rows - mean).square().mean(0)) / world
        n = world * len(rows)
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean.detach(), self.momentum)
        self.running_var.lerp_(variance.detach() * n / (n - 1), self.momentum)
        self.num_batches_tracked += 1
        rows = (rows - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias
        return rows.view(x.movedim(1, -1).shape).movedim(-1, 1).to(x.dtype)


def _over_processes(x: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(x)  # type: ignore[no-untyped-call]
    return total


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        processes.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _SumOverProcesses.forward(ctx, *gradients)


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return a copy of ``network`` for ``update_parameters`` to average its weights in, exponentially.

    The decay is less at first: (1 + n) / (10 + n) in the n-th update, until that reaches ``decay``. As in the code of
    EHRDiff n starts at one, and the initial weights are part of the average.
    """
    average = AveragedModel(network, multi_avg_fn=partial(_warmed_up_average, decay))
    average.n_averaged.fill_(1)  # at zero torch would replace the average by the weights
    average.requires_grad_(False)
    return average


def _warmed_up_average(decay: float, averages: Any, weights: Any, updates: Any) -> None:
    n = float(updates)
    torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + n) / (10 + n)))


def warmup_cosine(warmup: int, total: float, step: int) -> float:
    """Return the share of the learning rate in a step: linear up to one, then a cosine to zero at the end."""
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))
