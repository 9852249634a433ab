"""The suites that ask trajectories: whole cards, values between their anchors, and an answer to whatever is scored."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.anchors import MOVES, Anchors, anchor_scores, with_anchors
from ehrsynth.evaluation.card import card_of
from ehrsynth.evaluation.evaluator import RealVisits, Value
from ehrsynth.evaluation.fidelity.prevalence import Prevalence
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.suite import FittedSuite, Suite
from ehrsynth.evaluation.temporal.counts import VisitCounts
from ehrsynth.evaluation.temporal.pathways import Pathways
from ehrsynth.metrics.temporal.content import repeated
from ehrsynth.metrics.temporal.reshaped import first_visits, shuffled
from ehrsynth.study.conf import conf_dir
from ehrsynth.visits import DAY, UNKNOWN, Code, Visits, VisitSchema, ragged
from tests.evaluation_toy import toy_real
from tests.visit_toy import SCHEMA, real_visits, simulated, visits_of

Spoil = Callable[[Visits], Visits]
FRESH = simulated(1000, 42)
SMALL = {"rounds": 20, "attacked": 100, "steps": 60}


def suite(name: str, small: bool = False) -> Suite:
    config = OmegaConf.load(conf_dir() / "suite" / f"{name}.yaml")
    for node in config.evaluators if small else ():
        node.update({key: value for key, value in SMALL.items() if key in node})
        if node.get("codes", 0) > 20:
            node.codes = 20
    built = instantiate(config)
    assert isinstance(built, Suite)
    return built


@pytest.mark.parametrize("name", ["temporal", "temporal_quick"])
def test_every_score_carries_a_full_card(name: str) -> None:
    built = suite(name)
    assert built.asks == "trajectories"
    for card in built.cards:
        assert card == card_of(card.name)
        assert card.family in ("temporal", "privacy")
    assert {card.name for card in built.cards} <= {card.name for card in suite("temporal").cards}


@pytest.fixture(scope="module")
def fitted() -> FittedSuite:
    return suite("temporal", small=True).fit(real_visits(300, 300), 0)


@pytest.fixture(scope="module")
def scored(fitted: FittedSuite) -> list[Score]:
    return fitted.score(simulated(300, 77))


def test_every_score_has_a_value_in_its_range_and_interval(scored: list[Score]) -> None:
    for score in scored:
        assert score.status == "ok", (score.metric, score.reason)
        assert score.card.low <= score.value <= score.card.high
        assert score.ci is not None
        assert score.ci[0] - 1e-9 <= score.value <= score.ci[1] + 1e-9, score.metric


@pytest.fixture(scope="module")
def quick() -> FittedSuite:
    return suite("temporal_quick").fit(real_visits(), 0)


@pytest.fixture(scope="module")
def large() -> FittedSuite:
    return suite("temporal", small=True).fit(real_visits(1000, 500), 0)


@pytest.fixture(scope="module")
def anchors(quick: FittedSuite) -> Anchors:
    return anchor_scores(quick)


SEE_ORDER = ("codes_by_visit_number", "codes_kept", "asymmetry", "persistence_error", "gaps_by_kind")
BLIND = ("gaps_ks", "visits_ks", "codes_per_visit_ks", "halo_visit_bigram_r2", "halo_sequential_bigram_r2")


def test_fresh_patients_are_near_perfect_and_shuffled_ones_are_not(anchors: Anchors) -> None:
    fresh, shuffled, alone = (anchors[name] for name in ("fresh_real", "order_shuffled", "independent"))
    assert fresh["temporal/asymmetry"] > 0.75
    assert abs(shuffled["temporal/asymmetry"]) < 0.4  # 0 but for noise
    assert fresh["temporal/persistence_error"] < 0.04 < shuffled["temporal/persistence_error"]
    assert fresh["temporal/gaps_by_kind"] < 0.1 < shuffled["temporal/gaps_by_kind"]
    assert fresh["temporal/codes_kept"] < 0.05 < 0.3 < alone["temporal/codes_kept"]
    assert fresh["temporal/discriminator_auc"] < 0.6 < alone["temporal/discriminator_auc"]
    assert fresh["temporal/order_violation"] == shuffled["temporal/order_violation"] == 0


def test_it_is_told_which_scores_the_order_moves(quick: FittedSuite, anchors: Anchors) -> None:
    moves = {metric.removeprefix("temporal/"): moved for metric, moved in anchors[MOVES].items()}
    assert {name: moves[name] for name in (*SEE_ORDER, *BLIND)} == dict.fromkeys(SEE_ORDER, 1) | dict.fromkeys(BLIND, 0)
    score, *_ = with_anchors(quick.score(simulated(50, 5)), anchors)
    assert score.metric == "temporal/codes_by_visit_number"
    assert set(score.anchors) == {"fresh_real", "train_copy", "independent", "order_shuffled"}
    assert score.parts["order", "moves with order"] == Value(1.0)


def test_a_copy_is_perfect_and_the_privacy_scores_flag_it(quick: FittedSuite, anchors: Anchors) -> None:
    copy, fresh = anchors["train_copy"], anchors["fresh_real"]
    assert copy["temporal/persistence_error"] == copy["temporal/gaps_ks"] == 0
    assert copy["temporal/halo_sequential_bigram_r2"] == copy["temporal/asymmetry"] == 1
    assert copy["privacy/sequence_prefix_excess"] > 1 > abs(fresh["privacy/sequence_prefix_excess"])
    assert copy["privacy/sequence_runs_excess"] > 0.99
    assert abs(fresh["privacy/sequence_runs_excess"]) < 0.02
    for form in ("hamming", "bag"):
        assert copy[f"privacy/sequence_{form}_auc"] > 0.85
        assert 0.42 < fresh[f"privacy/sequence_{form}_auc"] < 0.58


def test_a_few_copies_are_found_by_the_runs_they_share(quick: FittedSuite) -> None:
    """One patient in ten is a training patient."""
    leak = Visits.joined([simulated(270, 9), quick.real.train.of_patients(np.arange(30))])
    score = {score.metric: score for score in quick.score(leak)}["privacy/sequence_runs_excess"]
    assert score.ci[0] > 0


def test_the_same_seed_gives_the_same_scores(quick: FittedSuite) -> None:
    def told() -> list[tuple[float | None, object]]:
        again = suite("temporal_quick").fit(real_visits(), 0)
        return [(score.value, score.ci) for score in again.score(simulated(60, 3))]

    assert told() == told()


def later_codes_lost(visits: Visits) -> Visits:
    """No code comes back at the next visit."""
    return without(visits, repeated(visits, len(SCHEMA.codes)))


def without(visits: Visits, lost: np.ndarray) -> Visits:
    kept = np.bincount(visits.visit_of_code[~lost], minlength=visits.count)
    return replace(visits, codes=visits.codes[~lost], code_offsets=np.append(0, np.cumsum(kept)))


def dates_rounded(visits: Visits) -> Visits:
    return replace(visits, starts=visits.starts // (90 * DAY) * (90 * DAY))


def half_emptied(visits: Visits) -> Visits:
    return without(visits, visits.visit_of_code % 2 == 0)


def values_moved(visits: Visits) -> Visits:
    """The same values, dealt out again among all that are of one measurement."""
    rng, values = np.random.default_rng(0), visits.values.copy()
    for place in range(len(SCHEMA.measurements)):
        values[visits.measured == place] = rng.permutation(values[visits.measured == place])
    return replace(visits, values=values)


def chapters_mixed(visits: Visits) -> Visits:
    """Every visit has another visit's codes for half of its own."""
    order = np.roll(np.arange(visits.count), 1)
    one, other = without(visits, visits.codes % 2 == 0), without(visits, visits.codes % 2 == 1).with_visits_moved(order)
    rows = [
        sorted({*a, *b})
        for (a, b) in zip(*(np.split(x.codes, x.code_offsets[1:-1]) for x in (one, other)), strict=True)
    ]
    offsets, codes = ragged(rows)
    return replace(visits, code_offsets=offsets, codes=codes)


