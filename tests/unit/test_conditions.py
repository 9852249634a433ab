"""What records are asked for, row by row, and that whoever asked gets a draw of what they asked for."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from ehrsynth.constraints import Exclusive, OnlyIf, Rules
from ehrsynth.constraints.policy import Policy
from ehrsynth.errors import OptionError, TableError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.independent import IndependentMarginals
from ehrsynth.sampling import Acceptance, Ruled, sample_records, synthesize
from ehrsynth.sampling.draw import record_batches
from ehrsynth.sampling.questions import assigned
from ehrsynth.sampling.shares import PILOT, TIMES, Shares, counts, demand_of, levels_of, post_selected
from ehrsynth.sampling.table import ConditionTable
from ehrsynth.sampling.wanted import conditions, wanted
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("code.1", "binary", domain="diagnosis"),
        Column("sex", "categorical", ("F", "M")),
        Column("race", "categorical", ("a", "b", "c"), missing=True),
        Column("age", "count", bounds=(18, 90)),
        Column("bmi", "continuous", bounds=(10, 60), missing=True, decimals=1),
    )
)
LAYOUT = Layout.of(SCHEMA)


class Told(IndependentMarginals):
    """Can be given sex and no more; women are older, and have the code more often."""

    conditionable = ("sex",)  # type: ignore[assignment]

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        rows = super().sample(n, generator, None if condition is None else condition.on(self.conditionable))
        women = rows[:, LAYOUT.places["sex"][0]] == 1
        age, (code,) = LAYOUT.places["age"][0], LAYOUT.places["code.1"]
        rows[:, age] = torch.where(women, 0.5 + rows[:, age] / 2, rows[:, age] / 2)
        rows[:, code] *= torch.where(women, 1, (torch.rand(n, generator=generator) < 0.5).float())
        return rows


class Free(Told):
    conditionable = ()  # type: ignore[assignment]


class Exact(IndependentMarginals):
    pass


def made(cls: type[IndependentMarginals]) -> IndependentMarginals:
    model, rng = cls(schema=SCHEMA, seed=0), torch.Generator().manual_seed(0)
    model.observe(Records.of_dense(LAYOUT, LAYOUT.harden(torch.rand(400, LAYOUT.width, generator=rng) * 0.9, rng)))
    return model


@pytest.fixture(params=[Exact, Told, Free])
def model(request: pytest.FixtureRequest) -> IndependentMarginals:
    return made(request.param)


def drawn(model: IndependentMarginals, n: int, condition: object, **more: object) -> pd.DataFrame:
    return pd.concat(list(synthesize(model, n, seed=0, condition=condition, **more)), ignore_index=True)  # type: ignore[arg-type]


def test_every_kind_of_wish_is_met_whoever_meets_it(model: IndependentMarginals) -> None:
    asked = {"sex": "F", "age": (60, 80), "race": "missing", "code.1": 1}
    found, table = Acceptance(), drawn(model, 300, asked, acceptance=(told := Acceptance()))
    assert set(table["sex"]) == {"F"}
    assert table["race"].isna().all()
    assert table["code.1"].all()
    assert table["age"].between(60, 80).all()
    assert {60, 80} <= set(drawn(model, 3000, {"age": "[60, 80]"}, acceptance=found)["age"]), "both ends belong to it"
    way = {Exact: "exact", Told: "rejection", Free: "rejection"}[type(model)]
    assert found.ways == {"age": way}
    assert told.ways["sex"] == ("rejection" if isinstance(model, Free) else "exact") or not isinstance(model, Told)
    assert set(drawn(model, 20, {"age": 44})["age"]) == {44}
    assert drawn(model, 20, {"bmi": "missing"})["bmi"].isna().all()
    assert drawn(model, 20, {"bmi": [None, 20]})["bmi"].max() <= 20
    assert drawn(model, 20, {"bmi": "[30.5,null]"})["bmi"].min() >= 30.5
    assert set(drawn(model, 5, {"bmi": 27.3})["bmi"]) == {27.3}
    assert set(drawn(model, 5, {"bmi": (27.3, 27.3)})["bmi"]) == {27.3}


def test_a_range_is_of_the_numbers_that_a_table_shows() -> None:
    model = made(Exact)
    ages = drawn(model, 60_000, None)["age"]
    free, exact = ages[ages.between(60, 62)], drawn(model, 20_000, {"age": (60, 62)})["age"]
    shares, expected = (cells.value_counts(normalize=True).sort_index() for cells in (exact, free))
    assert shares.index.tolist() == [60, 61, 62]
    assert shares.to_numpy() == pytest.approx(expected.to_numpy(), abs=0.03), "not half as many at the ends"


def test_what_both_do_together_says_so() -> None:
    model, told = made(Told), Acceptance()
    drawn(model, 50, {"sex": "F", "age": (70, None)}, acceptance=told)
    assert told.way == "both"
    assert told.by_way() == ["exact: 'sex'", "rejection: 'age'"]
    assert str(told).startswith("by the model and, for the rest, by rejection: ")
    assert told.to_dict()["share"] == told.accepted / told.drawn
    free = drawn(made(Free), 4000, None)
    half = free[(free["sex"] == "F") & (free["age"] >= 70)]
    assert drawn(model, 4000, {"sex": "F", "age": (70, None)})["age"].mean() == pytest.approx(
        half["age"].mean(), abs=0.6
    )


def test_records_go_to_the_first_who_waits_for_them() -> None:
    records, waiting = assigned(np.array([2, -1, 0, 2, 2, 1, 7]), np.array([0, 2, 0, 2]))
    assert list(zip(records.tolist(), waiting.tolist(), strict=True)) == [(2, 0), (0, 1), (3, 3)]
    assert [len(part) for part in assigned(np.array([-1, -1]), np.array([0]))] == [0, 0]


TABLE = """age,sex,bmi,subject_id,code.1
74,F,27.3,1,
,M,,2,1
71,,missing,3,0
,,,4,
60,F,NA,5,True
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "partial.csv").write_text(TABLE, encoding="utf-8")
    return tmp_path / "partial.csv"


