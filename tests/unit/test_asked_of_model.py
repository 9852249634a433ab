"""What takes a model of visits itself: membership by its likelihood, and records that it continues."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.card import card_of
from ehrsynth.evaluation.privacy.likelihood import likelihood_membership
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.temporal.continuations import CutOff, continuation_scores, days_to, logistic_odds
from ehrsynth.metrics.temporal.next_visit import history
from ehrsynth.models.truncation import Truncation
from ehrsynth.models.visits.base import LooksOnce
from ehrsynth.models.visits.halo import Halo
from ehrsynth.models.visits.independent_visits import IndependentVisits
from ehrsynth.models.visits.markov import Markov
from ehrsynth.reporting.reading import judge
from ehrsynth.schema import Schema
from ehrsynth.seeding import numpy_rng
from ehrsynth.study.asked_of_model import AskedOfModel, truncated
from ehrsynth.visits import UNKNOWN, Visits
from tests.visit_toy import SCHEMA as TOY
from tests.visit_toy import simulated as toy
from tests.visit_toy import visits_of
from tests.visits import SCHEMA, simulated, visit_schema

CODES = 12
FEW = AskedOfModel(attacked=200, patients=60, draws=3, codes=3, horizons=(90, 365))


def both(train: int = 200, holdout: int = 100) -> tuple[dict[str, Tensor], dict[str, Visits]]:
    tables = {"train": simulated(train, 0, CODES), "holdout": simulated(holdout, 1, CODES)}
    return {name: rows for name, (rows, _) in tables.items()}, {name: visits for name, (_, visits) in tables.items()}


def asked(model: LooksOnce, questions: AskedOfModel = FEW) -> dict[str, Score]:
    static, visits = both()
    model.observe(static["train"], visits["train"])
    steps: list[str] = []
    found = {score.metric: score for score in questions.scores(model.eval(), static, visits, 0, steps.append)}
    assert steps == ["membership by likelihood", "continued records"]
    assert list(found) == [
        "privacy/sequence_likelihood_auc",
        "privacy/sequence_likelihood_tpr_at_1pct_fpr",
        "temporal/continuation_auroc",
        "temporal/continuation_logistic_auroc",
    ]
    assert all(score.card == card_of(score.metric) for score in found.values())
    return found


def made(kind: type[LooksOnce], schema: Schema = SCHEMA) -> LooksOnce:
    return kind(schema=schema, visit_schema=visit_schema(CODES), seed=0)  # type: ignore[return-value]


class Knowing(Markov):
    """Knows its training patients by heart, and what becomes of the others."""

    whole: Visits

    def log_likelihood(self, static: Tensor, visits: Visits) -> Tensor:
        known = set(both()[1]["train"].born.tolist())
        return torch.tensor([0.0 if born in known else -100.0 * (born % 7 + 1) for born in visits.born.tolist()])

    def continue_from(self, prefix: Visits, static: Tensor, generator: torch.Generator) -> Visits:
        whole = both()[1]["holdout"]
        place = {born: i for i, born in enumerate(whole.born.tolist())}
        return whole.of_patients(np.array([place[born] for born in prefix.born.tolist()]))


def test_who_knows_everything_is_perfect_and_leaks() -> None:
    found = asked(made(Knowing))
    assert found["temporal/continuation_auroc"].value == 1
    assert found["privacy/sequence_likelihood_auc"].value > 0.95
    assert judge(found["privacy/sequence_likelihood_auc"]).level == "poor"
    assert found["privacy/sequence_likelihood_tpr_at_1pct_fpr"].value > 0.9


def test_a_model_of_visits_knows_little_and_leaks_little() -> None:
    found = asked(made(Markov))
    for score in found.values():
        assert score.status == "ok"
        assert score.ci[0] <= score.value <= score.ci[1]
    leak, continued = found["privacy/sequence_likelihood_auc"], found["temporal/continuation_auroc"]
    assert leak.ci[0] < 0.55
    assert abs(leak.anchors["fresh_real"] - 0.5) < 0.15
    assert leak.anchors["train_copy"] == 1
    regression = found["temporal/continuation_logistic_auroc"]
    assert continued.anchors == {"fresh_real": regression.value, "train_copy": None, "independent": 0.5}
    assert regression.value > 0.5
    assert asked(made(Markov)) == found


def test_what_a_model_cannot_is_told() -> None:
    found = asked(made(IndependentVisits))
    reasons = {name: score.reason for name, score in found.items()}
    assert reasons["privacy/sequence_likelihood_auc"] == "IndependentVisits has no likelihood"
    assert reasons["temporal/continuation_auroc"] == "IndependentVisits draws whole records; it continues none"
    none = asked(made(Markov), replace(FEW, patients=0))["temporal/continuation_auroc"]
    assert (none.status, none.reason) == ("skipped", "temporal.model.patients=0")
    rare = asked(made(Markov), replace(FEW, patients=12))["temporal/continuation_auroc"]
    assert rare.reason == "no event comes, and does not, to 10 patients within a horizon"


@pytest.mark.parametrize(
    "option", [{"draws": 0}, {"patients": -1}, {"codes": 2.5}, {"horizons": ()}, {"attacked": True}]
)
def test_options_are_refused_in_words(option: dict[str, object]) -> None:
    (name,) = option
    with pytest.raises(OptionError, match=f"temporal.model.{name}="):
        AskedOfModel(**option)  # type: ignore[arg-type]


def test_outcomes_are_not_given_to_who_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie in the future; what else is said of a patient once stays."""
    columns = (*SCHEMA.columns[:2], replace(SCHEMA.columns[2], role="outcome"))
    model, seen = made(Markov, Schema(columns)), []
    monkeypatch.setattr(
        Markov, "continue_from", lambda _, prefix, static, generator: seen.append((prefix, static)) or prefix
    )
    asked(model, replace(FEW, draws=50))
    prefix, static = (parts[0] for parts in zip(*seen, strict=True))
    rows, visits = both()[0]["holdout"], both()[1]["holdout"]
    place = {born: i for i, born in enumerate(visits.born.tolist())}
    given = rows[[place[born] for born in prefix.born.tolist()]]
    outcome = model.layout.places["smoker"]
    others = [i for i in range(rows.shape[1]) if i not in outcome]
    torch.testing.assert_close(static[:, others], given[:, others])
    assert not torch.equal(static[:, outcome], given[:, outcome])
    assert (prefix.died == UNKNOWN).all()


