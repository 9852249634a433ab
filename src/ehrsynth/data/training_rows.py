"""Which training rows a model sees, and how often: remedies for what is rare or few.

Yan et al., JMIR AI 2024, name two that change the rows: oversampling, and a model of its own for a rare cohort. Giving
every subgroup the same weight is the third. Scores never see any of it: they ask about the rows as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.errors import OptionError, expect
from ehrsynth.layout import Records
from ehrsynth.schema import Column, Schema
from ehrsynth.seeding import torch_rng


@dataclass(frozen=True)
class TrainingRows:
    """What is done to the training rows before a model sees them; nothing by default.

    An epoch has more rows if some come more often: rows are repeated, and none that is kept is lost, unless its factor
    is below one. A fraction of a factor is a chance, drawn once for the whole training.

    Args:
        oversample: how many times as often rows come that have a code (``E10: 20``) or a level (``race.hispanic: 3``,
            or nested); of several that fit a row the factors multiply.
        reweight: binary or categorical columns whose subgroups, by all of them together, shall be equally many: each
            row comes as often as the largest subgroup is larger than its own.
        only: value by column: train on the rows that have it, as for a model of a rare cohort's own.
    """

    oversample: Mapping[str, Any] = field(default_factory=dict)
    reweight: Sequence[str] = ()
    only: Mapping[str, Any] = field(default_factory=dict)

    def chosen(self, train: Records, schema: Schema, seed: int) -> Records:
        """Return the rows that a model is to see, in the order of ``train``, repeated ones beside each other.

        Raises:
            OptionError: a column or level is not in the schema or a number, a factor is none, or no two rows are left.
        """
        weights = torch.ones(len(train), dtype=torch.float64)
        for name, value in leaves(self.oversample):
            fits = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0
            expect(fits, f"rows.oversample.{name}", value, "a factor, zero or above,")
            weights *= torch.where(_having(train, schema, "rows.oversample", name), float(value), 1.0)
        if self.reweight:
            weights *= self._balanced(train, schema)
        for name, value in leaves(self.only):
            weights *= _having(train, schema, "rows.only", f"{name}.{value}")
        if (weights == 1).all():
            return train
        chance = torch.rand(len(train), generator=torch_rng(seed, "training rows"), dtype=torch.float64)
        times = (weights + chance).floor().long()
        if times.sum() < 2:
            raise OptionError(f"rows: {int(times.sum())} training rows are left; two or more were expected")
        return train[torch.arange(len(train)).repeat_interleave(times)]

    def _balanced(self, train: Records, schema: Schema) -> Tensor:
        expect(not isinstance(self.reweight, str), "rows.reweight", self.reweight, "a list of columns")
        places = [
            place for name in self.reweight for place in train.layout.places[_known(schema, "rows.reweight", name).name]
        ]
        _, group, counts = torch.unique(train.bits[:, places], dim=0, return_inverse=True, return_counts=True)
        times: Tensor = counts.max().double() / counts[group]
        return times

    def described(self) -> str:
        """Say what is done, as one would type it; nothing is an empty text."""
        asked = [*leaves({"rows.oversample": self.oversample}), *leaves({"rows.only": self.only})]
        more = [f"rows.reweight=[{','.join(self.reweight)}]"] if self.reweight else []
        return ", ".join([*(f"{name}={value}" for name, value in asked), *more])


def of_cohort(frame: pd.DataFrame, only: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return which rows of a decoded table belong to the cohort that ``TrainingRows.only`` says."""
    found = np.ones(len(frame), bool)
    for name, value in leaves(only):
        cells = frame[name].astype(object)
        found &= (cells.where(cells.notna(), "missing").astype(str) == str(value)).to_numpy(bool)
    return found


def _having(train: Records, schema: Schema, option: str, name: str) -> Tensor:
    """Return which rows have the code or the level that ``name`` says, bool [n]."""
    longest = sorted(schema.names, key=len, reverse=True)
    column = _known(schema, option, next((known for known in longest if f"{name}.".startswith(f"{known}.")), name))
    places, level = train.layout.places[column.name], name[len(column.name) + 1 :]
    if column.kind == "binary":
        expect(level in ("", "0", "1"), f"{option}.{column.name}", level, "0 or 1")
        having: Tensor = train.bits[:, places[0]].bool()
        return having if level != "0" else ~having
    levels = [*column.levels, *(["missing"] if column.missing else [])]
    expect(level in levels, f"{option}.{column.name}", level or None, f"one of {', '.join(levels)}")
    return train.bits[:, places[levels.index(level)]].bool()


def _known(schema: Schema, option: str, name: str) -> Column:
    if name not in schema.by_name or schema.by_name[name].numeric:
        raise OptionError(f"{option}.{name}: no binary or categorical column of the schema")
    return schema.by_name[name]


def leaves(node: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names with their values: the command line nests ``250.01`` and ``race.hispanic`` alike."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
