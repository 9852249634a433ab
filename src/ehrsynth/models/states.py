"""Records as rows of discrete states: one variable for each schema column, numbers by ranges of equal share."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ehrsynth.bits import unpack
from ehrsynth.disclosure import LEAST
from ehrsynth.layout import Layout, Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.quantiles import places_of, places_within, values_at

BLOCK = 4096  # rows at a time


@dataclass(frozen=True, eq=False)
class States:
    """How records [n, p] become states [n, d] and states become records.

    The variables are the codes (absent, present), then the categories (their levels), then the numbers: their ranges,
    and missing if they may be. A number within a range is drawn from its law there.

    Attributes:
        layout: of the records.
        quantiles: the law of each number: [GRID, C] as ``quantiles`` finds it, or [2, KNOTS, C] as ``law_of``.
        edges: [C, most ranges + 1], the places in a number's law where its ranges meet, from 0 to 1; filled up with 1.
    """

    layout: Layout
    quantiles: Tensor = field(repr=False)
    edges: Tensor = field(repr=False)

    @cached_property
    def law(self) -> Tensor:
        """The law of each number, without the knots at its end that only fill it up."""
        if self.quantiles.ndim == 2:
            return self.quantiles
        return self.quantiles[:, : int((self.quantiles[0] < 1).sum(0).max()) + 1] if len(self.edges) else self.quantiles

    @cached_property
    def codes(self) -> int:
        """Number of codes, which are encoded first."""
        return sum(encoded.kind == "bit" for encoded in self.layout.fields)

    @cached_property
    def columns(self) -> list[str]:
        """The schema column of each variable."""
        fields = self.layout.fields
        numbers = (number.column for number in fields[self.layout.values])
        return [*(code.column for code in fields[: self.codes]), *self.layout.groups, *numbers]

    @cached_property
    def ranges(self) -> list[int]:
        """How many ranges each number has."""
        return (self.edges < 1).sum(1).tolist()

    @cached_property
    def gaps(self) -> list[int | None]:
        """The encoded column that says whether each number is missing; None if it cannot be."""
        found = {value: bit for bit, value in self.layout.missing_bits()}
        return [found.get(number) for number in range(len(self.edges))]

    @cached_property
    def sizes(self) -> list[int]:
        """How many states each variable has."""
        levels = [group.stop - group.start for group in self.layout.groups.values()]
        numbers = [ranges + (gap is not None) for ranges, gap in zip(self.ranges, self.gaps, strict=True)]
        return [2] * self.codes + levels + numbers

    def of(self, records: Records) -> Tensor:
        """Return the states [n, d] of records; of a value that many rows share, the range that has it."""
        bits = unpack(records.bits)
        levels = [bits[:, group].argmax(1, keepdim=True) for group in self.layout.groups.values()]
        values = records.values.nan_to_num(0.0)
        places = (places_of(values, self.law, False) + places_of(values, self.law, True)) / 2
        numbers = self._range_of(places)
        for number, gap in enumerate(self.gaps):
            if gap is not None:
                numbers[bits[:, gap] > 0, number] = self.ranges[number]
        return torch.cat([bits[:, : self.codes].long(), *levels, numbers], dim=1)

    def blocks(self, records: Records) -> Iterator[Tensor]:
        """Yield the states of records, some rows at a time."""
        return map(self.of, records.blocks(BLOCK))

    def evidence(self, condition: Condition) -> Tensor:
        """Return the log of the chance [1 or n, S] that each state of each variable meets a condition."""
        given, low = condition.given, condition.low
        codes = torch.stack([1 - low[:, : self.codes], low[:, : self.codes]], dim=2)
        chances = [codes.where(given[:, : self.codes, None], 1.0).flatten(1)]
        chances += [low[:, group].where(given[:, group], 1.0) for group in self.layout.groups.values()]
        start, end = places_within(condition, self.law)
        holds = torch.stack([self._range_of(start), self._range_of(end)])
        for number, (ranges, gap) in enumerate(zip(self.ranges, self.gaps, strict=True)):
            edges, first, last = self.edges[number, : ranges + 1], start[:, number, None], end[:, number, None]
            shared = (torch.minimum(last, edges[1:]) - torch.maximum(first, edges[:-1])).clamp(min=0) / edges.diff()
            # A single value has no share of any range: it lies in one of them.
            within = torch.nn.functional.one_hot(holds[1, :, number], ranges).to(shared.dtype)
            chance = torch.where(last > first, shared, within)
            if gap is not None:
                known, missing = given[:, gap, None], low[:, gap, None]
                chance = torch.cat([chance * (1 - missing).where(known, 1.0), missing.where(known, 1.0)], dim=1)
            chances.append(chance)
        return torch.cat(chances, dim=1).log()

    def records(self, states: Tensor, generator: torch.Generator, condition: Condition | None) -> Tensor:
        """Return hard records [n, p] that have the states [n, d], and what the condition asks for."""
        rows = torch.zeros(len(states), self.layout.width, device=states.device)
        rows[:, : self.codes] = states[:, : self.codes].float()
        each = torch.arange(len(states), device=states.device)
        for variable, group in enumerate(self.layout.groups.values(), start=self.codes):
            rows[each, group.start + states[:, variable]] = 1.0
        numbers = states[:, len(states[0]) - len(self.edges) :] if len(states) else states[:, :0]
        for number, gap in enumerate(self.gaps):
            if gap is not None:
                rows[:, gap] = (numbers[:, number] == self.ranges[number]).float()
        last = torch.tensor(self.ranges, dtype=torch.int64, device=states.device) - 1
        at = torch.minimum(numbers, last).T
        low, high = self.edges.gather(1, at).T, self.edges.gather(1, at + 1).T
        if condition is not None:
            start, end = places_within(condition, self.law)
            low, high = torch.maximum(low, start), torch.minimum(high, end)
        places = torch.lerp(low, high, torch.rand(low.shape, generator=generator, device=states.device))
        rows[:, self.layout.values] = values_at(places.clamp(0, 1), self.law).clamp(0, 1)
        return rows if condition is None else condition.imposed_on(rows)

    def _range_of(self, places: Tensor) -> Tensor:
        """Return the range [n, C] that holds each place."""
        found = torch.searchsorted(self.edges, places.T.contiguous(), right=True) - 1
        return torch.minimum(found, torch.tensor(self.ranges, dtype=torch.int64, device=places.device)[:, None] - 1).T


def shares_of(states: States, means: Tensor) -> list[Tensor]:
    """Return the shares of the states of each variable, by the means [p] of the columns and the laws of numbers."""
    codes = [torch.stack([1 - mean, mean]) for mean in means[: states.codes]]
    groups = [means[group] for group in states.layout.groups.values()]
    widths = states.edges.diff(dim=1, append=states.edges.new_ones(len(states.edges), 1))
    numbers = []
    for width, ranges, gap in zip(widths, states.ranges, states.gaps, strict=True):
        missing = means[gap : gap + 1] if gap is not None else means[:0]
        numbers.append(torch.cat([width[:ranges] * (1 - missing.sum()), missing]))
    return [*codes, *groups, *numbers]


def edges_of(train: Records, quantiles: Tensor, most: int) -> Tensor:
    """Return the edges of about ``most`` ranges of equal share, each of at least ``LEAST`` training rows.

    A value that many rows share is within one of them, alone if it has enough. Where the law knows which values rows
    share, and these are few, each has a range of its own.

    Args:
        train: the rows.
        quantiles: a law of either form.
        most: ranges wanted; there are at most twice as many.
    """
    return edges_by((~train.with_gaps().values.isnan()).sum(0), quantiles, most)


def edges_by(observed: Tensor, quantiles: Tensor, most: int) -> Tensor:
    """Return the same by how many rows [C] have each number, whole numbers, and its law."""
    found = torch.ones(quantiles.shape[-1], 2 * most + 1)
    for number, rows in enumerate(observed.tolist()):
        ranges = max(1, min(most, rows // (2 * LEAST)))
        law = quantiles[..., number : number + 1]
        values = values_at(torch.linspace(0, 1, ranges + 1)[:, None], law)
        cuts = torch.cat([places_of(values, law, right) for right in (False, True)])
        kept = _kept(cuts, 0.5 / ranges)
        if law.ndim == 3 and len(each := _kept(torch.cat([cuts, _shared(law)]), (LEAST - 0.5) / max(rows, 1))) <= most:
            kept = each
        if len(kept) == 1:
            kept.append(0.5)  # a variable has two states at least
        found[number, : len(kept)] = torch.tensor(kept)
    return found


def _kept(cuts: Tensor, apart: float) -> list[float]:
    """Return 0 and those of the cuts, in order, that leave ranges so wide."""
    kept = [0.0]
    for cut in cuts.flatten().unique().tolist():
        if kept[-1] + apart <= cut <= 1 - apart:
            kept.append(cut)
    return kept


def _shared(law: Tensor) -> Tensor:
    """Return the places [k, 1] where values that many rows share begin and end in a law [2, KNOTS, 1]."""
    places, values = law
    flat = (values.diff(dim=0) == 0) & (places.diff(dim=0) > 0)
    return torch.cat([places[:-1][flat], places[1:][flat]])[:, None]