def slowed(visits: Visits) -> Visits:
    """Everything happens, four times later."""
    first = visits.starts[visits.offsets[visits.patient]]
    return replace(visits, starts=first + 4 * (visits.starts - first), ends=np.full(visits.count, UNKNOWN))


def first_visits_swapped(visits: Visits) -> Visits:
    """Every patient begins with what another's first visit holds."""
    order, first = np.arange(visits.count), visits.offsets[:-1]
    order[first] = np.roll(first, 1)
    return visits.with_visits_moved(order)


def order_lost(visits: Visits) -> Visits:
    return shuffled(visits, np.random.default_rng(0))


def dead_too_soon(visits: Visits) -> Visits:
    return replace(visits, died=np.where(visits.per_patient > 0, visits.starts[visits.offsets[:-1]], UNKNOWN))


def first_visits_only(visits: Visits) -> Visits:
    return first_visits(visits, np.full(len(visits), 2))


def hardly_anybody(visits: Visits) -> Visits:
    """Three patients, over and over."""
    return visits.of_patients(np.arange(len(visits)) % 3)


WORSE = (
    (hardly_anybody, "vocabulary_coverage", "distinct_records", "distinct_visits", "recurrent_discriminator_auc"),
    (later_codes_lost, "persistence_r2", "persistence_error", "codes_already_there", "codes_kept", "codes_new"),
    (later_codes_lost, "halo_sequential_bigram_r2", "lagged_lift", "tstr_next_codes_auprc", "discriminator_auc"),
    (dates_rounded, "gaps_ks", "gaps_wasserstein", "gaps_zero", "gaps_by_kind", "gaps_by_number"),
    (half_emptied, "empty_visits", "codes_per_visit_ks", "codes_per_visit_wasserstein", "codes_by_visit_number"),
    (values_moved, "autocorrelation_error", "variance_within_error"),
    (chapters_mixed, "halo_visit_bigram_r2", "tree_distance", "chapter_purity"),
    (dead_too_soon, "order_violation"),
    (slowed, "first_event_absolute", "first_event_optimism", "span_ks"),
    (first_visits_swapped, "hazard_ratio_error", "persistence_error"),
    (first_visits_only, "visits_ks", "visits_wasserstein", "span_ks", "first_event_short_sightedness"),
    (
        order_lost,
        "codes_by_visit_number",
        "asymmetry",
        "tstr_next_gap_error",
        "trts_outcome_auroc",
    ),
)


