"""How many records of a table a rule speaks about, and how many break it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.constraints import Constraint, Rules
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.wide import Wide
from ehrsynth.layout import Layout
from ehrsynth.schema import Schema

RULES = 64  # judged together, on dense records of the columns that they name and no others
ROWS = 65_536  # made dense at a time


@dataclass(frozen=True)
class Checked:
    """A rule and what became of it in a table.

    Attributes:
        rule: bound to the schema.
        support: records that could break it.
        exceptions: records that do.
    """

    rule: Constraint
    support: int
    exceptions: int


def checked(rules: Sequence[Constraint], schema: Schema, table: Wide) -> tuple[Checked, ...]:
    """Count support and exceptions of each rule; the rules judge encoded records, as they will everywhere else."""
    columns = {field.name: field.column for field in Layout.of(schema).fields}
    codes = rows_of_codes(table)
    found = list[Checked]()
    for start in range(0, len(rules), RULES):
        some = [rule.bound_to(schema) for rule in rules[start : start + RULES]]
        named = {columns.get(name, name) for rule in some for name in rule.names}
        part = Schema(tuple(schema.by_name[name] for name in schema.names if name in named))
        found += _judged(some, part, table, codes)
    return tuple(found)


def _judged(
    rules: Sequence[Constraint], schema: Schema, table: Wide, codes: Mapping[str, NDArray[np.integer[Any]]]
) -> list[Checked]:
    encoder, compiled = Encoder(schema), Rules(rules, schema)
    counts = np.zeros((len(rules), 2), np.int64)
    for start in range(0, len(table), ROWS):
        rows = table.cells.iloc[start : start + ROWS]
        cells = {name: rows[name].to_numpy() for name in schema.names if name not in codes}
        for name in schema.names:
            if name in codes:
                first, last = np.searchsorted(codes[name], (start, start + ROWS))
                cells[name] = np.zeros(len(rows), np.int8)
                cells[name][codes[name][first:last] - start] = 1
        x = encoder.encode(pd.DataFrame(cells, copy=False), "zero").dense()
        counts += torch.stack([compiled.support(x).sum(0), (compiled.violation(x) > 0).sum(0)], dim=1).numpy()
    return [Checked(rule, int(n), int(broken)) for rule, (n, broken) in zip(rules, counts, strict=True)]


def rows_of_codes(table: Wide) -> dict[str, NDArray[np.integer[Any]]]:
    """Return the rows, ascending, that have each of the codes."""
    columns = sparse.csc_array(table.codes)
    columns.sort_indices()
    starts = columns.indptr
    return {name: columns.indices[starts[i] : starts[i + 1]] for i, name in enumerate(table.code_names)}
