"""Records that cannot be: codes of the other sex, broken rules, unknown levels, impossible numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from ehrsynth.errors import FileError
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Undefined, Value
from ehrsynth.evaluation.validity import plausibility
from ehrsynth.evaluation.validity.constraints import ConstraintViolation
from ehrsynth.evaluation.validity.knowledge import KnowledgeViolation, SexRestriction
from ehrsynth.layout import Layout, Records
from ehrsynth.metrics.copies import overlap
from ehrsynth.metrics.knowledge import violations
from ehrsynth.metrics.neighbours import Points
from ehrsynth.metrics.plausibility import one_hot_groups, outside_range, unseen_levels
from ehrsynth.schema import Column, Schema
from tests.evaluation_toy import bits_only, code_schema, toy_real, toy_records

REAL = toy_real()
SEX = Column("sex", "categorical", levels=("F", "M"), domain="demographics")
CODES = (Column("phe_185", "binary", domain="diagnosis"), Column("phe_649", "binary", domain="diagnosis"))


def wilson_of(count: int, n: int) -> tuple[float, float]:
    low, high = binomtest(count, n).proportion_ci(method="wilson")
    return pytest.approx((low, high), abs=1e-9)


def scored(evaluator: Evaluator, real: RealData, synthetic: Records) -> dict[str, Value | Undefined]:
    return dict(evaluator.fit(real, 0)(synthetic, 0))


def value_of(found: Value | Undefined) -> Value:
    assert isinstance(found, Value)
    return found


def patients(rows: list[list[int]], values: list[list[float]] | None = None) -> RealData:
    """Two codes, sex, and age if values are given; R and H alike."""
    age = (Column("age", "count", bounds=(20, 60)),) if values else ()
    schema = Schema((*CODES, SEX, *age))
    numbers = torch.tensor(values or [[]] * len(rows), dtype=torch.float32).reshape(len(rows), -1)
    records = Records(Layout.of(schema), torch.tensor(rows, dtype=torch.uint8), numbers)
    return RealData(schema, records, records)


WOMEN_AND_MEN = patients([[0, 1, 1, 0]] * 20 + [[1, 0, 0, 1]] * 20)


def test_violations_are_counted_per_code() -> None:
    sex = torch.tensor([True, True, False, False])
    codes = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]], dtype=torch.uint8)
    assert violations(codes, sex, ~sex) == [(2, 4), (0, 1), (0, 0)]


def test_knowledge_by_hand() -> None:
    """Code 649 in 1 man of 4, code 185 in 2 women of 4: shares 1/4 and 1/2."""
    rows = [[0, 1, 1, 0]] * 3 + [[0, 1, 0, 1]] + [[1, 0, 0, 1]] * 2 + [[1, 0, 1, 0]] * 2
    found = scored(KnowledgeViolation(), WOMEN_AND_MEN, patients(rows).train)
    mean, total = (value_of(found[f"validity/knowledge_violation{suffix}"]) for suffix in ("", "_published"))
    assert (mean.value, total.value) == (0.375, 0.75)
    assert total.ci == pytest.approx([2 * end for end in mean.ci or ()])
    for code, count in (("phe_649", 1), ("phe_185", 2)):
        part = value_of(mean.parts["code", code])
        assert part.value == count / 4
        assert part.ci == wilson_of(count, 4)
    low, high = mean.ci or (0, 0)
    assert 0 <= low < 0.375 < high <= 1


def test_a_code_that_never_occurs_has_no_share() -> None:
    found = scored(KnowledgeViolation(), WOMEN_AND_MEN, patients([[0, 1, 1, 0]] * 5).train)
    mean = value_of(found["validity/knowledge_violation"])
    assert mean.value == 0
    assert isinstance(mean.parts["code", "phe_185"], Undefined)
    assert isinstance(found["validity/knowledge_violation_published"], Undefined)
    none = scored(KnowledgeViolation(), WOMEN_AND_MEN, patients([[0, 0, 1, 0]]).train)
    assert all(isinstance(score, Undefined) for score in none.values())


def test_constraints_have_a_share_each() -> None:
    synthetic = toy_records(100, 6)
    synthetic.bits[:, 0] = 0
    synthetic.bits[:8, 0] = 1
    synthetic.bits[:8, 14:16] = torch.tensor([0, 1], dtype=torch.uint8)
    found = value_of(scored(ConstraintViolation(), REAL, synthetic)["validity/constraint_violation"])
    part = value_of(found.parts["constraint", "c0 only if sex=F"])
    assert found.value == part.value == 0.08
    assert found.ci == part.ci == wilson_of(8, 100)


def test_levels_and_numbers_that_the_training_rows_lack() -> None:
    real = patients([[0, 0, 1, 0], [0, 0, 0, 1]], [[0.0], [1.0]])
    odd = patients(
        [[0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]],
        [[0.5], [-0.1], [1.0], [torch.nan], [1.2]],
    ).train
    assert unseen_levels(real.train, odd)["sex"].tolist() == [False, True, False, True, False]
    assert outside_range(real.train, odd)["age"].tolist() == [False, True, False, True, True]
    levels = value_of(scored(plausibility.UnseenLevels(), real, odd)["validity/unseen_level"])
    numbers = value_of(scored(plausibility.ValueRange(), real, odd)["validity/value_range"])
    assert (levels.value, levels.ci) == (0.4, wilson_of(2, 5))
    assert (numbers.value, numbers.ci) == (0.6, wilson_of(3, 5))
    assert value_of(levels.parts["column", "sex"]).value == 0.4
    assert value_of(numbers.parts["column", "age"]).value == 0.6


def test_a_declared_level_that_no_training_row_has_is_unseen() -> None:
    women = patients([[0, 0, 1, 0]] * 3)
    assert unseen_levels(women.train, WOMEN_AND_MEN.train)["sex"].sum() == 20


def test_real_rows_against_themselves_are_plausible_and_order_is_nothing() -> None:
    synthetic = toy_records(200, 4)
    synthetic.values[:3, 1] = 1.5
    synthetic.bits[5, 14:16] = 0
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    for evaluator in (plausibility.UnseenLevels(), plausibility.ValueRange()):
        assert all(value_of(score).value == 0 for score in scored(evaluator, REAL, REAL.train).values())
        assert scored(evaluator, REAL, synthetic) == scored(evaluator, REAL, synthetic[order])


def test_a_gap_is_in_range_where_the_training_rows_have_gaps() -> None:
    synthetic = toy_records(50, 3)
    assert synthetic.values[:, 0].isnan().any()
    assert not outside_range(REAL.train, synthetic)["lab"][synthetic.values[:, 0].isnan()].any()


NAMES = ["race_white", "race_african_american", "race_other", "dx=1", "dx=2", "on", "x_0", "x_1"]
ROWS = [[1, 0, 0, 1, 0, 1, 0, 1], [0, 1, 0, 0, 0, 1, 0, 1], [0, 0, 1, 0, 1, 1, 0, 1]]


def test_one_hot_groups_by_name_and_by_content() -> None:
    """dx adds up to 1 in two rows of three only; of x one column is always set, so it says nothing."""
    assert one_hot_groups(NAMES, torch.tensor(ROWS, dtype=torch.uint8)) == {"race": [0, 1, 2]}
    order = [3, 2, 7, 0, 6, 1, 5, 4]
    found = one_hot_groups([NAMES[i] for i in order], torch.tensor(ROWS, dtype=torch.uint8)[:, order])
    assert {prefix: sorted(order[i] for i in group) for prefix, group in found.items()} == {"race": [0, 1, 2]}


@pytest.mark.parametrize("seed", range(3))
def test_one_hot_groups_agree_with_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits = np.zeros((30, 12), dtype=np.uint8)
    bits[np.arange(30), rng.integers(0, 4, 30)] = 1
    bits[np.arange(30), 4 + rng.integers(0, 2, 30)] = 1
    bits[:, 6:] = rng.random((30, 6)) < 0.3
    names = [f"a_{i}" for i in range(4)] + ["b:1", "b:2"] + [f"c_{i}" for i in range(6)]
    expected = {
        prefix: group
        for prefix in "abc"
        for group in [[i for i, name in enumerate(names) if name[0] == prefix]]
        if all(sum(row[i] for i in group) == 1 for row in bits.tolist())
    }
    assert set(expected) >= {"a", "b"}
    assert one_hot_groups(names, torch.from_numpy(bits)) == expected


def test_a_broken_group_is_counted_once_per_row() -> None:
    schema = Schema(tuple(Column(name, "binary") for name in NAMES))
    real = RealData(schema, bits_only(ROWS, schema), bits_only(ROWS, schema))
    odd = bits_only([[1, 1, 0, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0, 0, 0], *ROWS[:2]], schema)
    found = value_of(scored(plausibility.OneHotIntegrity(), real, odd)["validity/one_hot_violation"])
    assert (found.value, found.ci) == (0.5, wilson_of(2, 4))
    assert list(found.parts) == [("group", "race")]


TABLES = {
    "phecode,male_only,female_only\n185,TRUE,False\n649,False,True\n250,False,False\n": True,
    "code;sex\n185;M\nphe_649;female\n": True,
    "code,gender\n185,M\n": False,
}


@pytest.mark.parametrize("content", TABLES)
def test_sex_restrictions_from_a_table(tmp_path: Path, content: str) -> None:
    path = tmp_path / "sex.csv"
    path.write_text(content, encoding="utf-8")
    if not TABLES[content]:
        with pytest.raises(FileError, match=r"sex\.csv: columns male_only and female_only, or sex"):
            SexRestriction(sex_table=path)
        return
    evaluator = SexRestriction(sex_table=path)
    rows = [[1, 0, 1, 0], [1, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 0, 0]]  # woman, man, ok, ok, unknown sex
    found = value_of(scored(evaluator, WOMEN_AND_MEN, patients(rows).train)["validity/sex_restriction_violation"])
    assert (found.value, found.ci) == (0.4, wilson_of(2, 5))
    assert value_of(found.parts["code", "phe_185"]).value == 0.2
    assert value_of(found.parts["code", "phe_649"]).value == 0.2


def test_what_sex_restrictions_need(tmp_path: Path) -> None:
    path = tmp_path / "sex.csv"
    path.write_text("code,sex\n185,M\nc9,F\n", encoding="utf-8")
    given = SexRestriction(sex_table=str(path))
    binary = Schema((*CODES, Column("sex", "binary")))
    rows = bits_only([[1, 0, 1], [0, 1, 0]], binary)
    numbered = Schema((*CODES, replace(SEX, levels=("1", "2"))))
    other = Schema((Column("x", "binary"), SEX))
    for evaluator, real, words in (
        (SexRestriction(), WOMEN_AND_MEN, "no table"),
        (given, RealData(binary, rows, rows), "do not say which"),
        (given, replace(WOMEN_AND_MEN, schema=numbered, train=replaced(WOMEN_AND_MEN, numbered)), "do not say which"),
        (
            given,
            RealData(other, bits_only([[1, 1, 0]] * 2, other), bits_only([[1, 0, 1]], other)),
            "named after a code",
        ),
        (plausibility.OneHotIntegrity(), REAL, "add up to one"),
        (plausibility.ValueRange(), WOMEN_AND_MEN, "no numeric"),
        (plausibility.UnseenLevels(), RealData(binary, rows, rows), "no categorical"),
    ):
        with pytest.raises(NotApplicableError, match=words):
            evaluator.fit(real, 0)


def replaced(real: RealData, schema: Schema) -> Records:
    return Records(Layout.of(schema), real.train.bits, real.train.values)


def points(rows: list[list[int]]) -> Points:
    return Points(torch.tensor(rows, dtype=torch.uint8), torch.zeros(len(rows), 0))


def test_overlap_by_hand() -> None:
    found = overlap(points([[0, 0], [0, 0], [0, 1], [1, 1]]), points([[0, 0], [0, 1], [1, 0]]))
    assert found[:2] == (pytest.approx(2 / 3), 0.5)
    assert not found.same


def test_chance_explains_what_simple_records_share_and_nothing_explains_copies() -> None:
    rng = np.random.default_rng(0)
    simple = rng.random((3000, 8)) < 0.15
    table = points(simple.astype(int).tolist())
    train, holdout = Points(table.bits[:2000], table.values[:2000]), Points(table.bits[2000:], table.values[2000:])
    found = overlap(train, holdout)
    assert found.shared > 0.9
    assert found.shared == pytest.approx(found.expected, abs=0.03)
    assert not found.beyond_chance
    wide = torch.from_numpy((rng.random((3000, 60)) < 0.3).astype(np.uint8))
    values = torch.zeros(3000, 0)
    train, holdout = Points(wide[:2000], values[:2000]), Points(wide[2000:], values[2000:])
    assert overlap(train, holdout)[:3] == (0, 0, False)
    leaking = Points(torch.cat([wide[:20], wide[2020:]]), values[2000:])
    assert overlap(train, leaking)[:3] == (0.02, 0, True)


def test_a_holdout_that_is_the_training_table_is_found_in_any_order() -> None:
    train = toy_records(300, 0)
    shuffled = train[torch.randperm(300, generator=torch.Generator().manual_seed(1))]
    for table in (train, shuffled):
        assert overlap(Points(train.bits, train.values), Points(table.bits, table.values)).same
    constant = bits_only([[0, 1]] * 30 + [[1, 0]] * 30, code_schema(2))
    turned = constant[torch.arange(59, -1, -1)]
    assert not overlap(Points(constant.bits, constant.values), Points(turned.bits, turned.values)).same
