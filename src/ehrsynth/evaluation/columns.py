"""Encoded records by the columns of the schema: levels, raw numbers, and what Gower's distance takes."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.kinds import MOST_DECIMALS, scaled, unscaled
from ehrsynth.layout import Layout, Records
from ehrsynth.metrics.gower import Mixed
from ehrsynth.metrics.singling_out import Columns
from ehrsynth.schema import Schema

BINS = 10  # equal bins of a number's range, for its entropy


class Levels:
    """Tables by schema column."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.layout = Layout.of(schema)
        self._bits = {field.name: i for i, field in enumerate(self.layout.fields) if field.kind == "bit"}
        self._values = {field.column: i for i, field in enumerate(self.layout.fields[self.layout.values])}

    def level(self, records: Records, name: str) -> NDArray[np.uint16]:
        """Return the number [n] of the level of a 0/1 or categorical column; one more than the last for no level."""
        if name in self._bits:
            return records.bits[:, self._bits[name]].numpy().astype(np.uint16)
        return _with_none(records.bits[:, self.layout.groups[name]]).argmax(1).numpy().astype(np.uint16)

    def raw(self, records: Records, name: str) -> NDArray[np.float64]:
        """Return the numbers [n] of a numeric column in its own unit, rounded as the training data are; NaN missing."""
        return unscaled(self.schema.by_name[name], records.values[:, self._values[name]])

    def of(self, records: Records, names: Sequence[str]) -> NDArray[np.float64]:
        """Return [n, q] level numbers and raw numbers of the named columns."""
        cells = [self.raw(records, name) if name in self._values else self.level(records, name) for name in names]
        return np.stack([np.asarray(cell, dtype=np.float64) for cell in cells], axis=1)

    def scaled(self, records: Records, names: Sequence[str]) -> NDArray[np.float32]:
        """Return [n, q] level numbers and scaled numbers of the named columns."""
        cells = [
            records.values[:, self._values[name]].numpy() if name in self._values else self.level(records, name)
            for name in names
        ]
        return np.stack([np.asarray(cell, dtype=np.float32) for cell in cells], axis=1)

    def columns(self, records: Records) -> Columns:
        """Return the whole table by columns, levels first."""
        names = [column.name for column in self.schema.columns if not column.numeric]
        levels = np.empty((len(names), len(records)), dtype=np.uint16)
        for i, name in enumerate(names):
            levels[i] = self.level(records, name)
        values = np.empty((len(self._values), len(records)), dtype=np.float32)
        for name, i in self._values.items():
            values[i] = self.raw(records, name)
        return Columns(levels, values, np.array([name in self._bits for name in names], dtype=bool))


def at_decimals(schema: Schema, records: Records) -> Records:
    """Return records whose numbers have the decimals of the training data, so that cells that read alike are equal.

    A generator that computes in 32 bits writes 37.400002 for a patient's 37.4. A column without decimals of its own, as
    of measurements that nobody rounded, is left as it is.
    """
    values = records.values.clone()
    for place, field in enumerate(records.layout.fields[records.layout.values]):
        column = schema.by_name[field.column]
        if column.decimals is not None and column.decimals < MOST_DECIMALS:
            values[:, place] = torch.from_numpy(scaled(column, unscaled(column, values[:, place])))
    return replace(records, values=values)


def mixed(records: Records, names: Collection[str]) -> Mixed:
    """Return the named columns as Gower's distance takes them.

    Gaps and cells without any level are marked wherever they are, for S may have some where the schema allows none.
    """
    layout = records.layout
    fields = [(i, field) for i, field in enumerate(layout.fields) if field.column in set(names)]
    values = records.values[:, [i - layout.values.start for i, field in fields if field.kind == "value"]]
    codes = records.bits[:, [i for i, field in fields if field.kind == "bit"]]
    levels = [_with_none(records.bits[:, group]) for name, group in layout.groups.items() if name in names]
    return Mixed(
        torch.cat([codes, values.isnan().to(torch.uint8)], dim=1),
        torch.cat([codes[:, :0], *levels], dim=1),
        values,
    )


def _with_none(group: Tensor) -> Tensor:
    """Return the indicators of a categorical column [n, l + 1] with one more for no level at all."""
    return torch.cat([group, (group == 0).all(1, keepdim=True).to(torch.uint8)], dim=1)


def most_entropic(real: RealData, n: int, without: Collection[str]) -> list[str]:
    """Return the ``n`` columns with the most entropy in R; a number counts in 10 equal bins of its range."""
    levels = Levels(real.schema)
    found = {}
    for column in real.schema.columns:
        if column.name in without:
            continue
        if column.numeric:
            cells = levels.scaled(real.train, [column.name])[:, 0]
            counts = np.histogram(cells[~np.isnan(cells)], BINS)[0]
        else:
            counts = np.bincount(levels.level(real.train, column.name))
        shares = counts[counts > 0] / max(counts.sum(), 1)
        found[column.name] = -float((shares * np.log2(shares)).sum())
    return sorted((name for name in found if found[name] > 0), key=lambda name: (-found[name], name))[:n]
