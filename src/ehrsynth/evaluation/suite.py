"""All questions put to a synthetic table, and what is recorded when one has no answer."""

import logging
import math
from collections.abc import Callable, Sequence
from time import perf_counter

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.score import Score, Status
from ehrsynth.layout import Records
from ehrsynth.seeding import derive

OnStep = Callable[[str], None]
Outcome = Scorer | tuple[Status, str]  # what fitting gave: a scorer, or the status of its scores and why

log = logging.getLogger(__name__)


class Suite:
    """A list of evaluators whose scores are asked for together.

    Args:
        evaluators: the questions; no two may give the same score.

    Raises:
        OptionError: two evaluators give the same score.
    """

    def __init__(self, *, evaluators: Sequence[Evaluator]) -> None:
        self.evaluators = tuple(evaluators)
        names = [card.name for card in self.cards]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise OptionError(f"suite: two evaluators give {doubled[0]!r}; each score may be asked for once")

    @property
    def cards(self) -> tuple[Card, ...]:
        """The card of every score, in the order in which ``score`` returns them."""
        return tuple(card for evaluator in self.evaluators for card in evaluator.cards)

    def fit(self, real: RealData, seed: int, on_step: OnStep | None = None) -> "FittedSuite":
        """Bind the suite to real data; each evaluator does its work on them when it is first asked.

        Args:
            real: the real side.
            seed: every evaluator draws from a stream of its own.
            on_step: told what is about to be prepared.
        """
        return FittedSuite(self, real, seed, on_step)


class FittedSuite:
    """A suite bound to real data; see ``Suite.fit``."""

    def __init__(self, suite: Suite, real: RealData, seed: int, on_step: OnStep | None = None) -> None:
        self.suite = suite
        self.real = real
        self.seed = seed
        self._on_step = on_step
        self._fitted: dict[Evaluator, Outcome] = {}

    def score(
        self,
        synthetic: Records,
        seed: int,
        on_step: OnStep | None = None,
        only: Sequence[Evaluator] | None = None,
    ) -> list[Score]:
        """Score a synthetic table.

        An evaluator that raises gives failed scores with a reason, and its traceback is logged; one
        that does not apply to the data gives skipped scores.

        Args:
            synthetic: S, encoded by the layout of the real data.
            seed: of all draws; every evaluator has a stream of its own.
            on_step: told what is about to be computed.
            only: evaluators of the suite to ask; by default all.

        Returns:
            One score per card, in the suite's order.
        """
        scores: list[Score] = []
        for evaluator in self.suite.evaluators if only is None else only:
            fitted = self._fit(evaluator)
            if isinstance(fitted, tuple):
                scores += [_without_value(card, *fitted, seconds=0.0) for card in evaluator.cards]
                continue
            if on_step:
                on_step(_title(evaluator))
            scores += self._ask(evaluator, fitted, synthetic, seed)
        return scores

    def _fit(self, evaluator: Evaluator) -> Outcome:
        if evaluator not in self._fitted:
            if self._on_step:
                self._on_step(f"{_title(evaluator)}: preparing")
            try:
                self._fitted[evaluator] = evaluator.fit(self.real, derive(self.seed, _title(evaluator)))
            except NotApplicableError as error:
                self._fitted[evaluator] = "skipped", str(error)
            except Exception as error:
                log.exception("%s could not be prepared", _title(evaluator))
                self._fitted[evaluator] = "failed", _reason(error)
        return self._fitted[evaluator]

    def _ask(self, evaluator: Evaluator, scorer: Scorer, synthetic: Records, seed: int) -> list[Score]:
        start = perf_counter()
        try:
            found = scorer(synthetic, derive(seed, _title(evaluator)))
            missing = Undefined("the evaluator returned no such score")
        except Exception as error:
            log.exception("%s failed", _title(evaluator))
            found, missing = {}, Undefined(_reason(error))
        seconds = (perf_counter() - start) / len(evaluator.cards)
        return [_score(card, found.get(card.name, missing), seconds) for card in evaluator.cards]


def _score(card: Card, found: Value | Undefined, seconds: float) -> Score:
    if isinstance(found, Undefined):
        return _without_value(card, "failed", found.reason, seconds)
    if not math.isfinite(found.value):
        return _without_value(card, "failed", f"the value is {found.value}, not a finite number", seconds)
    return Score(card, found.value, ci=found.ci, seconds=seconds, parts=found.parts)


def _without_value(card: Card, status: Status, reason: str, seconds: float) -> Score:
    return Score(card, None, status=status, reason=reason, seconds=seconds)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _title(evaluator: Evaluator) -> str:
    return type(evaluator).__name__
