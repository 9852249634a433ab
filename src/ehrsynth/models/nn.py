"""Network parts that models of several papers share."""

import copy
import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as processes

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
        if not self.training or not _of_several():
            return super().forward(x)
        rows = x.movedim(1, -1).flatten(0, -2).to(self.weight.dtype)
        mean = mean_over_processes(rows)
        variance = mean_over_processes((rows - mean).square())
        n = processes.get_world_size() * len(rows)
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean.detach(), self.momentum)
        self.running_var.lerp_(variance.detach() * n / (n - 1), self.momentum)
        self.num_batches_tracked += 1
        rows = (rows - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias
        return rows.view(x.movedim(1, -1).shape).movedim(-1, 1).to(x.dtype)


def mean_over_processes(rows: Tensor) -> Tensor:
    """Return the mean of rows [n, ...] of all processes, which have equally many, so that several see what one does."""
    if not _of_several():
        return rows.mean(0)
    total: Tensor = _SumOverProcesses.apply(rows.mean(0))  # type: ignore[no-untyped-call]
    return total / processes.get_world_size()


def _of_several() -> bool:
    return processes.is_available() and processes.is_initialized()


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        processes.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total: Tensor = _SumOverProcesses.apply(*gradients)  # type: ignore[no-untyped-call]  # and so has a gradient too
        return total


class MovingAverage(nn.Module):
    """A copy of a network that averages its weights exponentially; buffers are those of the network.

    The decay is less at first: (1 + n) / (10 + n) in the n-th update, until that reaches ``decay``. As in the code of
    EHRDiff n starts at one, and the initial weights are part of the average. torch's own ``AveragedModel`` asks the
    device for n three times an update, and each time waits until it has done all that it was told before.

    Args:
        network: whose weights are averaged.
        decay: share of the average that an update keeps, in the end.
    """

    n_averaged: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.register_buffer("n_averaged", torch.tensor(1))
        self._updates: int | None = None  # what n_averaged is, once it was asked for

    def forward(self, *args: Any) -> Any:
        """Return what the averaged network makes of its input."""
        return self.module(*args)

    @torch.no_grad()
    def update_parameters(self, network: nn.Module) -> None:
        """Average the weights of the network in, and copy its buffers."""
        n = int(self.n_averaged) if self._updates is None else self._updates
        averages, weights = (list[Tensor](of.parameters()) for of in (self.module, network))
        torch._foreach_lerp_(averages, weights, 1 - min(self.decay, (1 + n) / (10 + n)))
        for kept, current in zip(self.module.buffers(), network.buffers(), strict=True):
            kept.copy_(current)
        self.n_averaged += 1
        self._updates = n + 1

    def _load_from_state_dict(self, *args: Any) -> None:
        self._updates = None
        super()._load_from_state_dict(*args)


def warmup_cosine(warmup: int, total: float, step: int) -> float:
    """Return the share of the learning rate in a step: linear up to one, then a cosine to zero at the end."""
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))
