"""A schema of which all records can be tried, and random rules for it."""

from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ehrsynth.constraints import AtMost, Constraint, Exclusive, Implies, OneHot, OnlyIf, Range
from ehrsynth.data.encoding import Encoder
from ehrsynth.layout import Layout
from ehrsynth.schema import Column, Schema

BITS = ("a", "b", "c", "d")
SCHEMA = Schema(
    (
        *(Column(name, "binary", domain="diagnosis") for name in BITS),
        Column("sex", "categorical", ("F", "M")),
        Column("unit", "categorical", ("x", "y", "z"), missing=True),
        *(Column(name, "count", bounds=(0, 3)) for name in ("low", "mean")),
        Column("high", "count", bounds=(0, 3), missing=True),
    )
)
LAYOUT = Layout.of(SCHEMA)
CELLS = len(SCHEMA.columns)


def every_record() -> Tensor:
    """Return all records there are."""
    cells = [(0, 1)] * 4 + [("F", "M"), ("x", "y", "z", None), range(4), range(4), (0, 1, 2, 3, np.nan)]
    frame = pd.DataFrame(list(product(*cells)), columns=SCHEMA.names)
    return Encoder(SCHEMA).encode(frame).dense()


EVERY = every_record()


def as_cells(rows: Tensor) -> Tensor:
    """Return one number for each column of the schema, -1 where missing."""
    columns = [rows[:, LAYOUT.places[column.name]] for column in SCHEMA.columns]
    weighed = [cells.nan_to_num(0.0) @ torch.arange(1.0, cells.shape[1] + 1) for cells in columns[:-1]]
    return torch.stack([*weighed, columns[-1][:, 1].nan_to_num(-1.0)], dim=1)


def random_rules(rng: np.random.Generator, at_most: int = 4) -> list[Constraint]:
    """Return some rules of each kind; cycles and contradictions among them are fine."""
    names = [name for name in LAYOUT.names[LAYOUT.binary] if name != "high:missing"]
    numbers = ("low", "mean", "high")
    rules: list[Constraint] = []
    for kind in rng.integers(6, size=rng.integers(1, at_most + 3)):
        one, other, third = rng.choice(names, 3, replace=False).tolist()
        small, large = rng.choice(numbers, 2, replace=False).tolist()
        ends = sorted(rng.integers(0, 4, size=2).tolist())
        rules.append(
            (
                OnlyIf(one, other),
                Implies(one, other),
                Exclusive((one, other, third)),
                OneHot("sex"),
                Range(small, float(ends[0]), float(ends[1])),
                AtMost(small, large),
            )[kind]
        )
    return rules


def drawn(n: int, seed: int) -> Tensor:
    """Return some of all records."""
    return EVERY[torch.randint(len(EVERY), (n,), generator=torch.Generator().manual_seed(seed))]
