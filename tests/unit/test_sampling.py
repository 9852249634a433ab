"""Sampling: batches, seeds, conditions, and the model's mode afterwards."""

from typing import Any

import pandas as pd
import pytest
import torch

from ehrsynth import chunks
from ehrsynth.bits import unpack
from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.independent import IndependentMarginals
from ehrsynth.sampling import sample_records, synthesize
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("code", "binary", domain="diagnosis"),
        Column("never", "binary", domain="diagnosis"),
        Column("sex", "categorical", ("F", "M")),
        Column("bmi", "continuous", bounds=(10, 60), missing=True),
    )
)


@pytest.fixture
def model() -> IndependentMarginals:
    model = IndependentMarginals(schema=SCHEMA, seed=0)
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


def test_a_condition_holds_for_every_row(model: IndependentMarginals) -> None:
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
        ({"bmi": "22"}, "condition.bmi=22: only binary and categorical"),
    ],
)
def test_bad_conditions_are_named(model: IndependentMarginals, condition: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        sample_records(model, 10, seed=0, batch_size=20, condition=condition)


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
