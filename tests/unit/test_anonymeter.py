"""What singling out, linkability and inference say of copies, strangers and degenerate tables."""

import math
from dataclasses import replace

import pytest
import torch

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Undefined, Value
from ehrsynth.evaluation.privacy.inference import Inference
from ehrsynth.evaluation.privacy.linkability import Linkability
from ehrsynth.evaluation.privacy.singling_out import SinglingOut
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Column, Schema
from tests.evaluation_toy import bits_only, code_schema, toy_real, toy_records

REAL = toy_real(400, 400)
EVALUATORS = (SinglingOut(attacks=300, attempts=20_000), Linkability(attacks=300), Inference(attacks=300))


def found(evaluator: Evaluator, real: RealData, synthetic: Records, seed: int = 0) -> Value | Undefined:
    (result,) = evaluator.fit(real, 0)(synthetic, seed).values()
    return result


def value_of(result: Value | Undefined) -> Value:
    assert isinstance(result, Value)
    return result


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_a_copy_leaks_and_strangers_do_not(evaluator: Evaluator) -> None:
    copy = value_of(found(evaluator, REAL, REAL.train))
    fresh = value_of(found(evaluator, REAL, toy_records(400, 77)))
    assert copy.ci
    assert fresh.ci
    assert copy.ci[0] > 0.1
    assert fresh.ci[0] <= 0 <= fresh.ci[1]
    for value in (copy, fresh):
        assert value.parts["rate", "attack"].value - value.parts["rate", "control"].value == pytest.approx(value.value)  # type: ignore[union-attr]
        for piece in value.parts.values():
            assert isinstance(piece, Value)
            assert math.isfinite(piece.value)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_the_same_seed_gives_the_same_number(evaluator: Evaluator) -> None:
    synthetic = toy_records(200, 3)
    assert found(evaluator, REAL, synthetic) == found(evaluator, REAL, synthetic)
    assert found(evaluator, REAL, synthetic) != found(evaluator, REAL, synthetic, seed=1)


def test_all_of_a_copy_is_singled_out_among_all_training_rows() -> None:
    real = toy_real(400, 100)
    copy = value_of(found(SinglingOut(attacks=200, attempts=20_000), real, real.train))
    everybody = copy.parts["rate", "attack_all"]
    assert isinstance(everybody, Value)
    assert everybody.value == 1
    assert copy.value < 0.5


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_degenerate_tables_have_numbers_or_a_reason(evaluator: Evaluator) -> None:
    one = REAL.train[:1]
    constant = Records(one.layout, one.bits.repeat(30, 1), one.values.repeat(30, 1))
    for real in (REAL, replace(REAL, train=constant), replace(REAL, holdout=one)):
        for synthetic in (constant, one, toy_records(20, 1)):
            result = found(evaluator, real, synthetic)
            if isinstance(result, Undefined):
                assert result.reason == "no predicate was found that holds for one synthetic record only"
                continue
            assert result.ci
            assert -1 <= result.ci[0] <= result.value <= result.ci[1] <= 1
            assert all(math.isfinite(piece.value) for piece in result.parts.values() if isinstance(piece, Value))


def test_codes_alone_can_be_attacked() -> None:
    schema = code_schema(6)
    rows = bits_only([[1, 0, 1, 0, 1, 1], [0, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 1]] * 5, schema)
    real = RealData(schema, rows, rows)
    for evaluator in EVALUATORS:
        assert value_of(found(evaluator, real, rows[:4])).value == 0
    assert set(value_of(found(Inference(entropic=2), real, rows)).parts) >= {("column", "c0"), ("column", "c1")}


def test_a_single_column_is_no_attack() -> None:
    schema = Schema((Column("bmi", "continuous", bounds=(10.0, 60.0)),))
    rows = Records(Layout.of(schema), torch.zeros(5, 0, dtype=torch.uint8), torch.rand(5, 1))
    for evaluator in EVALUATORS:
        with pytest.raises(NotApplicableError):
            evaluator.fit(RealData(schema, rows, rows), 0)
    with pytest.raises(NotApplicableError, match="no column to keep secret"):
        Inference(secrets=[]).fit(REAL, 0)


def test_options_that_name_columns_are_checked() -> None:
    for evaluator in (Linkability(known=(["sex"], ["shoe"])), Inference(secrets=["shoe"])):
        with pytest.raises(OptionError, match="no column 'shoe'"):
            evaluator.fit(REAL, 0)
    with pytest.raises(OptionError, match="in common"):
        Linkability(known=(["sex", "age"], ["age"])).fit(REAL, 0)


def test_the_secrets_are_outcomes_sensitive_columns_and_the_most_entropic() -> None:
    parts = value_of(found(Inference(attacks=50, entropic=2), REAL, REAL.train)).parts
    named = [name for kind, name in parts if kind == "column"]
    assert named[0] == "died"
    assert set(named[1:]) == {"lab", "age"}


def test_the_order_of_columns_changes_nothing_where_all_are_attacked() -> None:
    columns = REAL.schema.columns
    order = [5, 3, *range(6, 12), 4, 0, 2, 1, 12, 13, 14, 15]
    schema = Schema(tuple(columns[i] for i in order))
    bits = [*(i for i in order if i < 13), 13, 14, 15]

    def moved(records: Records) -> Records:
        return Records(Layout.of(schema), records.bits[:, bits], records.values)

    synthetic = toy_records(100, 8)
    other = RealData(schema, moved(REAL.train), moved(REAL.holdout))
    for evaluator in (Linkability(attacks=400), Inference(attacks=400)):
        assert found(evaluator, REAL, synthetic) == found(evaluator, other, moved(synthetic))