def test_partial_records_are_completed_in_order(model: IndependentMarginals, file: Path) -> None:
    table = ConditionTable(file, SCHEMA)
    assert (table.rows, table.asked) == (5, ["code.1", "sex", "age", "bmi"])
    found = drawn(model, 5, table.demand())
    assert found["age"][[0, 2, 4]].tolist() == [74, 71, 60]
    assert found["sex"][[0, 1, 4]].tolist() == ["F", "M", "F"]
    assert found["bmi"][0] == 27.3
    assert np.isnan(found["bmi"][2])
    assert found["code.1"][[1, 2, 4]].tolist() == [1, 0, 1]
    SCHEMA.validate(found, "completed")


def test_rows_of_a_table_do_not_take_from_each_other(file: Path) -> None:
    """Some ask for little and some for more, some twice: each still gets what the model has learned, given its wish."""
    rows = ["sex,age,code.1", *["F,,"] * 1500, *[",,1"] * 1500, *["F,70,"] * 40, *["M,,1"] * 1500]
    file.write_text("\n".join(np.random.default_rng(0).permutation(rows[1:]).tolist()), encoding="utf-8")
    file.write_text(f"{rows[0]}\n{file.read_text(encoding='utf-8')}\n", encoding="utf-8")
    asked = pd.read_csv(file)
    free = drawn(made(Free), 40_000, None)
    for cls in (Told, Free):
        got = drawn(made(cls), len(asked), ConditionTable(file, SCHEMA).demand(), batch_size=512)
        women, having = asked["sex"].eq("F") & asked["age"].isna(), asked["sex"].isna()
        men = asked["sex"].eq("M")
        assert got["age"][women].mean() == pytest.approx(free["age"][free["sex"] == "F"].mean(), abs=1)
        assert got["age"][having].mean() == pytest.approx(free["age"][free["code.1"] == 1].mean(), abs=1.5)
        assert (got["sex"][having] == "F").mean() == pytest.approx(
            (free["sex"][free["code.1"] == 1] == "F").mean(), abs=0.05
        )
        assert set(got["sex"][men]) == {"M"}
        assert got["age"][asked["age"].eq(70)].eq(70).all()


