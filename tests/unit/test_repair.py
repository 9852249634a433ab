"""Records that break rules: mended by as few cells as can be, rejected, or kept, and judged alike everywhere."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from ehrsynth.constraints import (
    AtMost,
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
from tests.rule_sets import BITS, EVERY, LAYOUT, SCHEMA, as_cells, drawn, random_rules


def fewest(rules: Rules, rows: Tensor, fixed: Iterable[str] = ()) -> Tensor:
    """Return how many cells must change for all rules to be kept, by trying all records there are; 99 if none will."""
    kept = EVERY[~rules.broken(EVERY)]
    mine, others = as_cells(rows), as_cells(kept)
    differ = mine[:, None] != others[None]
    barred = (mine[:, None, -1] < 0) != (others[None, :, -1] < 0)  # no number is made up or left out
    barred |= differ[..., [SCHEMA.names.index(name) for name in fixed]].any(-1)
    counts = differ.sum(-1).masked_fill(barred, 99)
    return counts.amin(1) if len(kept) else torch.full((len(rows),), 99)


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


@pytest.mark.parametrize("seed", range(10))
def test_what_is_given_stays_and_the_rest_changes_as_little_as_it_can(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rules, rows = Rules(random_rules(rng, at_most=3), SCHEMA), drawn(60, seed)
    given = ("b", "sex", "mean")
    fixed = torch.zeros(1, LAYOUT.width, dtype=torch.bool)
    fixed[0, [place for name in given for place in LAYOUT.places[name]]] = True
    mended, changed = repaired(rules, rows, fixed)
    assert torch.equal(mended[:, fixed[0]], rows[:, fixed[0]])
    least = fewest(rules, rows, given)
    assert rules.broken(mended).tolist() == (least == 99).tolist()
    assert changed[least < 99].tolist() == least[least < 99].tolist()


@pytest.mark.parametrize("seed", range(20))
def test_no_record_that_a_policy_lets_pass_breaks_a_rule(seed: int) -> None:
    rules, rows = Rules(random_rules(np.random.default_rng(seed)), SCHEMA), drawn(300, seed)
    broken = rules.broken(rows)
    rejected, mended, kept = (enforced(policy, rules, rows) for policy in ("reject", "repair", "keep"))
    assert torch.equal(rejected.kept, ~broken)
    assert not rules.broken(mended.rows[mended.kept]).any()
    assert (mended.kept | broken).all()
    assert kept.kept.all()
    assert kept.rows is rows
    for found in (rejected, mended, kept):
        assert torch.equal(found.broken, broken)
        assert not found.changed[~broken].any()
    assert not rejected.changed.any()
    assert (mended.changed[mended.kept & broken] > 0).all()


def record(**cells: object) -> Tensor:
    """Return one record in which what is not said is nought."""
    plain = {**dict.fromkeys(BITS, 0), "sex": "F", "unit": "x", "low": 0, "mean": 1, "high": 2}
    return Encoder(SCHEMA).encode(pd.DataFrame([{**plain, **cells}]), "zero").dense()


def table(rows: Tensor) -> dict[str, object]:
    return dict(Encoder(SCHEMA).decode(Records.of_dense(LAYOUT, rows)).iloc[0])


def test_a_code_is_taken_away_rather_than_one_added_or_a_person_changed() -> None:
    rows, _ = repaired(Rules([OnlyIf("a", "sex=M")], SCHEMA), record(a=1))
    assert (table(rows)["a"], table(rows)["sex"]) == (0, "F")
    rows, _ = repaired(Rules([Implies("a", "b")], SCHEMA), record(a=1))
    assert (table(rows)["a"], table(rows)["b"]) == (0, 0)


def test_the_one_cell_that_mends_all_is_found_even_if_it_is_of_a_person() -> None:
    rules = Rules([OnlyIf("a", "sex=M"), OnlyIf("b", "sex=M"), OnlyIf("c", "sex=M")], SCHEMA)
    rows, changed = repaired(rules, record(a=1, b=1, c=1))
    assert (changed.tolist(), table(rows)["sex"]) == ([1], "M")
    fixed = torch.zeros(1, LAYOUT.width, dtype=torch.bool)
    fixed[:, LAYOUT.places["sex"]] = True
    rows, changed = repaired(rules, record(a=1, b=1, c=1), fixed)
    assert (changed.tolist(), table(rows)["sex"], table(rows)["a"]) == ([3], "F", 0)


def test_a_category_without_a_level_gets_one_that_breaks_nothing() -> None:
    rows, changed = repaired(Rules([OneHot("sex"), OnlyIf("a", "sex=M")], SCHEMA), record(sex="?", a=1))
    assert (changed.tolist(), table(rows)["sex"], table(rows)["a"]) == ([1], "M", 1)


def test_a_number_is_left_out_if_a_rule_says_so_and_none_is_made_up() -> None:
    rules = Rules([Implies("a", "high:missing"), OnlyIf("high:missing", "a")], SCHEMA)
    fixed = torch.zeros(1, LAYOUT.width, dtype=torch.bool)
    fixed[:, LAYOUT.places["a"]] = True
    rows, changed = repaired(rules, record(a=1), fixed)
    assert changed.tolist() == [1]
    assert np.isnan(table(rows)["high"])
    rows, changed = repaired(rules, record(a=0, high=np.nan), fixed)
    assert changed.tolist() == [0]
    assert rules.broken(rows).all()


def test_a_number_moves_to_the_nearest_that_all_rules_and_its_bounds_allow() -> None:
    chain = [AtMost("low", "mean"), AtMost("mean", "high")]
    rows, changed = repaired(Rules(chain, SCHEMA), record(low=1, mean=3, high=2))
    assert (changed.tolist(), [table(rows)[name] for name in ("low", "mean", "high")]) == ([1], [1, 2, 2])
    rows, changed = repaired(Rules([*chain, AtMost("high", "low")], SCHEMA), record(low=1, mean=3, high=3))
    assert (changed.tolist(), [table(rows)[name] for name in ("low", "mean", "high")]) == ([1], [3, 3, 3])
    rows, changed = repaired(Rules([Range("low", 1.5, 9.0), AtMost("low", "mean")], SCHEMA), record(low=0, mean=1))
    assert (changed.tolist(), [table(rows)[name] for name in ("low", "mean")]) == ([2], [2, 2])
    rows, changed = repaired(Rules([Range("low", 5.0, 9.0)], SCHEMA), record())  # beyond all that it could hold
    assert (changed.tolist(), table(rows)["low"]) == ([0], 0)


def test_records_are_judged_as_they_will_be_written() -> None:
    schema = Schema((Column("age", "count", bounds=(0, 100)), Column("bmi", "continuous", bounds=(10, 60), decimals=1)))
    rules = Rules([Range("age", high=20.0), AtMost("bmi", "age")], schema)
    rows = torch.tensor([[0.204, 0.2], [0.206, 0.1], [0.2, 0.2009]])  # 20.4 and 20.0, 20.6 and 15.0, 20.0 and 20.045
    assert enforced("reject", rules, rows).kept.tolist() == [True, False, True]
    mended = enforced("repair", rules, rows)
    assert mended.changed.tolist() == [0, 1, 0]
    assert not rules.broken(mended.rows).any()
    written = Encoder(schema).decode(Records.of_dense(Layout.of(schema), mended.rows))
    assert written.to_numpy().tolist() == [[20, 20.0], [20, 15.0], [20, 20.0]]


def test_a_record_does_not_depend_on_those_beside_it() -> None:
    rules, rows = Rules(random_rules(np.random.default_rng(3), at_most=10), SCHEMA), drawn(50, 3)
    together, _ = repaired(rules, rows)
    alone = torch.cat([repaired(rules, row[None])[0] for row in rows])
    assert torch.equal(together.nan_to_num(9), alone.nan_to_num(9))


def test_a_record_that_breaks_very_many_rules_loses_codes_until_it_breaks_none() -> None:
    codes = [f"c{i}" for i in range(200)]
    schema = Schema((*(Column(code, "binary", domain="diagnosis") for code in codes),
                     Column("sex", "categorical", ("F", "M"))))  # fmt: skip
    tree = [Implies(codes[i], codes[i // 3]) for i in range(3, 200)]
    rules = Rules([*tree, *(OnlyIf(code, "sex=F") for code in codes[:3]), Exclusive(("c5", "c6"))], schema)
    generator = torch.Generator().manual_seed(0)
    rows = (torch.rand(50, 202, generator=generator) < 0.5).float()
    rows[:, 200:] = torch.eye(2)[torch.randint(2, (50,), generator=generator)]
    fixed = torch.zeros(1, 202, dtype=torch.bool)
    fixed[:, 199:] = True
    mended, changed = repaired(rules, rows, fixed)
    alone = rules.broken(mended)
    assert torch.equal(mended[:, 199:], rows[:, 199:])
    assert rows[alone, 199].all()  # what is given cannot be where a man may have none of the codes above it
    assert rows[alone, 201].all()
    assert alone.sum() < 20
    assert changed.max() < 150
