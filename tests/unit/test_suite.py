"""The suite records every score once, whatever happens; the anchors stand in for the synthetic table."""

import logging
from collections.abc import Mapping

import pytest
import torch

from ehrsynth.bits import unpack
from ehrsynth.errors import OptionError
from ehrsynth.evaluation.anchors import anchor_scores, halves, independent, with_anchors
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.fidelity.dimension_wise import Correlation, Prevalence
from ehrsynth.evaluation.privacy.distances import ExactCopies
from ehrsynth.evaluation.suite import Suite
from ehrsynth.layout import Records
from tests.evaluation_toy import toy_real, toy_records

REAL = toy_real(n=200, holdout=101)


def card(name: str) -> Card:
    return Card(name, "lower", 0, 1, "", "", "")


class Fixed(Evaluator):
    """Returns what it is told, or raises it."""

    def __init__(self, name: str, result: Value | Undefined | Exception, at_fit: Exception | None = None) -> None:
        self.cards = (card(f"fidelity/{name}"),)
        self.result = result
        self.at_fit = at_fit
        self.fits = 0

    def fit(self, real: RealData, seed: int) -> Scorer:
        self.fits += 1
        if self.at_fit:
            raise self.at_fit

        def score(synthetic: Records, seed: int) -> Mapping[str, Value | Undefined]:
            if isinstance(self.result, Exception):
                raise self.result
            return {self.cards[0].name: self.result}

        return score


def test_each_card_is_scored_once_with_a_status_and_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    suite = Suite(
        evaluators=[
            Fixed("good", Value(0.5, (0.4, 0.6))),
            Fixed("undefined", Undefined("nothing to compare")),
            Fixed("nan", Value(float("nan"))),
            Fixed("raises", ZeroDivisionError("division by zero")),
            Fixed("broken", Value(0.0), at_fit=RuntimeError("two\nlines")),
            Fixed("skipped", Value(0.0), at_fit=NotApplicableError("no outcome")),
        ]
    )
    with caplog.at_level(logging.ERROR):
        scores = suite.fit(REAL, 0).score(toy_records(10, 0), 0)
    assert [score.metric for score in scores] == [card.name for card in suite.cards]
    assert [score.status for score in scores] == ["ok", "failed", "failed", "failed", "failed", "skipped"]
    assert [score.reason for score in scores] == [
        None,
        "nothing to compare",
        "the value is nan, not a finite number",
        "ZeroDivisionError: division by zero",
        "RuntimeError: two lines",
        "no outcome",
    ]
    assert scores[0].value == 0.5
    assert scores[0].ci == (0.4, 0.6)
    assert scores[0].seconds > 0
    assert all(score.value is None for score in scores[1:])
    assert len(caplog.records) == 2
    assert all(record.exc_info for record in caplog.records)


def test_evaluators_are_fitted_once_when_first_asked() -> None:
    evaluator = Fixed("good", Value(0.5))
    steps: list[str] = []
    fitted = Suite(evaluators=[evaluator]).fit(REAL, 0, steps.append)
    assert evaluator.fits == 0
    for _ in range(2):
        fitted.score(toy_records(10, 0), 0, steps.append)
    assert evaluator.fits == 1
    assert steps == ["Fixed: preparing", "Fixed", "Fixed"]


def test_two_evaluators_must_not_give_the_same_score() -> None:
    with pytest.raises(OptionError, match="fidelity/apd"):
        Suite(evaluators=[Prevalence(), Prevalence()])


def test_independent_keeps_marginals_groups_and_missing_values_together() -> None:
    loose = independent(REAL.train, 0)
    assert torch.equal(loose.bits.ones(), REAL.train.bits.sum(0))
    assert torch.equal(loose.bits[:, 14:16].sum(1), torch.ones(200, dtype=torch.int64))
    assert torch.equal(loose.values[:, 0].isnan(), loose.bits[:, 13] == 1)
    assert torch.equal(loose.values[:, 1].sort().values, REAL.train.values[:, 1].sort().values)
    assert not torch.equal(unpack(loose.bits), unpack(REAL.train.bits))
    assert torch.equal(unpack(independent(REAL.train, 0).bits), unpack(loose.bits))


def test_halves_share_no_row() -> None:
    left, right = halves(REAL.holdout, 0)
    assert (len(left), len(right)) == (50, 51)
    whole = torch.cat([left.bits, right.bits]).sum(0)
    assert torch.equal(whole, REAL.holdout.bits.sum(0))


def test_anchors_are_scores_of_the_stand_ins() -> None:
    suite = Suite(evaluators=[Correlation(), ExactCopies(), Fixed("skipped", Value(0), NotApplicableError("none"))])
    anchors = anchor_scores(suite.fit(REAL, 0), 0)
    assert list(anchors) == ["fresh_real", "train_copy", "independent"]
    assert anchors["train_copy"]["fidelity/correlation_distance"] == 0
    assert anchors["train_copy"]["privacy/exact_copies"] == 1
    assert all(values["fidelity/skipped"] is None for values in anchors.values())
    fresh = {score.metric: score.value for score in suite.fit(REAL, 0).score(REAL.holdout, 0)}
    assert anchors["fresh_real"]["fidelity/correlation_distance"] == fresh["fidelity/correlation_distance"]

    scores = with_anchors(suite.fit(REAL, 0).score(toy_records(50, 3), 0), anchors)
    assert scores[0].anchors["train_copy"] == 0
    assert with_anchors(scores[:1], {})[0].anchors == {"fresh_real": None, "train_copy": None, "independent": None}
