"""Fairness on toy patients: representation, privacy and models, bracketed by anchors."""

import pytest
import torch

from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Undefined, Value
from ehrsynth.evaluation.fairness.outcomes import OutcomeFairness
from ehrsynth.evaluation.fairness.privacy_gap import MembershipGap
from ehrsynth.evaluation.fairness.representation import Representation
from ehrsynth.layout import Records
from tests.evaluation_toy import CODES, bits_only, code_schema, toy_real, toy_records

REAL = toy_real(1200, 800)
TREES = {"rounds": 40, "learning_rate": 0.1}
SEX = slice(CODES + 2, CODES + 4)


def score(evaluator: Evaluator, synthetic: Records, real: RealData = REAL) -> dict[str, Value]:
    found = evaluator.fit(real, 0)(synthetic, 0)
    assert all(isinstance(value, Value) for value in found.values())
    return {name.removeprefix("fairness/"): value for name, value in found.items() if isinstance(value, Value)}


def one_sex(records: Records) -> Records:
    bits = records.bits.clone()
    bits[:, SEX] = torch.tensor([1, 0], dtype=torch.uint8)
    return Records(records.layout, bits, records.values)


def test_a_copy_represents_everybody_and_a_table_of_women_half() -> None:
    copy = score(Representation(), REAL.train)["representation"]
    assert copy.value == 0
    found = score(Representation(), one_sex(REAL.train))["representation"]
    men = float(REAL.train.bits[:, CODES + 3].float().mean())
    assert found.value == pytest.approx(men)
    assert found.parts["attribute", "age"].value == 0
    assert found.parts["subgroup", "sex=M"].value == pytest.approx(-men)
    assert isinstance(found.parts["subgroup", "age=0-17"], Undefined)
    assert found.ci is not None
    assert found.ci[0] < men < found.ci[1]


def test_rows_in_another_order_change_nothing() -> None:
    synthetic = toy_records(500, 4)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    for evaluator in (Representation(), MembershipGap()):
        there, here = score(evaluator, synthetic), score(evaluator, synthetic[order])
        assert there == here


def test_a_memoriser_of_women_has_a_privacy_gap_and_fresh_patients_little() -> None:
    women = REAL.train[REAL.train.bits[:, CODES + 2] > 0]
    leak, fresh = (score(MembershipGap(), table)["privacy_gap"] for table in (women, toy_records(1000, 7)))
    assert leak.parts["attribute", "sex"].value > 0.15 > fresh.parts["attribute", "sex"].value
    assert leak.parts["subgroup", "sex=F"].value > 0.65


def test_models_of_a_copy_are_as_fair_as_those_of_the_training_rows() -> None:
    found = score(OutcomeFairness(**TREES), REAL.train)
    for name in ("equal_opportunity_gap", "demographic_parity_gap"):
        assert found[name].value == 0
    gap = found["utility_gap"]
    assert gap.parts["attribute_synthetic", "sex"] == gap.parts["attribute_real", "sex"]
    assert gap.parts["attribute_excess", "sex"].value == 0


def test_gaps_are_those_of_the_subgroups_and_a_biased_table_widens_them() -> None:
    biased = toy_records(1200, 5)
    women = biased.bits[:, CODES + 2] > 0
    biased.bits[women, CODES] = 0  # no woman ever dies
    found = score(OutcomeFairness(**TREES), biased)
    for name in ("equal_opportunity_gap", "demographic_parity_gap"):
        value = found[name]
        rates = [value.parts["subgroup", f"sex={sex}"].value for sex in "FM"]
        assert value.parts["attribute_synthetic", "sex"].value == pytest.approx(abs(rates[0] - rates[1]))
        assert value.parts["attribute", "sex"].value > 0.1
        assert value.value == max(p.value for (kind, _), p in value.parts.items() if kind == "attribute")
        assert value.ci is not None
        assert -1 <= value.ci[0] < value.value < value.ci[1] <= 1


def test_attributes_may_be_chosen() -> None:
    found = score(OutcomeFairness(**TREES, attributes=["lab", "c3"]), toy_records(600, 6))["utility_gap"]
    assert {name for kind, name in found.parts if kind == "attribute"} == {"lab", "c3"}


@pytest.mark.parametrize("evaluator", [MembershipGap(min_rows=700), OutcomeFairness(**TREES, min_rows=700)])
def test_subgroups_that_are_all_too_small_are_not_applicable(evaluator: Evaluator) -> None:
    with pytest.raises(NotApplicableError, match="two subgroups"):
        evaluator.fit(REAL, 0)


@pytest.mark.parametrize("evaluator", [MembershipGap(), Representation()])
def test_data_without_protected_columns_are_not_applicable(evaluator: Evaluator) -> None:
    schema = code_schema(3)
    rows = bits_only([[1, 0, 1], [0, 1, 0]] * 10, schema)
    with pytest.raises(NotApplicableError, match="no sensitive or demographic column"):
        evaluator.fit(RealData(schema, rows, rows), 0)


def test_a_constant_synthetic_outcome_fails_with_the_reason() -> None:
    synthetic = toy_records(100, 2)
    synthetic.bits[:, CODES] = 0
    found = OutcomeFairness(**TREES).fit(REAL, 0)(synthetic, 0)
    assert set(found.values()) == {Undefined("outcome 'died' is constant in the synthetic rows")}


def test_a_single_synthetic_row_still_gives_numbers_or_reasons() -> None:
    for evaluator in (Representation(), MembershipGap(), OutcomeFairness(**TREES)):
        for value in evaluator.fit(REAL, 0)(toy_records(1, 0), 0).values():
            assert isinstance(value, Undefined) or value.value == value.value
