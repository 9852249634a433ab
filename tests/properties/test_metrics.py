"""What must hold for any table: the order of rows is of no matter, a copy is perfect, noise is worse."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrsynth.evaluation.anchors import independent
from ehrsynth.evaluation.evaluator import Evaluator, Value
from ehrsynth.evaluation.fidelity import distributions, manifold, rare_codes
from ehrsynth.evaluation.fidelity.concept_abundance import ConceptAbundance
from ehrsynth.evaluation.fidelity.correlation import Correlation
from ehrsynth.evaluation.fidelity.dimension_wise_distance import DimensionWiseDistance, Wasserstein
from ehrsynth.evaluation.fidelity.latent_deviation import LatentDeviation
from ehrsynth.evaluation.fidelity.prevalence import Prevalence
from ehrsynth.evaluation.privacy import attribute_inference
from ehrsynth.evaluation.privacy.attribute_inference import half_of_positives
from ehrsynth.evaluation.privacy.copies import ExactCopies
from ehrsynth.evaluation.privacy.membership import Membership
from ehrsynth.evaluation.validity.constraints import ConstraintViolation
from ehrsynth.evaluation.validity.knowledge import KnowledgeViolation
from ehrsynth.layout import Records
from tests.evaluation_toy import toy_real, toy_records

REAL = toy_real()
EVALUATORS: list[Callable[[], Evaluator]] = [
    Prevalence,
    DimensionWiseDistance,
    Wasserstein,
    Correlation,
    ConceptAbundance,
    LatentDeviation,
    distributions.ColumnDistributions,
    manifold.Manifold,
    manifold.Support,
    lambda: rare_codes.RarePrevalence(below=0.2),
    lambda: rare_codes.RarePairLift(below=0.2),
    Membership,
    ExactCopies,
    attribute_inference.AttributeInference,
    lambda: attribute_inference.PublishedAttributeInference(known=3),
    KnowledgeViolation,
    ConstraintViolation,
]


def scored(evaluator: Evaluator, synthetic: Records) -> dict[str, float]:
    found = evaluator.fit(REAL, 0)(synthetic, 1)
    assert set(found) == {card.name for card in evaluator.cards}
    return {name: value.value for name, value in found.items() if isinstance(value, Value)}


@pytest.mark.parametrize("make", EVALUATORS)
def test_the_order_of_rows_is_of_no_matter(make: Callable[[], Evaluator]) -> None:
    synthetic = toy_records(300, 7)
    shuffled = synthetic[torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    expected = scored(make(), synthetic)
    abs_tolerance = 3.0 if "fidelity/latent_deviation" in expected else 1e-6  # k-means starts depend on the order
    assert scored(make(), shuffled) == pytest.approx(expected, abs=abs_tolerance)


@pytest.mark.parametrize("make", EVALUATORS)
def test_values_lie_in_the_range_of_their_cards_and_repeat(make: Callable[[], Evaluator]) -> None:
    synthetic = toy_records(250, 8)
    found = make().fit(REAL, 0)(synthetic, 1)
    for card in make().cards:
        value = found[card.name]
        assert isinstance(value, Value)
        assert type(value.value) is float  # and no NumPy number, which JSON would refuse
        assert card.low <= value.value <= card.high
        if value.ci:
            assert value.ci[0] <= value.value <= value.ci[1]
    assert make().fit(REAL, 0)(synthetic, 1) == found


def test_a_copy_is_perfect_and_noise_is_worse_than_a_fresh_draw() -> None:
    fresh, loose = toy_records(600, 9), independent(REAL.train, 0)
    for make in (Correlation, ConceptAbundance, LatentDeviation):
        copy, good, bad = (scored(make(), table) for table in (REAL.train, fresh, loose))
        for name in copy:
            assert copy[name] < good[name] < bad[name]
    for make in (Prevalence, DimensionWiseDistance, Wasserstein):
        assert all(value in (0, 1) for value in scored(make(), REAL.train).values())
    for make in (distributions.ColumnDistributions, lambda: rare_codes.RarePairLift(below=0.2)):
        assert all(value == 0 for value in scored(make(), REAL.train).values())
    for make in (manifold.Manifold, manifold.Support):
        copy, good, bad = (scored(make(), table) for table in (REAL.train, fresh, loose))
        for name in set(copy) - {"fidelity/density"}:  # which shuffled columns can win
            assert copy[name] > good[name] > bad[name]


def test_attacks_tell_a_copy_from_a_fresh_draw() -> None:
    copy = scored(Membership(), REAL.train)
    draws = [scored(Membership(), toy_records(600, seed)) for seed in range(10, 14)]  # one draw varies by 0.03
    fresh = {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}
    assert copy["privacy/membership_auc"] > 0.8 > 0.55 > fresh["privacy/membership_auc"] > 0.45
    assert copy["privacy/dcr_share"] > 0.7 > 0.56 > fresh["privacy/dcr_share"] > 0.44
    copied = scored(attribute_inference.AttributeInference(), REAL.train)
    assert copied["privacy/attribute_f1_excess"] > 0.2
    assert copied["privacy/attribute_f1"] - copied["privacy/attribute_f1_holdout"] == pytest.approx(
        copied["privacy/attribute_f1_excess"]
    )
    assert scored(ExactCopies(), REAL.train)["privacy/exact_copies"] == 1


@settings(max_examples=50)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_half_of_the_positives_stay_hidden(counts: list[int]) -> None:
    counts = sorted(counts, reverse=True)
    known = half_of_positives(counts)
    assert 1 <= known <= len(counts)
    if known > 1:
        assert sum(counts[known:]) * 2 >= sum(counts)
    if known < len(counts) and sum(counts):
        assert np.sum(counts[known + 1 :]) * 2 < sum(counts) or counts[known] == 0
