"""Records that break rules: mended by as few cells as can be, rejected, or kept, and judged alike everywhere."""

from collections.abc import Iterable
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from ehrsynth.constraints import (
    AtMost,
    Constraint,
    Exclusive,
    Implies,
    OneHot,
    OnlyIf,
    Range,
    Rules,
    enforced,
    repaired,
)
from ehrsynth.data.encoding import Encoder
from ehrsynth.layout import Layout, Records
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


def fewest(rules: Rules, rows: Tensor, fixed: Iterable[str] = ()) -> Tensor:
    """Return how many cells must change for all rules to be kept, by trying all records there are; 99 if none will."""
    kept = EVERY[~rules.broken(EVERY)]
    mine, others = as_cells(rows), as_cells(kept)
    differ = mine[:, None] != others[None]
    barred = (mine[:, None, -1] < 0) != (others[None, :, -1] < 0)  # no number is made up or left out
    barred |= differ[..., [SCHEMA.names.index(name) for name in fixed]].any(-1)
    counts = differ.sum(-1).masked_fill(barred, 99)
    return counts.amin(1) if len(kept) else torch.full((len(rows),), 99)


def drawn(n: int, seed: int) -> Tensor:
    return EVERY[torch.randint(len(EVERY), (n,), generator=torch.Generator().manual_seed(seed))]


@pytest.mark.parametrize("seed", range(30))
def test_as_few_cells_as_trying_all_records_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rules, rows = Rules(random_rules(rng), SCHEMA), drawn(100, seed)
    mended, changed = repaired(rules, rows)
    least = fewest(rules, rows)
    assert rules.broken(mended).tolist() == (least == 99).tolist()
    hopeful = least < 99
    assert changed[hopeful].tolist() == least[hopeful].tolist()
    assert changed.tolist() == (as_cells(rows) != as_cells(mended)).sum(1).tolist()
    assert torch.equal(mended[~hopeful].nan_to_num(9), rows[~hopeful].nan_to_num(9))
