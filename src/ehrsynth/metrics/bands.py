"""The products of every two columns of a wide table, some columns at a time.

The Gram matrix of p columns is symmetric, so a band holds some columns against themselves and those that follow, and
the bands of a table hold every pair. A table of up to ``WHOLE`` columns is one band.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ehrsynth.layout import Records
from ehrsynth.metrics.correlation import scales
from ehrsynth.metrics.missing import filled_blocks
from ehrsynth.metrics.moments import WHOLE, Moments, add_products

CELLS = 2**22  # products in a band, of each group of records


@dataclass(frozen=True)
class Band:
    """Sums over g groups of records of b columns, and of the w columns from the first of them on.

    Attributes:
        first: number of the first column in the table.
        binary: how many of the w columns are 0/1; they come first.
        count: [g], records.
        total: [g, w], sums.
        squares: [g, w], sums of squares.
        gram: [g, b, w], sums of products.
    """

    first: int
    binary: int
    count: Tensor
    total: Tensor
    squares: Tensor
    gram: Tensor

    @classmethod
    def whole(cls, moments: Moments) -> "Band":
        """Return the band of all columns."""
        squares = moments.gram.diagonal(dim1=1, dim2=2)
        return cls(0, moments.binary, moments.count, moments.total, squares, moments.gram)

    def correlations(self) -> Iterator[Tensor]:
        """Yield the Pearson correlations [b, w] of all records, then without each group; see ``correlation``."""
        b = self.gram.shape[1]
        every = zip(*map(_left_out, (self.count, self.total, self.squares, self.gram)), strict=True)
        for count, total, squares, gram in every:
            mean = total / count
            # Where both are there, the products as they were added up: groups of a diagonal add up in another order.
            squares = torch.cat([gram.diagonal(), squares[b:]])
            scale = scales(mean, squares / count - mean.square())
            covariance = (gram / count).sub_(torch.outer(mean[:b], mean))
            yield covariance.mul_(torch.outer(scale[:b], scale)).clamp_(-1, 1)


def pair_memory(width: int) -> int:
    """Return the bytes that a pass over all pairs of columns takes, with ten groups and what is worked out of them."""
    return 18 * 8 * (width**2 if width <= WHOLE else CELLS)


def bands(groups: Sequence[Records], means: Tensor, cells: int = CELLS) -> Iterator[Band]:
    """Yield the bands of a wide table, each from one pass over its rows.

    Args:
        groups: of its records.
        means: [C], what to put for missing values.
        cells: products in a band at most, of each group.
    """
    layout = groups[0].layout
    width, binary = layout.width, layout.binary.stop
    count = torch.tensor([len(group) for group in groups], dtype=torch.float64)
    total, squares = (torch.zeros(len(groups), width, dtype=torch.float64) for _ in range(2))
    for i, group in enumerate(groups):
        for rows in filled_blocks(group, means):
            total[i] += rows.sum(0, dtype=torch.float64)
            squares[i] += torch.cat([rows[:, :binary], rows[:, binary:].double().square()], dim=1).sum(0)
    for start, stop in _edges(binary, width, max(cells // width, 1)):
        gram = torch.zeros(len(groups), stop - start, width - start, dtype=torch.float64)
        bits = slice(start, max(start, binary))
        for i, group in enumerate(groups):
            for rows in filled_blocks(group, means):
                add_products(gram[i], rows[:, bits], rows[:, bits.stop :].double())
        yield Band(start, bits.stop - start, count, total[:, start:], squares[:, start:], gram)


def _edges(binary: int, width: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield first column and end of each band; no band has both 0/1 columns and numbers."""
    for start, stop in ((0, binary), (binary, width)):
        yield from pairwise([*range(start, stop, columns), stop])


def _left_out(sums: Tensor) -> Iterator[Tensor]:
    """Yield the sum over the groups [g, ...], then without each; of one group, only the sum."""
    every = sums.sum(0)
    yield every
    for part in sums if len(sums) > 1 else ():
        yield every - part