@pytest.mark.parametrize(("spoilt", "metric"), [(case[0], metric) for case in WORSE for metric in case[1:]])
def test_a_fault_is_seen_by_the_scores_that_ask_for_it(spoilt: Spoil, metric: str, large: FittedSuite) -> None:
    name = f"temporal/{metric}"
    (asked,) = (one for one in large.suite.evaluators if name in [card.name for card in one.cards])
    fresh, bad = (
        {score.metric: score for score in large.score(visits, only=[asked])}[name] for visits in (FRESH, spoilt(FRESH))
    )
    sign = 1 if fresh.direction == "lower" else -1
    assert sign * bad.value > max(sign * end for end in fresh.ci)


def odd_visits() -> dict[str, Visits]:
    """What a generator may come up with."""
    some = simulated(40, 4)
    same_time = replace(some, starts=np.zeros(some.count, np.int64), ends=np.full(some.count, UNKNOWN))
    return {
        "nobody": visits_of([]),
        "one patient": simulated(1, 0),
        "no visit at all": visits_of([[]] * 30),
        "no code at all": visits_of([[(0, []), (5, [])]] * 30),
        "one visit each": visits_of([[(day, [day % 5])] for day in range(30)]),
        "all at the same time": same_time,
        "five hundred visits": visits_of([[(day, [day % 3, 8]) for day in range(500)]] * 3),
        "every code": visits_of([[(0, list(range(len(SCHEMA.codes))))] * 2] * 30),
        "nothing known": replace(
            some, ends=np.full(some.count, UNKNOWN), died=np.full(40, UNKNOWN), born=np.full(40, UNKNOWN)
        ),
    }


@pytest.mark.parametrize("name", odd_visits())
def test_odd_synthetic_visits_get_a_value_or_a_reason(name: str, fitted: FittedSuite) -> None:
    odd = odd_visits()[name]
    odd.check(SCHEMA, name)
    for score in fitted.score(odd):
        assert score.status in ("ok", "failed")
        assert "Error" not in (score.reason or ""), (score.metric, score.reason)
        if score.status == "ok":
            assert score.card.low <= score.value <= score.card.high


POOR = ("nobody", "one patient", "no visit at all", "no code at all", "one visit each", "nothing known")


@pytest.mark.parametrize("name", POOR)
def test_what_real_visits_lack_is_skipped_with_a_reason(name: str) -> None:
    odd = odd_visits()[name]
    fitted = suite("temporal", small=True).fit(RealVisits(SCHEMA, odd, odd), 0)
    for score in fitted.score(simulated(30, 1)):
        assert "Error" not in (score.reason or ""), (score.metric, score.reason)


def test_even_nobody_has_anchors() -> None:
    found = anchor_scores(suite("temporal_quick").fit(RealVisits(SCHEMA, visits_of([]), visits_of([])), 0))
    assert set(found) == {"fresh_real", "train_copy", "independent", "order_shuffled", MOVES}
    assert not any(value for name in found for value in found[name].values())


def test_rows_and_trajectories_do_not_mix() -> None:
    with pytest.raises(OptionError, match="Prevalence asks rows and VisitCounts asks trajectories"):
        Suite(evaluators=[Prevalence(), VisitCounts()])
    with pytest.raises(OptionError, match="ask trajectories; the data are rows"):
        Suite(evaluators=[VisitCounts()]).fit(toy_real(10, 10), 0)
    with pytest.raises(OptionError, match="ask rows; the data are trajectories"):
        Suite(evaluators=[Prevalence()]).fit(real_visits(10, 10), 0)
    with pytest.raises(OptionError, match=r"domain=lab: .*diagnosis, medication"):
        Suite(evaluators=[Pathways(domain="lab")]).fit(real_visits(10, 10), 0)


def test_a_fingerprint_is_of_every_number() -> None:
    real = real_visits(10, 10)
    assert real.fingerprint == real_visits(10, 10).fingerprint
    values = real.train.values.copy()
    values[3] += 1
    assert replace(real, train=replace(real.train, values=values)).fingerprint != real.fingerprint
    schema = VisitSchema(SCHEMA.kinds, (*SCHEMA.codes[:-1], Code("rx_other", "medication")), SCHEMA.measurements)
    assert replace(real, schema=schema).fingerprint != real.fingerprint
