"""All questions put to a synthetic table, and what is recorded when one has no answer."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Generic

from ehrsynth.errors import InputError, OptionError, machine_fault
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, Real, Scorer, Undefined, Value
from ehrsynth.evaluation.score import Score, Status
from ehrsynth.layout import Records
from ehrsynth.schema import Schema
from ehrsynth.seeding import derive
from ehrsynth.visits import Visits, VisitSchema

OnStep = Callable[[str], None]
Outcome = Scorer | tuple[Status, str]  # what fitting gave: a scorer, or the status of its scores and why

log = logging.getLogger(__name__)


class Suite:
    """A list of evaluators whose scores are asked for together.

    Args:
        evaluators: the questions, all of rows or all of trajectories; no two may give the same score.

    Raises:
        OptionError: two evaluators give the same score, or one asks rows and another trajectories.
    """

    def __init__(self, *, evaluators: Sequence[Evaluator]) -> None:
        self.evaluators = tuple(evaluators)
        names = [card.name for card in self.cards]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise OptionError(f"suite: two evaluators give {doubled[0]!r}; each score may be asked for once")
        asked = {evaluator.asks: _title(evaluator) for evaluator in self.evaluators}
        if len(asked) > 1:
            told = " and ".join(f"{title} asks {form}" for form, title in sorted(asked.items()))
            raise OptionError(f"suite: {told}; a suite asks one of the two")
        self.asks = next(iter(asked), None)

    @property
    def cards(self) -> tuple[Card, ...]:
        """The card of every score, in the order in which ``score`` returns them."""
        return tuple(card for evaluator in self.evaluators for card in evaluator.cards)

    def check(self, schema: Schema | VisitSchema) -> None:
        """Raise an ``InputError`` if an option of an evaluator does not fit the columns."""
        for evaluator in self.evaluators:
            evaluator.check(schema)

    def fit(self, real: Real, seed: int, on_step: OnStep | None = None) -> "FittedSuite[Real]":
        """Bind the suite to real data; each evaluator does its work on them when it is first asked.

        Args:
            real: the real side.
            seed: of all draws, here and when scoring. Every evaluator has a stream of its own; what several of them
                need is drawn once for all.
            on_step: told what is about to be prepared.

        Raises:
            InputError: an option of an evaluator does not fit the columns, or the suite asks trajectories of rows.
        """
        if self.asks not in (None, real.form):
            raise OptionError(f"suite: its evaluators ask {self.asks}; the data are {real.form}")
        self.check(real.schema)
        return FittedSuite(self, real if real.seed == seed else replace(real, seed=seed), on_step)


class FittedSuite(Generic[Real]):
    """A suite bound to real data; see ``Suite.fit``."""

    def __init__(self, suite: Suite, real: Real, on_step: OnStep | None = None) -> None:
        self.suite = suite
        self.real: Real = real
        self._on_step = on_step
        self._outcomes: dict[int, Outcome] = {}  # by identity, for an evaluator need not be hashable

    def score(
        self, synthetic: Records | Visits, on_step: OnStep | None = None, only: Sequence[Evaluator] | None = None
    ) -> list[Score]:
        """Score a synthetic table.

        An evaluator that raises gives failed scores with a reason, and its traceback is logged; one
        that does not apply to the data gives skipped scores. What is no fault of the data gives no
        score: an option that is wrong, or a machine that fails.

        Args:
            synthetic: S, encoded by the layout of the real data, or visits of its schema.
            on_step: told what is about to be computed.
            only: evaluators of the suite to ask; by default all.

        Returns:
            One score per card, in the suite's order.

        Raises:
            InputError: an option of an evaluator is wrong.
            MachineError: no space, no memory, a disk that fails.
        """
        scores: list[Score] = []
        for evaluator in self.suite.evaluators if only is None else only:
            outcome = self._fit(evaluator)
            if isinstance(outcome, tuple):
                scores += [_without_value(card, *outcome, seconds=0.0) for card in evaluator.cards]
                continue
            if on_step:
                on_step(_title(evaluator))
            scores += self._ask(evaluator, outcome, synthetic)
        return scores

    def _fit(self, evaluator: Evaluator) -> Outcome:
        if id(evaluator) not in self._outcomes:
            if self._on_step:
                self._on_step(f"{_title(evaluator)}: preparing")
            self._outcomes[id(evaluator)] = self._prepared(evaluator)
        return self._outcomes[id(evaluator)]

    def _prepared(self, evaluator: Evaluator) -> Outcome:
        try:
            return evaluator.fit(self.real, self._seed(evaluator))
        except NotApplicableError as error:
            return "skipped", str(error)
        except Exception as error:
            _raise_no_score(error)
            log.exception("%s could not be prepared", _title(evaluator))
            return "failed", _reason(error)

    def _ask(self, evaluator: Evaluator, scorer: Scorer, synthetic: Records | Visits) -> list[Score]:
        start = perf_counter()
        try:
            found = scorer(synthetic, self._seed(evaluator))
            missing = Undefined("the evaluator returned no such score")
        except Exception as error:
            _raise_no_score(error)
            log.exception("%s failed", _title(evaluator))
            found, missing = {}, Undefined(_reason(error))
        seconds = (perf_counter() - start) / len(evaluator.cards)
        return [_score(card, found.get(card.name, missing), seconds) for card in evaluator.cards]

    def _seed(self, evaluator: Evaluator) -> int:
        return derive(self.real.seed, _title(evaluator))


def _score(card: Card, found: Value | Undefined, seconds: float) -> Score:
    if isinstance(found, Undefined):
        return _without_value(card, "failed", found.reason, seconds)
    if not math.isfinite(found.value):
        return _without_value(card, "failed", f"the value is {found.value}, not a finite number", seconds)
    return Score(card, found.value, ci=found.ci, seconds=seconds, parts=found.parts)


def _raise_no_score(error: Exception) -> None:
    """Raise again what says nothing about the synthetic table."""
    if isinstance(error, InputError):
        raise error
    if (fault := machine_fault(error)) is not None:
        raise fault from error


def _without_value(card: Card, status: Status, reason: str, seconds: float) -> Score:
    return Score(card, None, status=status, reason=reason, seconds=seconds)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _title(evaluator: Evaluator) -> str:
    return type(evaluator).__name__
