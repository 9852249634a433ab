"""What a private training learns before its first step: means, laws and histograms, each by one Gaussian mechanism.

Dwork et al., Calibrating noise to sensitivity in private data analysis, TCC 2006. A look is a sum over records to which
none adds a vector longer than what is said of it (L2); the noise is in proportion. What comes after, such as counts
that are not negative, looks at the noisy sums alone.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from ehrsynth.accounting import Gaussian
from ehrsynth.layout import Layout, Records
from ehrsynth.ledger import Look
from ehrsynth.models.quantiles import GRID, values_at
from ehrsynth.schema import Column, Schema

CODES = 32  # of a record that count in full
BINS = 32  # of a number, by its bounds
BLOCK = 8192  # records made dense at a time


class NoisySums:
    """Sums over training patients to which no patient adds a vector longer than is said, and what they were.

    Args:
        noise_multiplier: of one look, if it were the only one.
        number: of looks, which share what that one would spend.
        generator: of the noise, secret, on the CPU.

    Attributes:
        looks: that were taken, for the ledger.
    """

    def __init__(self, noise_multiplier: float, number: int, generator: torch.Generator) -> None:
        self.generator = generator
        self.noise_multiplier, self._left = noise_multiplier * number**0.5, number
        self.looks: tuple[Look, ...] = ()

    def told(
        self, what: str, parts: Iterable[Tensor], total: Tensor, most: float, why: str = "where the training starts"
    ) -> Tensor:
        """Return the sum of parts [n, ...] with noise; no patient has a norm above ``most``.

        Args:
            what: it is, for the ledger.
            parts: of some patients each.
            total: zeros of the shape of the sum.
            most: the norm.
            why: more about it, for the ledger.
        """
        assert self._left > 0, f"{what}: no look is left"
        self._left -= 1
        for part in parts:
            total = total + part.sum(0)
        told = Gaussian(self.noise_multiplier, sensitivity=most)
        self.looks = (*self.looks, Look(what, told, why))
        noise = torch.randn(total.shape, generator=self.generator, dtype=torch.float64)
        noisy: Tensor = total + most * self.noise_multiplier * noise
        return noisy


class NoisyLooks(NoisySums):
    """The looks that a model of rows may take at training records.

    Args:
        train: one record a patient, without missing values; their number is not secret.
        noise_multiplier: of one look, if it were the only one.
        number: of looks, which share what that one would spend.
        generator: of the noise, secret, on the CPU.
    """

    def __init__(self, train: Records, noise_multiplier: float, number: int, generator: torch.Generator) -> None:
        super().__init__(noise_multiplier, number, generator)
        self.train = train

    def means(self) -> Tensor:
        """Return means [p] of all columns; those of a group add up to one.

        A record counts with a norm of at most the square root of ``CODES`` plus its other columns; few have more codes.
        """
        records, layout = self.train, self.train.layout
        groups, others = len(layout.groups), layout.width - layout.values.start + len(layout.missing_bits())
        most = (CODES + groups + others) ** 0.5
        parts = (within(part.dense().double(), most) for part in records.blocks(BLOCK))
        total = self.told("means of columns", parts, torch.zeros(layout.width, dtype=torch.float64), most)
        means = (total / len(records)).clamp(0.5 / len(records), 1 - 0.5 / len(records))
        for group in layout.groups.values():
            means[group] /= means[group].sum()
        return means.float()

    def laws(self, schema: Schema) -> Tensor:
        """Return the law [2, k, C] of each number, places and values (see ``quantiles``), by ranges of its bounds.

        A number is even within a range; a count of few values has a range for each of them.
        """
        layout = self.train.layout
        columns = [schema.by_name[field.column] for field in layout.fields[layout.values]]
        edges = [public_edges(column, BINS) for column in columns]
        width = max(map(len, edges), default=0)

        def counted(records: Records) -> Tensor:
            rows, found = records.dense(), torch.zeros(len(records), len(columns), width, dtype=torch.float64)
            for number, of in enumerate(edges):
                place = (torch.searchsorted(of, rows[:, layout.values][:, number].contiguous(), right=True) - 1).clamp(
                    0
                )
                found[torch.arange(len(rows)), number, place] = 1.0
            for bit, number in layout.missing_bits():
                found[rows[:, bit] > 0, number] = 0.0
            return found

        empty = torch.zeros(len(columns), width, dtype=torch.float64)
        parts = map(counted, self.train.blocks(BLOCK))
        counts = self.told("ranges of numbers", parts, empty, len(columns) ** 0.5)
        laws = torch.zeros(2, 2 * width + 1, len(columns))
        laws[0, -1] = 1
        for number, (column, of) in enumerate(zip(columns, edges, strict=True)):
            laws[:, :, number] = _law(column, of, counts[number, : len(of)], laws.shape[1])
        return laws

    def histograms(self, what: str, counts: Iterable[Tensor], bins: int, columns: int) -> Tensor:
        """Return how many records [columns, bins] have each number of something; the last bin has more, too.

        Args:
            what: it is, for the ledger.
            counts: of records, parts [n, columns] of whole numbers.
            bins: of each column.
            columns: how many.
        """
        parts = (torch.nn.functional.one_hot(part.clamp(max=bins - 1), bins).double() for part in counts)
        return self.told(what, parts, torch.zeros(columns, bins, dtype=torch.float64), columns**0.5)


def within(rows: Tensor, most: float) -> Tensor:
    """Return vectors of patients [n, ...], those that are longer than ``most`` shortened to it."""
    norms = rows.flatten(1).norm(dim=1).clamp(min=most)
    shorter: Tensor = rows * (most / norms).view(-1, *[1] * (rows.ndim - 1))
    return shorter


def public_edges(column: Column, bins: int) -> Tensor:
    """Return where the ranges of a number meet, by its bounds alone; a count of few values has one for each."""
    assert column.bounds is not None
    width = column.bounds[1] - column.bounds[0]
    if width <= 0:
        return torch.tensor([0.0, 0.5])  # a variable has two states at least
    if few_values(column, bins):
        return torch.cat([torch.zeros(1), (torch.arange(width) + 0.5) / width])
    return torch.arange(bins) / bins


def public_ranges(schema: Schema, bins: int) -> tuple[Tensor, Tensor]:
    """Return laws [GRID, C] and edges of ranges [C, 2 bins + 1] of numbers, as ``States`` takes them, by bounds alone.

    A number is even within its bounds, and so within each range.
    """
    layout = Layout.of(schema)
    numbers = [schema.by_name[field.column] for field in layout.fields[layout.values]]
    laws, edges = torch.zeros(GRID, len(numbers)), torch.ones(len(numbers), 2 * bins + 1)
    for i, column in enumerate(numbers):
        own = public_edges(column, bins)
        edges[i, : len(own)] = own
        assert column.bounds is not None
        if column.bounds[0] < column.bounds[1]:
            laws[:, i] = torch.linspace(0, 1, GRID)
    return laws, edges


def few_values(column: Column, bins: int) -> bool:
    """Return whether a number is a count of less than ``bins`` values."""
    assert column.bounds is not None
    return column.kind == "count" and 0 < column.bounds[1] - column.bounds[0] < bins


def norm_sub(counts: Tensor, total: float) -> Tensor:
    """Return the nearest counts that are not negative and have this sum: Wang et al., NDSS 2020 (Norm-Sub)."""
    if not len(counts):
        return counts
    ordered = counts.sort(descending=True).values
    excess = (ordered.cumsum(0) - total) / torch.arange(1, len(counts) + 1)
    kept = int((ordered > excess).sum().clamp(min=1))
    return (counts - excess[kept - 1]).clamp(min=0)


def grid_of(laws: Tensor) -> Tensor:
    """Return laws [2, k, C] as quantiles [GRID, C]."""
    return values_at(torch.linspace(0, 1, GRID)[:, None].repeat(1, laws.shape[2]), laws)


def _law(column: Column, edges: Tensor, counts: Tensor, knots: int) -> Tensor:
    """Return a law [2, knots] of noisy counts of ranges."""
    found = norm_sub(counts, max(float(counts.sum()), 1.0))
    ends = (found.cumsum(0) / found.sum()).float()
    starts = torch.cat([torch.zeros(1), ends[:-1]])
    if few_values(column, BINS):
        values = torch.arange(len(edges)) / (len(edges) - 1)
        law = torch.stack([torch.stack([starts, ends]).T.flatten(), values.repeat_interleave(2)])
    else:
        law = torch.stack([torch.cat([starts, ends[-1:]]), torch.cat([edges, torch.ones(1)])])
    law[0, -1] = 1.0
    return torch.cat([law, law[:, -1:].expand(2, knots - law.shape[1])], dim=1)