def test_a_million_rows_of_few_questions_need_few_draws(file: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.parquet"
    pd.DataFrame({"sex": ["F", "M"] * 10_000, "code.1": [0, 1, 1, 0] * 5_000}).to_parquet(many)
    told = Acceptance()
    found = drawn(made(Free), 20_000, ConditionTable(many, SCHEMA).demand(), acceptance=told)
    assert found["sex"].tolist() == ["F", "M"] * 10_000
    assert told.drawn < 80_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sex,colour\nF,red\n", r"partial.csv: extra columns 'colour'; the model's schema does not have them"),
        ("subject_id\n1\n", r"no column of the model's schema, which has 5"),
        ("sex\nF\nX\n", r"column 'sex', row 1: one of the schema's 2 levels or an empty cell was expected"),
        ("race\na\nmissing\nd\n", r"column 'race', row 2: one of the schema's 3 levels, missing or an empty cell"),
        ("age\n20\n17\n", r"column 'age', row 1: a whole number from 18 to 90 or an empty cell"),
        ("age\n20.5\n", r"column 'age', row 0: a whole number"),
        ("age\nmissing\n", r"column 'age', row 0: a whole number"),
        ("bmi\n20.5\nfat\n", r"column 'bmi', row 1: a number from 10 to 60, missing or an empty cell"),
        ("code.1\n2\n", r"column 'code.1', row 0: 0 or 1 or an empty cell was expected"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(file: Path, text: str, message: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match=message):
        ConditionTable(file, SCHEMA)


def test_a_row_that_nobody_meets_is_named_by_its_number(file: Path) -> None:
    file.write_text("sex,code.1\nF,1\nM,1\nF,0\nM,1\n", encoding="utf-8")
    model = made(Free)
    model.probabilities[0] = 0.0
    with pytest.raises(OptionError, match=r"partial.csv: row 0: only 1 of \d+ generated records meet it, 4 are wanted"):
        drawn(model, 4, ConditionTable(file, SCHEMA).demand(), batch_size=100)


def test_equal_shares_and_boosts(model: IndependentMarginals) -> None:
    told = Acceptance()
    table = drawn(model, 900, demand_of(Shares("race"), model, 900, 0), acceptance=told)
    assert table["race"].value_counts().to_dict() == {"a": 300, "b": 300, "c": 300}
    assert set(told.ways) == {"race"}
    pilot = drawn(model, 20_000, None)
    boosted = drawn(model, 4000, demand_of(Shares(None, {"race": {"b": 3}, "sex": {"F": 2}}), model, 4000, 0))
    weight = pilot["race"].eq("b") * 2 + 1 + pilot["sex"].eq("F") * (pilot["race"].eq("b") * 2 + 1)
    wanted_b, wanted_f = (weight[pilot[c].eq(v)].sum() / weight.sum() for c, v in (("race", "b"), ("sex", "F")))
    assert boosted["race"].eq("b").mean() == pytest.approx(wanted_b, abs=0.02)
    assert boosted["sex"].eq("F").mean() == pytest.approx(wanted_f, abs=0.02)
    both = demand_of(Shares("sex", {"race": {"b": 3, "missing": 0.1}}), model, 1000, 0, {"age": (40, None)})
    balanced = drawn(model, 1000, both)
    assert balanced["sex"].value_counts().to_dict() == {"F": 500, "M": 500}
    assert balanced["age"].min() >= 40
    assert balanced["race"].isna().mean() < 0.1 < pilot["race"].isna().mean()
    assert balanced.equals(drawn(model, 1000, both)), "the same seed, the same records"


@pytest.mark.parametrize(
    ("shares", "condition", "message"),
    [
        (Shares("age"), {}, "balance=age: no binary or categorical column"),
        (Shares("colour"), {}, "balance=colour: no binary"),
        (Shares("sex"), {"sex": "F"}, "balance=sex: condition.sex says already"),
        (Shares("sex", {"sex": {"F": 2}}), {}, "balance=sex: its levels are to have equal shares; boost.sex asks"),
        (Shares(None, {"sex": {"X": 2}}), {}, "boost.sex.X: one of F, M was expected"),
        (Shares(None, {"sex": {"F": 0.0}}), {}, "boost.sex.F=0: a number above zero"),
        (Shares(None, {"sex": {"F": "many"}}), {}, "boost.sex.F=many: a number above zero"),  # type: ignore[dict-item]
        (Shares(None, {"code.1": {"1": 2.0}}), {}, f"boost.code.1.1=2: none of {PILOT:,} records"),
    ],
)
def test_shares_that_cannot_be_are_named(shares: Shares, condition: dict[str, object], message: str) -> None:
    model = made(Free)
    model.probabilities[0] = 0.0
    with pytest.raises(OptionError, match=message):
        demand_of(shares, model, 10, 0, condition)


def test_counts_add_up_and_the_largest_remainders_get_one_more() -> None:
    assert counts(np.array([1.0, 1.0, 1.0]), 10).tolist() == [4, 3, 3]
    assert counts(np.array([0.5, 0.3, 0.2]), 7).tolist() == [4, 2, 1]
    assert counts(np.array([5.0, 0.0]), 3).tolist() == [3, 0]


def test_post_selection_keeps_the_first_of_each_level() -> None:
    model, column = made(Free), SCHEMA.by_name["sex"]

    def batches(n: int) -> Iterator[Records]:
        return record_batches(model, TIMES * n, 0)

    parts = np.array([30.0, 70.0])
    kept = Records.joined(post_selected(batches(1000), column, parts, 1000, "post_selection=sex"))
    assert np.bincount(levels_of(kept, column)).tolist() == [300, 700]
    level = levels_of(free := sample_records(model, 3000, 0), column)
    first = np.sort(np.concatenate([np.flatnonzero(level == 0)[:300], np.flatnonzero(level == 1)[:700]]))
    assert torch.equal(kept.dense().nan_to_num(-1), free[torch.from_numpy(first)].dense().nan_to_num(-1))
    with pytest.raises(
        OptionError, match=r"post_selection=race: \d+ of 300 generated records have 'missing', and 99 are"
    ):
        list(post_selected(batches(100), SCHEMA.by_name["race"], np.array([1, 0, 0, 99.0]), 100, "post_selection=race"))


@pytest.mark.parametrize("policy", ["reject", "repair"])
@pytest.mark.parametrize("condition", [None, {"sex": "M"}, {"age": (60, None), "sex": "F"}])
def test_rules_are_kept_under_conditions(
    model: IndependentMarginals, policy: Policy, condition: dict[str, object] | None
) -> None:
    rules = Rules([OnlyIf("code.1", "sex=F"), Exclusive(("code.1", "race=b"))], SCHEMA)
    free, told = sample_records(model, 500, 0, condition=condition), Acceptance()
    assert rules.broken(free.dense().nan_to_num(0.0)).any()
    kept = sample_records(model, 500, 0, condition=condition, ruled=Ruled(rules, policy), acceptance=told)
    assert not rules.broken(kept.dense().nan_to_num(0.0)).any()
    assert told.broken > 0
    assert (told.changed > 0) == (policy == "repair")
    if condition:
        encoded = conditions(SCHEMA, 1, wanted(SCHEMA, condition))
        assert encoded.met_by(kept.dense().nan_to_num(0.0)).all(), "what was asked for is not mended away"


def test_given_cells_that_break_a_rule_end_in_one_line(model: IndependentMarginals) -> None:
    ruled = Ruled(Rules([OnlyIf("code.1", "sex=F")], SCHEMA), "repair")
    message = "condition sex=M, code.1=1: only 0 of 2000 generated records( meet it and)? keep the rules, 5 are wanted"
    with pytest.raises(OptionError, match=message):
        sample_records(model, 5, 0, batch_size=100, condition={"sex": "M", "code.1": 1}, ruled=ruled)


def test_rules_that_hardly_any_record_keeps_end_in_one_line(model: IndependentMarginals) -> None:
    ruled = Ruled(Rules([OnlyIf("sex=F", "sex=M"), OnlyIf("sex=M", "sex=F")], SCHEMA), "reject")
    with pytest.raises(
        OptionError, match=r"constraints.policy: only 0 of \d+ generated records keep the rules, 50 are"
    ):
        sample_records(model, 50, 0, batch_size=50, ruled=ruled)


def test_a_number_of_a_column_with_one_value_can_be_asked_for() -> None:
    schema = Schema((replace(SCHEMA.by_name["age"], bounds=(40, 40)), SCHEMA.by_name["sex"]))
    assert wanted(schema, {"age": 40})["age"] == 40
    assert wanted(schema, {"age": (None, None)})["age"] == 40
