"""The latent space of records: the principal axes that explain most of their variance.

They come from the covariance of the columns. A table that is too wide for that and has fewer rows than columns has them
from its rows: n rows vary along at most n axes, and their variances are the eigenvalues of the n x n products of the
centred rows over n (the dual form of principal components).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from ehrsynth.layout import Records
from ehrsynth.metrics.missing import filled_blocks
from ehrsynth.metrics.moments import WHOLE, moments

Moments = tuple[Tensor, Tensor]  # mean [p] and covariance [p, p]

EXPLAINED = 0.8  # share of the variance that the latent space keeps
MATRICES = 7  # of the size of the products that are held when their eigenvectors are found
CELLS = 2**24  # of the rows that are multiplied at a time


class LatentSpace(Protocol):
    """Where records lie along the axes."""

    @property
    def spread(self) -> Tensor:
        """Standard deviations [d] along the axes of the rows that the space was made of."""

    def project(self, *tables: Records) -> Tensor:
        """Return the latent coordinates [n, d] of the pooled rows in float32."""

    def scaled(self) -> "LatentSpace":
        """Return the same space on the scale where the rows that it was made of vary alike along all axes."""


def latent_space(tables: Sequence[Records], means: Tensor, known: Moments | None = None) -> LatentSpace:
    """Return the latent space of the pooled rows of some tables.

    Args:
        tables: records of one layout.
        means: [C], what to put for missing values.
        known: mean and covariance of the pooled rows, if they are known.
    """
    if known is None and by_rows(tables[0].layout.width, sum(map(len, tables))):
        return RowSpace.of(tables, means)
    mean, covariance = known or moments(*tables, means=means)
    return ColumnSpace(means, mean, covariance, principal_axes(covariance))


def by_rows(width: int, rows: int) -> bool:
    """Return whether a table is too wide for the covariance of its columns, and has fewer rows than columns."""
    return width > WHOLE and rows < width


def space_memory(width: int, rows: int) -> int:
    """Return the bytes that finding the axes takes: products, eigenvectors and what LAPACK works in, all float64."""
    return MATRICES * 8 * (rows if by_rows(width, rows) else width) ** 2


def principal_axes(covariance: Tensor, explained: float = EXPLAINED) -> Tensor:
    """Return the fewest leading eigenvectors [p, d] that explain at least ``explained`` of the variance."""
    variances, axes = torch.linalg.eigh(covariance)
    variances, axes = variances.flip(0).clamp_min(0), axes.flip(1)
    reached = variances.cumsum(0) / variances.sum()
    kept: Tensor = axes[:, : int((reached < explained - 1e-12).sum()) + 1]
    return kept


@dataclass(frozen=True)
class ColumnSpace:
    """By the covariance of the columns.

    Attributes:
        means: [C], what to put for missing values.
        mean: [p] of the rows.
        covariance: [p, p] of the rows.
        axes: [p, d].
    """

    means: Tensor
    mean: Tensor
    covariance: Tensor
    axes: Tensor

    @property
    def spread(self) -> Tensor:
        """See ``LatentSpace``."""
        return (self.axes.T @ self.covariance @ self.axes).diagonal().sqrt()

    def project(self, *tables: Records) -> Tensor:
        """See ``LatentSpace``."""
        axes, offset = self.axes.float(), (self.mean @ self.axes).float()
        return torch.cat([rows @ axes - offset for table in tables for rows in filled_blocks(table, self.means)])

    def scaled(self) -> LatentSpace:
        """See ``LatentSpace``."""
        return replace(self, axes=self.axes / self.spread)


@dataclass(frozen=True)
class RowSpace:
    """By the products of n rows.

    Attributes:
        means: [C], what to put for missing values.
        mean: [p] of the rows.
        tables: the rows.
        weights: [n, d], of the products with the rows in each coordinate.
        spread: [d].
    """

    means: Tensor
    mean: Tensor
    tables: Sequence[Records]
    weights: Tensor
    spread: Tensor

    @classmethod
    def of(cls, tables: Sequence[Records], means: Tensor) -> Self:
        """Find the axes of the pooled rows of ``tables``."""
        n = sum(map(len, tables))
        mean = torch.stack([x.sum(0, dtype=torch.float64) for t in tables for x in filled_blocks(t, means)]).sum(0) / n
        products = _products(tables, tables, mean, means)
        axes = principal_axes(products / n)
        spread = ((axes.T @ products @ axes).diagonal() / n).clamp_min(0).sqrt()
        return cls(means, mean, tables, axes * torch.where(spread > 0, 1 / (spread * n**0.5), 0.0), spread)

    def project(self, *tables: Records) -> Tensor:
        """See ``LatentSpace``."""
        return (_products(tables, self.tables, self.mean, self.means) @ self.weights).float()

    def scaled(self) -> LatentSpace:
        """See ``LatentSpace``."""
        return replace(self, weights=self.weights / self.spread)


def _products(left: Sequence[Records], right: Sequence[Records], mean: Tensor, means: Tensor) -> Tensor:
    """Return the products [m, n] of all pooled centred rows on the left with those on the right."""
    return torch.cat(
        [
            torch.cat([rows @ others.T for others in _centred(right, mean, means)], dim=1)
            for rows in _centred(left, mean, means)
        ]
    )


def _centred(tables: Sequence[Records], mean: Tensor, means: Tensor) -> Iterator[Tensor]:
    """Yield the rows in order as float64 without their mean, a block at a time."""
    for table in tables:
        for part in table.blocks(max(CELLS // len(mean), 1)):
            for rows in filled_blocks(part, means):
                yield rows.double() - mean
