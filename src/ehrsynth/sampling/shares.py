"""Records whose groups have shares other than those that the model learned: balanced, boosted, or as published."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
import torch
from numpy.typing import NDArray

from ehrsynth.errors import OptionError
from ehrsynth.layout import Records
from ehrsynth.models.base import SyntheticModel
from ehrsynth.sampling.draw import sample_records
from ehrsynth.sampling.questions import Demand, Indices, Questions
from ehrsynth.sampling.wanted import Answers, Range, conditions, expected, wanted
from ehrsynth.schema import Column, Schema
from ehrsynth.seeding import derive, numpy_rng

PILOT = 10_000  # records drawn to see which shares groups have
TIMES = 3  # as many records as are wanted that post-selection draws

Boosts = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Shares:
    """What is asked of the shares of groups.

    Attributes:
        balance: column whose levels get equal shares; where it is missing, it is no level.
        boost: by column and level how many times its share is to grow against that of the others; several multiply.
    """

    balance: str | None = None
    boost: Boosts = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The columns that form the groups."""
        return [*self.boost, *([] if self.balance is None else [self.balance])]

    def __str__(self) -> str:
        boosts = [f"boost.{name}.{level}={by:g}" for name, levels in self.boost.items() for level, by in levels.items()]
        return ", ".join([*boosts, *([] if self.balance is None else [f"balance={self.balance}"])])


def demand_of(
    shares: Shares, model: SyntheticModel, n: int, seed: int, condition: Mapping[str, object] | None = None
) -> Demand:
    """Return for each of ``n`` records the group that it is asked to be of, beside a condition that is of all.

    The groups have their shares exactly, up to one record, and come in random order. Boosts need to know the shares
    that the model has learned: they are those of ``PILOT`` records, drawn from a stream of their own.

    Raises:
        OptionError: a column has no levels, or none of this name, or is asked for twice; a boost is no number above
            zero, or of a level that the model does not draw.
    """
    _check(shares, model.schema, condition or {})
    base = wanted(model.schema, condition or {})
    boosted = bool(shares.boost)
    cells, weights = _seen(shares, model, seed, condition) if boosted else _levels(model.schema, shares.columns[0])
    place = {name: i for i, name in enumerate(shares.columns)}
    for name, levels in shares.boost.items():
        for level, by in levels.items():
            (answer,) = _answer(model.schema, name, level)
            there = cells[:, place[name]] == answer
            if not there.any():
                raise OptionError(f"boost.{name}.{level}={by:g}: none of {PILOT:,} records that the model drew has it")
            weights = np.where(there, weights * by, weights)
    numbers = _balanced(shares, model.schema, cells, weights, n) if shares.balance and boosted else counts(weights, n)
    order = numpy_rng(seed, "shares").permutation(np.repeat(np.arange(len(cells)), numbers))
    asked: dict[str, Answers | Range] = {**base, **{name: cells[:, i] for name, i in place.items()}}

    def windows(rows: int) -> Iterator[Questions]:
        distinct = conditions(model.schema, len(cells), asked)
        return (Questions(distinct, order[start : start + rows]) for start in range(0, n, rows))

    return Demand(frozenset(asked), windows, lambda row: str(shares))


def counts(weights: NDArray[np.float64], n: int) -> Indices:
    """Return how many of ``n`` each group gets by its weight; what is left over goes to the largest remainders."""
    exact = weights / weights.sum() * n
    found: Indices = np.floor(exact).astype(np.int64)
    found[np.argsort(found - exact, kind="stable")[: n - found.sum()]] += 1
    return found


