"""How many records of a table a rule speaks about, and how many break it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from ehrsynth.constraints import Constraint, Rules
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.wide import Wide
from ehrsynth.layout import Layout
from ehrsynth.schema import Schema

LEAST_SUPPORT = 20  # records a rule must speak about; a rule on fewer would tell about them, and be chance
RULES = 64  # judged together, on dense records of the columns that they name and no others
ROWS = 65_536  # made dense at a time


@dataclass(frozen=True)
class Checked:
    """A rule and what became of it in a table; the counts of two tables add up to those of both.

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
    codes, place = sparse.csc_array(table.codes), {name: i for i, name in enumerate(table.code_names)}
    found = list[Checked]()
    for start in range(0, len(rules), RULES):
        some = [rule.bound_to(schema) for rule in rules[start : start + RULES]]
        named = {columns.get(name, name) for rule in some for name in rule.names}
        part = Schema(tuple(schema.by_name[name] for name in schema.names if name in named))
        encoder, compiled = Encoder(part), Rules(some, part)
        sparse_names = [name for name in part.names if name in place]
        ones = sparse.csr_array(codes[:, [place[name] for name in sparse_names]])
        dense = table.cells[[name for name in part.names if name not in place]]
        counts = np.zeros((len(some), 2), np.int64)
        for row in range(0, len(table), ROWS):
            cells = dense.iloc[row : row + ROWS].reset_index(drop=True)
            present = pd.DataFrame(ones[row : row + ROWS].toarray(), columns=sparse_names)
            x = encoder.encode(pd.concat([cells, present], axis=1), "zero").dense()
            counts += torch.stack([compiled.support(x).sum(0), (compiled.violation(x) > 0).sum(0)], dim=1).numpy()
        found += [Checked(rule, int(n), int(broken)) for rule, (n, broken) in zip(some, counts, strict=True)]
    return tuple(found)
