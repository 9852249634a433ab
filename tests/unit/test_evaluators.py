"""What evaluators say about data that lack something, and about degenerate synthetic tables."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Undefined, Value
from ehrsynth.evaluation.fidelity.concept_abundance import ConceptAbundance
from ehrsynth.evaluation.fidelity.correlation import Correlation
from ehrsynth.evaluation.fidelity.dimension_wise_distance import DimensionWiseDistance, Wasserstein
from ehrsynth.evaluation.fidelity.dimension_wise_prediction import DimensionWisePrediction
from ehrsynth.evaluation.fidelity.latent_deviation import LatentDeviation
from ehrsynth.evaluation.fidelity.prevalence import Prevalence
from ehrsynth.evaluation.privacy import attribute_inference
from ehrsynth.evaluation.privacy.membership import Membership
from ehrsynth.evaluation.utility import prediction as utility
from ehrsynth.evaluation.validity.constraints import ConstraintViolation
from ehrsynth.evaluation.validity.knowledge import KnowledgeViolation
from ehrsynth.layout import Layout, Records
from ehrsynth.metrics import latent_deviation as latent
from ehrsynth.schema import Column, Schema
from tests.evaluation_toy import CODES, bits_only, code_schema, toy_real, toy_records

REAL = toy_real()
ROWS = [[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]] * 5


def codes_only() -> RealData:
    schema = code_schema(4)
    return RealData(schema, bits_only(ROWS, schema), bits_only(ROWS[:8], schema))


def value_of(found: object) -> float:
    assert isinstance(found, Value)
    return found.value


@pytest.mark.parametrize(
    ("evaluator", "reason"),
    [
        (Wasserstein(), "no continuous column"),
        (utility.OutcomePrediction(rounds=2), "role outcome"),
        (KnowledgeViolation(), "sex or gender"),
        (ConstraintViolation(), "no constraint"),
        (attribute_inference.PublishedAttributeInference(), "none of the 4 is left hidden"),
    ],
)
def test_data_that_lack_something_are_skipped_with_the_reason(evaluator: Evaluator, reason: str) -> None:
    with pytest.raises(NotApplicableError, match=reason):
        evaluator.fit(codes_only(), 0)


def test_values_alone_have_no_prevalence_and_no_codes() -> None:
    schema = Schema((Column("bmi", "continuous", bounds=(10.0, 60.0), domain="vital"),))
    rows = Records(Layout.of(schema), torch.zeros(5, 0, dtype=torch.uint8), torch.rand(5, 1))
    real = RealData(schema, rows, rows)
    for evaluator in (Prevalence(), ConceptAbundance(), DimensionWisePrediction()):
        with pytest.raises(NotApplicableError):
            evaluator.fit(real, 0)
    with pytest.raises(NotApplicableError, match="single column"):
        Correlation().fit(real, 0)


def test_dimension_wise_distance_is_the_mean_over_all_columns() -> None:
    synthetic = toy_records(200, 3)
    apd = value_of(Prevalence().fit(REAL, 0)(synthetic, 0)["fidelity/apd"])
    wasserstein = value_of(Wasserstein().fit(REAL, 0)(synthetic, 0)["fidelity/wasserstein"])
    found = value_of(DimensionWiseDistance().fit(REAL, 0)(synthetic, 0)["fidelity/dimension_wise_distance"])
    binary = REAL.layout.binary.stop
    assert found == pytest.approx((apd * binary + wasserstein * 2) / (binary + 2), abs=1e-12)


def test_a_column_without_observed_values_has_no_distance() -> None:
    synthetic = toy_records(50, 3)
    synthetic.values[:, 0] = torch.nan
    for evaluator in (Wasserstein(), DimensionWiseDistance()):
        (found,) = evaluator.fit(REAL, 0)(synthetic, 0).values()
        assert isinstance(found, Undefined)
        assert "'lab'" in found.reason


def test_utility_of_a_copy_equals_that_of_the_training_rows() -> None:
    found = utility.OutcomePrediction(rounds=20).fit(REAL, 0)(REAL.train, 0)
    assert found["utility/tstr_auroc"] == found["utility/trtr_auroc"]
    assert 0.6 < value_of(found["utility/tstr_auroc"]) < 0.95
    assert value_of(found["utility/feature_importance_overlap"]) > 0.3


def test_a_constant_synthetic_outcome_fails_tstr_and_leaves_trtr() -> None:
    synthetic = toy_records(100, 2)
    synthetic.bits[:, CODES] = 0
    found = utility.OutcomePrediction(rounds=5).fit(REAL, 0)(synthetic, 0)
    assert isinstance(found["utility/trtr_auroc"], Value)
    for name in ("utility/tstr_auroc", "utility/feature_importance_overlap"):
        assert found[name] == Undefined("outcome 'died' is constant in the synthetic rows")


@pytest.mark.parametrize("side", ["train", "holdout"])
def test_a_constant_real_outcome_is_not_applicable(side: str) -> None:
    constant = toy_records(80, 2)
    constant.bits[:, CODES] = 1
    with pytest.raises(NotApplicableError, match="'died' is constant"):
        utility.OutcomePrediction(rounds=5).fit(replace(REAL, **{side: constant}), 0)


def test_a_categorical_outcome_with_rare_levels_only_is_skipped_with_the_reason() -> None:
    schema = Schema((*code_schema(2).columns, Column("fate", "categorical", levels=("home", "died"), role="outcome")))
    rows = bits_only([[1, 0, 1, 0], [0, 1, 0, 1]] * 5, schema)
    with pytest.raises(NotApplicableError, match="levels of 10 records or more \\('fate' is categorical\\)"):
        utility.OutcomePrediction(rounds=5).fit(RealData(schema, rows, rows), 0)


def test_knowledge_violation_counts_the_wrong_sex() -> None:
    scorer = KnowledgeViolation().fit(REAL, 0)
    synthetic = toy_records(400, 5)
    assert value_of(scorer(synthetic, 0)["validity/knowledge_violation"]) == 0
    swapped = Records(synthetic.layout, synthetic.bits.clone(), synthetic.values)
    swapped.bits[:, [14, 15]] = synthetic.bits[:, [15, 14]]
    assert value_of(scorer(swapped, 0)["validity/knowledge_violation"]) == 1
    swapped.bits[:, :2] = 0
    assert isinstance(scorer(swapped, 0)["validity/knowledge_violation"], Undefined)


def test_a_binary_sex_column_tells_two_sexes() -> None:
    schema = Schema((*code_schema(2).columns, Column("Gender", "binary", domain="demographics")))
    rows = bits_only([[1, 0, 1]] * 20 + [[0, 1, 0]] * 20, schema)
    found = KnowledgeViolation().fit(RealData(schema, rows, rows), 0)(bits_only([[1, 1, 1]], schema), 0)
    assert value_of(found["validity/knowledge_violation"]) == 0.5  # c0 right, c1 wrong


def test_constraint_violation_is_the_share_of_broken_records() -> None:
    synthetic = toy_records(100, 6)
    synthetic.bits[:, 0] = 0
    synthetic.bits[:8, 0] = 1
    synthetic.bits[:8, 14:16] = torch.tensor([0, 1], dtype=torch.uint8)
    found = ConstraintViolation().fit(REAL, 0)(synthetic, 0)
    assert value_of(found["validity/constraint_violation"]) == 0.08


def test_the_attacker_knows_demographics_and_outcomes_and_half_of_the_positives() -> None:
    found = attribute_inference.AttributeInference().fit(REAL, 0)(toy_records(100, 1), 0)
    known = value_of(found["privacy/attribute_known_codes"])
    counts = sorted(REAL.train.bits[:, :CODES].sum(0).tolist(), reverse=True)
    assert sum(counts[: int(known)]) * 2 <= sum(counts) < sum(counts[: int(known) + 1]) * 2
    missing = int(REAL.train.bits[:, CODES + 1].sum())
    assert value_of(found["privacy/attribute_hidden_positives"]) == sum(counts[int(known) :]) + missing


def test_the_latent_space_of_more_synthetic_rows_is_that_of_as_many_as_were_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    def measured(real: Records, synthetic: Records, *_: object) -> NDArray[np.int64]:
        sizes.append((len(real), len(synthetic)))
        return np.array([[3, 1], [1, 3]])

    monkeypatch.setattr(latent, "cluster_counts", measured)
    for evaluator in (LatentDeviation(), LatentDeviation(max_rows=200)):
        scorer = evaluator.fit(REAL, 0)
        for rows in (100, 1500):
            scorer(toy_records(rows, 7), 0)
    assert sizes == [(600, 100), (600, 600), (200, 100), (200, 200)]


def test_row_caps_are_obeyed_and_seeded() -> None:
    evaluator = Membership(max_rows=100)
    synthetic = toy_records(300, 4)
    assert evaluator.fit(REAL, 0)(synthetic, 1) == evaluator.fit(REAL, 0)(synthetic, 1)
    assert evaluator.fit(REAL, 0)(synthetic, 1) != evaluator.fit(REAL, 1)(synthetic, 1)


def test_a_row_cap_does_not_hide_a_memoriser() -> None:
    found = Membership(max_rows=100).fit(REAL, 0)(REAL.train, 1)
    assert value_of(found["privacy/membership_auc"]) > 0.8


def test_prediction_of_fresh_records_follows_that_of_real_ones() -> None:
    found = DimensionWisePrediction(codes=8).fit(REAL, 0)(toy_records(600, 12), 0)
    assert value_of(found["fidelity/dimension_wise_prediction"]) > 0.7
    copy = DimensionWisePrediction(codes=8).fit(REAL, 0)(REAL.train, 0)
    assert value_of(copy["fidelity/dimension_wise_prediction"]) == pytest.approx(1)
    assert value_of(copy["fidelity/dimension_wise_prediction_gap"]) == 0
