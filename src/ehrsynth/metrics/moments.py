"""First and second moments of encoded records, streamed in blocks, and the correlations they give."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from ehrsynth.layout import Records
from ehrsynth.metrics.missing import filled_blocks

WHOLE = 4096  # columns up to which the products of every two of them are held at once


class Moments(Metric):
    """Count, sum and Gram matrix of rows; they add up over batches and over ranks.

    The sums are float64. Products of 0/1 columns are whole numbers below the rows of a batch, which
    float32 holds exactly up to 2^24 and multiplies twice as fast; all other products are float64.

    Args:
        width: number of columns, p.
        binary: how many leading columns hold only 0 and 1.
        groups: of rows, kept apart for the jackknife; memory is groups x p x p x 8 bytes.
        sync: add up over ranks when computing; False where one rank holds all rows.
    """

    count: Tensor
    total: Tensor
    gram: Tensor

    def __init__(self, width: int, binary: int = 0, groups: int = 1, sync: bool = True) -> None:
        super().__init__(sync_on_compute=sync)
        self.binary = binary
        self.add_state("count", torch.zeros(groups, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(groups, width, dtype=torch.float64), dist_reduce_fx="sum")
        # Empty until there are rows, since torchmetrics keeps a copy of what a state begins as.
        self.add_state("gram", torch.zeros(groups, 0, 0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, x: Tensor, group: int = 0) -> None:
        """Add rows ``x`` [m, p] without missing values to a group; m below 2^24."""
        groups, width = self.total.shape
        if self.gram.shape[1] != width:
            self.gram = self.gram.new_zeros(groups, width, width)
        bits, rest = x[:, : self.binary].float(), x[:, self.binary :].double()
        self.count[group] += len(x)
        self.total[group, : self.binary] += bits.sum(0)
        self.total[group, self.binary :] += rest.sum(0)
        add_products(self.gram[group], bits, rest)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return mean [p] and (population) covariance [p, p] of all rows; torchmetrics drops the axes if p is 1."""
        return _centred(self.count.sum(), self.total.sum(0), self.gram.sum(0))

    def replicates(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield mean and covariance of all rows, then without each group; of one group, only of all rows."""
        sums = self.count.sum(), self.total.sum(0), self.gram.sum(0)
        yield _centred(*sums)
        for group in zip(self.count, self.total, self.gram, strict=True) if len(self.count) > 1 else ():
            yield _centred(*(whole - part for whole, part in zip(sums, group, strict=True)))


def add_products(gram: Tensor, bits: Tensor, rest: Tensor) -> None:
    """Add to ``gram`` [b, p] the products of the first b columns of rows with all p of them.

    Args:
        gram: float64.
        bits: float32 [m, B], the columns of zeros and ones, which come first.
        rest: float64 [m, p - B], all others.
    """
    binary = bits.shape[1]
    few = bits[:, : len(gram)]
    gram[:binary, :binary] += few.T @ bits
    if rest.shape[1]:
        cross = few.double().T @ rest
        gram[:binary, binary:] += cross
        if values := len(gram[binary:]):
            gram[binary:, :binary] += cross[:, :values].T
            gram[binary:, binary:].addmm_(rest[:, :values].T, rest)


def _centred(count: Tensor, total: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
    mean = total / count
    return mean, (gram / count).sub_(torch.outer(mean, mean))


def grouped_moments(groups: Sequence[Records], means: Tensor) -> Moments:
    """Return the moments of groups of records, kept apart.

    Args:
        groups: records of one layout.
        means: [C], what to put for missing values.
    """
    return _added_up(groups, range(len(groups)), means)


def moments(*tables: Records, means: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean [p] and covariance [p, p] of the pooled rows of ``tables``.

    Args:
        tables: records of one layout.
        means: [C], what to put for missing values.
    """
    return next(_added_up(tables, [0] * len(tables), means).replicates())


def _added_up(tables: Sequence[Records], groups: Sequence[int], means: Tensor) -> Moments:
    layout = tables[0].layout
    metric = Moments(layout.width, binary=layout.binary.stop, groups=max(groups) + 1, sync=False)
    for table, group in zip(tables, groups, strict=True):
        for rows in filled_blocks(table, means):
            metric.update(rows, group)
    return metric


def pooled(*parts: Moments) -> tuple[Tensor, Tensor]:
    """Return mean [p] and covariance [p, p] of all rows that ``parts`` have seen together."""
    count, total, gram = (
        torch.stack([getattr(part, name).sum(0) for part in parts]).sum(0) for name in ("count", "total", "gram")
    )
    return _centred(count, total, gram)