def test_the_likelihood_attack_is_an_area() -> None:
    rng = torch.Generator().manual_seed(0)
    members, others = torch.randn(300, generator=rng) - 0.5, torch.randn(400, generator=rng)
    auc, tpr = likelihood_membership(members, others, 0)
    labels = np.repeat([1, 0], [300, 400])
    assert auc.value == pytest.approx(roc_auc_score(labels, -torch.cat([members, others]).numpy()))
    assert tpr.value == pytest.approx(float((members < others.sort().values[4]).float().mean()), abs=0.02)
    assert auc.ci[0] > auc.anchors["fresh_real"]
    assert {score.reason for score in likelihood_membership(members[:3], others, 0)} == {
        "fewer than 4 patients of R or of H"
    }


def test_days_to_an_event_by_hand() -> None:
    visits = visits_of([[(0, [1]), (10, [2]), (30, [1]), (50, [1, 3])], [(5, [1])], [(0, []), (4.5, [0, 2])]])
    found = days_to(visits, np.array([2, 1, 1]), np.array([1, 2, 3]), 5)
    assert found.tolist() == [[20, np.inf, 40], [np.inf] * 3, [np.inf, 4.5, np.inf]]


def test_records_are_cut_off() -> None:
    visits = toy(100, 0)
    cut = CutOff.of(visits, 40, numpy_rng(0, "cut"))
    assert len(set(cut.patients.tolist())) == 40
    assert (cut.visits.born == visits.born[cut.patients]).all()
    known = cut.known
    assert (known.per_patient == cut.lengths).all()
    assert ((cut.lengths >= 1) & (cut.lengths <= cut.visits.per_patient)).all()
    assert (known.died == UNKNOWN).all()
    features = np.arange(10)
    np.testing.assert_allclose(cut.before(TOY, features), history(known, TOY, features)[known.offsets[1:] - 1])


def test_the_regression_is_that_of_scikit_learn() -> None:
    train, test = (CutOff.of(toy(300, seed), 300, numpy_rng(seed, "cut")) for seed in (0, 1))
    features, events = np.arange(20), np.array([0, 3])
    odds = logistic_odds(train, test, TOY, features, events, (60, 200))
    assert odds.shape == (300, 2, 2)
    came = days_to(train.visits, train.lengths, events, len(TOY.codes))[:, 1] <= 200
    model = LogisticRegression(tol=1e-8, max_iter=3000).fit(train.before(TOY, features), came)
    np.testing.assert_allclose(odds[:, 1, 1], model.decision_function(test.before(TOY, features)), atol=0.05)


def by_hand(came: np.ndarray, drawn: np.ndarray, horizons: Sequence[int]) -> float:
    areas = []
    for k in range(came.shape[1]):
        for days in horizons:
            truth = came[:, k] <= days
            if min(truth.sum(), (~truth).sum()) >= 10:
                areas.append(roc_auc_score(truth, [(row[:, k] <= days).mean() for row in drawn]))
    return float(np.mean(areas))


def test_the_score_of_continuations_by_hand() -> None:
    rng = np.random.default_rng(0)
    came = np.where(rng.random((200, 3)) < [0.7, 0.3, 0.01], rng.exponential(60, (200, 3)), np.inf)
    close = np.where(rng.random((200, 9, 3)) < 0.5, came[:, None], rng.exponential(200, (200, 9, 3)))
    score, regression = continuation_scores(came, close, -came[:, :, None].clip(0, 1e9) + np.zeros(2), "abc", (30, 90))
    assert score.value == pytest.approx(by_hand(came, close, (30, 90)))
    assert regression.value == score.anchors["fresh_real"] == 1
    assert 0.5 < score.ci[0] < score.value < score.ci[1] < 1
    assert {name for kind, name in score.parts if kind == "event"} == {
        f"{event} within {days} days" for event in "ab" for days in (30, 90)
    }
    assert score.parts["base rate", "a within 30 days"].value == (came[:, 0] <= 30).mean()
    assert score.parts["continued rate", "b within 90 days"].value == pytest.approx((close[:, :, 1] <= 90).mean())
    by_horizon = [score.parts["horizon", f"within {days} days"].value for days in (30, 90)]
    assert np.mean(by_horizon) == pytest.approx(score.value)
    blind = rng.permutation(close, axis=0)
    low, high = continuation_scores(came, blind, np.zeros((200, 3, 2)), "abc", (30, 90))[0].ci
    assert low < 0.5 < high


def test_truncated_sampling_is_told() -> None:
    options = {"schema": SCHEMA, "visit_schema": visit_schema(CODES), "width": 16, "heads": 2}
    assert truncated(Halo(**options)) is None
    assert truncated(made(Markov)) is None
    assert "temperature 1 and top_p 0.95" in (truncated(Halo(**options, top_p=0.95)) or "")
    assert Halo(**options, temperature=0.8).truncation != Truncation()
