"""Sampling: batches, seeds, conditions, and the model's mode afterwards."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from ehrsynth import chunks
from ehrsynth.bits import unpack
from ehrsynth.data.encoding import Encoder
from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.independent import IndependentMarginals
from ehrsynth.sampling import Acceptance, sample_records, synthesize
from ehrsynth.sampling.wanted import wanted
from ehrsynth.schema import Column, Kind, Schema

SCHEMA = Schema(
    (
        Column("code", "binary", domain="diagnosis"),
        Column("never", "binary", domain="diagnosis"),
        Column("sex", "categorical", ("F", "M")),
        Column("bmi", "continuous", bounds=(10, 60), missing=True),
    )
)


class Unconditional(IndependentMarginals):
    """A model that cannot be conditioned on anything, written before there was anything to be conditioned on."""

    conditionable = ()  # type: ignore[assignment]

    def sample(self, n: int, generator: torch.Generator) -> Tensor:  # type: ignore[override]
        return super().sample(n, generator)


@pytest.fixture
def model() -> IndependentMarginals:
    return taught(IndependentMarginals(schema=SCHEMA, seed=0))


@pytest.fixture
def other() -> IndependentMarginals:
    return taught(Unconditional(schema=SCHEMA, seed=0))


def taught(model: IndependentMarginals) -> IndependentMarginals:
    rows = torch.zeros(100, 6)
    rows[:30, 0] = 1  # code: 30 %
    rows[:50, 2] = 1  # bmi missing: half
    rows[:80, 3] = 1  # F: 80 %
    rows[80:, 4] = 1
    rows[:, 5] = torch.linspace(0, 1, 100)
    model.observe(Records.of_dense(Layout.of(SCHEMA), rows))
    return model


def test_whole_batches_do_not_depend_on_how_many_are_drawn(model: IndependentMarginals) -> None:
    few, many = (sample_records(model, n, seed=0, batch_size=50) for n in (100, 170))
    assert len(few) == 100
    assert len(many) == 170
    assert torch.equal(unpack(few.bits), unpack(many.bits[:100]))
    assert not torch.equal(unpack(few.bits[:50]), unpack(few.bits[50:]))
    assert not torch.equal(unpack(few.bits), unpack(sample_records(model, 100, seed=1, batch_size=50).bits))


def test_missing_values_are_missing_where_their_bit_says_so(model: IndependentMarginals) -> None:
    records = sample_records(model, 500, seed=0)
    assert torch.equal(records.values[:, 0].isnan(), records.bits[:, 2] == 1)
    assert 0.4 < records.bits[:, 2].float().mean() < 0.6


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_comes_back(model: IndependentMarginals, training: bool) -> None:
    model.train(training)
    sample_records(model, 3, seed=0)
    assert model.training is training


def test_progress_is_told_the_rows_done(model: IndependentMarginals) -> None:
    seen: list[int] = []
    sample_records(model, 110, seed=0, batch_size=50, progress=seen.append)
    assert seen == [50, 100, 110]


@pytest.mark.parametrize("kind", ["model", "other"])
def test_a_condition_holds_for_every_row(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    records = sample_records(model, 200, seed=0, batch_size=100, condition={"sex": "M", "code": "1"})
    assert len(records) == 200
    assert records.bits[:, 4].all()
    assert records.bits[:, 0].all()
    assert (sample_records(model, 50, seed=0, condition={"code": "0"}).bits[:, 0] == 0).all()


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"never": "1"}, r"condition never=1: only 0 of \d+ generated records"),
        ({"age": "1"}, "condition.age: no such column"),
        ({"sex": "X"}, "condition.sex=X: one of F, M"),
        ({"code": "yes"}, "condition.code=yes: 0 or 1"),
        ({"bmi": "9"}, r"condition.bmi=9: a number from 10 to 60, a range of them such as \[10, null\], or missing"),
        ({"bmi": "[30, 20]"}, r"condition.bmi=\[30, 20\]: a number from 10 to 60"),
        ({"bmi": (50, 61)}, r"condition.bmi=\[50, 61\]: a number from 10 to 60"),
        ({"bmi": (None, "x")}, r"condition.bmi=\[null, x\]: a number"),
        ({"sex": "missing"}, "condition.sex=missing: one of F, M was expected"),
    ],
)
def test_bad_conditions_are_named(other: IndependentMarginals, condition: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        sample_records(other, 10, seed=0, batch_size=20, condition=condition)


def test_rejection_says_what_share_it_took(other: IndependentMarginals) -> None:
    found = Acceptance()
    for _ in range(2):  # the last call counts
        sample_records(other, 100, seed=0, batch_size=400, condition={"sex": "F"}, acceptance=found)
    assert found.way == "rejection"
    assert found.drawn == 400
    rows = sample_records(other, 400, seed=0, batch_size=400).bits[:, 3]
    assert found.accepted == int(rows.sum())
    assert found.share == pytest.approx(0.8, abs=0.06)
    assert str(found) == f"by rejection, {100 * found.share:.1f} % of 400 records drawn had it"


def test_a_model_that_can_is_conditioned_itself(model: IndependentMarginals) -> None:
    found = Acceptance()
    never = sample_records(model, 100, seed=0, condition={"never": "1", "sex": "M"}, acceptance=found)
    assert (found.way, found.drawn, found.accepted) == ("model", 100, 100)
    assert str(found) == "by the model"
    assert never.bits[:, 1].all()
    assert never.bits[:, 4].all()
    free = sample_records(model, 100, seed=0, acceptance=found)  # what is given takes nothing from the other draws
    assert found.way == "none"
    assert torch.equal(never.bits[:, 0], free.bits[:, 0])
    assert torch.equal(never.values.nan_to_num(-1), free.values.nan_to_num(-1))


def test_a_condition_holds_numbers_and_a_row_for_each_record(model: IndependentMarginals) -> None:
    frame = pd.DataFrame({"code": 0, "never": 0, "sex": ["F", "M"] * 60, "bmi": [20.0, None, 45.0] * 40})
    wanted = Condition.of(Encoder(SCHEMA).encode(frame), ["sex", "bmi"])
    assert wanted.columns == {"sex", "bmi"}
    drawn = pd.concat(list(synthesize(model, 120, seed=0, batch_size=50, condition=wanted)), ignore_index=True)
    pd.testing.assert_frame_equal(drawn[["sex", "bmi"]], frame[["sex", "bmi"]].astype({"sex": "str"}))
    assert 0.2 < drawn["code"].mean() < 0.4
    one = Condition.of(Encoder(SCHEMA).encode(frame.iloc[[0]]), ["bmi"])
    assert sample_records(model, 30, seed=0, condition=one).bits[:, 2].sum() == 0
    assert sample_records(model, 30, seed=0, condition=one).values.eq(0.2).all()


def test_what_a_model_cannot_be_given_is_met_by_rejection_row_by_row(
    model: IndependentMarginals, other: IndependentMarginals
) -> None:
    schema = Schema((*SCHEMA.columns[:3], replace(SCHEMA.columns[3], decimals=0)))
    frame = pd.DataFrame({"code": 0, "never": 0, "sex": ["F", "M"], "bmi": [20.0, 45.0]})
    encoded = Encoder(schema).encode(frame)
    rounded = taught(Unconditional(schema=schema, seed=0))
    assert sample_records(other, 9, seed=0, condition=Condition.of(encoded[:1], ["sex"])).bits[:, 3].all()
    assert len(sample_records(other, 9, seed=0, condition=Condition.of(encoded[:1], []))) == 9
    drawn = pd.concat(synthesize(rounded, 2, seed=0, condition=Condition.of(encoded, ["sex", "bmi"])))
    assert drawn[["sex", "bmi"]].to_numpy().tolist() == [["F", 20.0], ["M", 45.0]]
    with pytest.raises(OptionError, match="condition bmi: only 0 of 81920 generated records meet it, 9 are wanted"):
        sample_records(other, 9, seed=0, condition=Condition.of(encoded[:1], ["bmi"]))  # 20.000000
    with pytest.raises(OptionError, match="2 rows for n=3"):
        sample_records(model, 3, seed=0, condition=Condition.of(encoded, ["sex"]))


def test_a_condition_is_of_its_column_and_not_of_another_with_the_name_of_its_indicator() -> None:
    schema = Schema((Column("sex=F", "binary"), Column("sex", "categorical", ("F", "M"))))
    model = Unconditional(schema=schema, seed=0)
    model.probabilities.copy_(torch.tensor([0.5, 0.5, 0.5]))
    drawn = next(synthesize(model, 40, seed=0, condition={"sex": "F"}))
    assert (drawn["sex"] == "F").all()
    assert 0 < drawn["sex=F"].mean() < 1


def test_no_rows_is_an_error(model: IndependentMarginals) -> None:
    with pytest.raises(OptionError, match="n=0"):
        sample_records(model, 0, seed=0)


def table(model: IndependentMarginals, **options: Any) -> pd.DataFrame:
    return pd.concat(list(synthesize(model, 2000, seed=0, **options)), ignore_index=True)


def test_synthesize_decodes_and_adds_rare_columns(model: IndependentMarginals) -> None:
    rare = Column("rare", "binary", domain="diagnosis")
    frame = table(model, condition={"sex": "M"}, low_prevalence=[(rare, 0.02)])
    assert list(frame.columns) == ["code", "never", "sex", "bmi", "rare"]
    SCHEMA.validate(frame.drop(columns="rare"), "synthetic")
    assert (frame["sex"] == "M").all()
    assert frame["bmi"].dropna().between(10, 60).all()
    assert frame["bmi"].isna().mean() == pytest.approx(0.5, abs=0.05)
    assert frame["rare"].mean() == pytest.approx(0.02, abs=0.01)
    assert frame.equals(table(model, condition={"sex": "M"}, low_prevalence=[(rare, 0.02)]))


def test_the_rows_of_a_chunk_do_not_change_the_table(
    model: IndependentMarginals, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"batch_size": 300, "low_prevalence": [(Column("rare", "binary", domain="diagnosis"), 0.02)]}
    whole = table(model, **options)
    for rows in (170, 300, 1000):
        monkeypatch.setattr(chunks, "ROWS", rows)
        sizes = [len(chunk) for chunk in synthesize(model, 2000, seed=0, **options)]
        assert sizes == [rows] * (2000 // rows) + [2000 % rows] * (2000 % rows > 0)
        assert table(model, **options).equals(whole)


def test_the_model_is_left_as_it_was_even_if_nobody_takes_the_rest(model: IndependentMarginals) -> None:
    model.train()
    drawn = synthesize(model, 100_000, seed=0, batch_size=60_000)
    next(drawn)
    drawn.close()
    assert model.training


@pytest.mark.parametrize(
    ("kind", "levels", "given", "level"),
    [
        ("binary", (), True, "1"),
        ("binary", (), "False", "0"),
        ("binary", (), 1.0, "1"),
        ("binary", (), "yes", "yes"),  # refused
        ("categorical", ("False", "True"), "true", "True"),
        ("categorical", ("False", "True", "unknown"), True, "True"),
        ("categorical", ("0", "1"), "TRUE", "1"),
        ("categorical", ("1", "2"), 2, "2"),
    ],
)
def test_a_condition_names_a_level_in_the_words_that_tables_may_use(
    kind: Kind, levels: tuple[str, ...], given: object, level: str
) -> None:
    schema = Schema((Column("flag", kind, levels),))
    if level == "yes":
        with pytest.raises(OptionError, match=r"condition.flag=yes: 0 or 1 was expected"):
            wanted(schema, {"flag": given})
    else:
        assert wanted(schema, {"flag": given})["flag"] == (levels or ("0", "1")).index(level)