def post_selected(
    batches: Iterable[Records], column: Column, parts: NDArray[np.float64], n: int, option: str
) -> Iterator[Records]:
    """Keep of records the first of each level of a column, until each has its part of ``n``.

    Yan et al., Generating Synthetic Electronic Health Record Data Using Generative Adversarial Networks: Tutorial, JMIR
    AI 2024, hand over what they draw so: the outcome has its training share then, whatever the model learned.

    Args:
        batches: of ``TIMES * n`` records.
        column: binary or categorical.
        parts: of its levels, 0 and 1 for a binary one, and missing where that may be.
        n: records to keep.
        option: that asks for it, for the message.

    Raises:
        OptionError: too few of a level were drawn.
    """
    left, drawn = counts(parts, n), 0
    for records in batches:
        level = levels_of(records, column)
        taken = np.zeros(len(records), bool)
        for place, most in enumerate(left):
            taken[np.flatnonzero(level == place)[:most]] = True
        left -= np.bincount(level[taken], minlength=len(left))
        drawn += len(records)
        if taken.any():
            yield records[torch.from_numpy(taken)]
        if not left.any():
            return
    place = int(left.argmax())
    name = ("0", "1")[place] if column.kind == "binary" else [*column.levels, "missing"][place]
    total = int(counts(parts, n)[place])
    raise OptionError(
        f"{option}: {total - int(left[place])} of {drawn} generated records have {name!r}, and {total} are wanted for"
        " the share that training rows have; this model drew too few"
    )


def levels_of(records: Records, column: Column) -> Indices:
    """Return the place of the level that each record has; one beyond the last is missing."""
    places = records.layout.places[column.name]
    cells = records.bits[:, places].to(torch.int64)
    found: Indices = (cells[:, 0] if column.kind == "binary" else cells.argmax(1)).numpy()
    return found


def _check(shares: Shares, schema: Schema, condition: Mapping[str, object]) -> None:
    for name in shares.columns:
        option = f"balance={name}" if name == shares.balance else f"boost.{name}"
        if name not in schema.by_name or schema.by_name[name].numeric:
            raise OptionError(f"{option}: no binary or categorical column of the model's schema")
        if name in condition:
            raise OptionError(f"{option}: condition.{name} says already which of them all records have")
        if name == shares.balance and name in shares.boost:
            raise OptionError(f"{option}: its levels are to have equal shares; boost.{name} asks for others")
    for name, levels in shares.boost.items():
        for level, by in levels.items():
            if isinstance(by, bool) or not isinstance(by, int | float) or not (isfinite(by) and by > 0):
                raise OptionError(f"boost.{name}.{level}={_short(by)}: a number above zero was expected")
            _answer(schema, name, level)


def _short(number: object) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def _answer(schema: Schema, name: str, level: str) -> Answers:
    try:
        found = wanted(schema, {name: level})[name]
    except OptionError:
        raise OptionError(f"boost.{name}.{level}: {expected(schema.by_name[name])} was expected") from None
    assert isinstance(found, np.ndarray)
    return found


def _levels(schema: Schema, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the levels of a column [k, 1] with equal weights."""
    column = schema.by_name[name]
    k = 2 if column.kind == "binary" else len(column.levels)
    return np.arange(k, dtype=float)[:, None], np.ones(k)


def _seen(
    shares: Shares, model: SyntheticModel, seed: int, condition: Mapping[str, object] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the groups [m, k] that the model draws, each a level for every column, and how often."""
    pilot = sample_records(model, PILOT, derive(seed, "pilot"), condition=condition)
    levels = np.stack([levels_of(pilot, model.schema.by_name[name]) for name in shares.columns], axis=1)
    groups, often = np.unique(levels, axis=0, return_counts=True)
    return groups.astype(float), often.astype(float)


def _balanced(
    shares: Shares, schema: Schema, cells: NDArray[np.float64], weights: NDArray[np.float64], n: int
) -> Indices:
    """Return how many of ``n`` each group gets: every level of the last column as many, its groups by their weights."""
    levels, equal = _levels(schema, shares.columns[-1])
    found = np.zeros(len(cells), np.int64)  # missing is no level
    for level, number in zip(levels[:, 0], counts(equal, n), strict=True):
        there = cells[:, -1] == level
        if not there.any():
            raise OptionError(
                f"{shares}: none of {PILOT:,} records that the model drew has one of the levels of {shares.balance};"
                " leave out boost, or balance"
            )
        found[there] = counts(weights[there], int(number))
    return found
