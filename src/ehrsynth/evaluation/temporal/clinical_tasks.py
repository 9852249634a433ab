"""Clinical tasks over time: what is learned from S, R or both, tested on H, and for whom it holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ehrsynth.errors import expect
from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.subgroups import MIN_CLASS, MIN_ROWS
from ehrsynth.evaluation.temporal.groups import chosen
from ehrsynth.evaluation.temporal.next_visit import MOST_VISITS
from ehrsynth.evaluation.temporal.task_rows import TaskRows, TaskSample, weights_of
from ehrsynth.evaluation.temporal.tasks import Task
from ehrsynth.metrics.classification import auprc, auroc
from ehrsynth.metrics.intervals import Estimate, distance, mover_mean, normal
from ehrsynth.metrics.temporal.content import most_common
from ehrsynth.metrics.temporal.next_visit import history, linear
from ehrsynth.metrics.temporal.outcomes import calibration
from ehrsynth.metrics.temporal.tasks import Flags, Scale
from ehrsynth.seeding import numpy_rng
from ehrsynth.visits import Visits

CARDS = Cards.beside(__file__)
Odds = NDArray[np.float64]
Parts = dict[tuple[str, str], Value | Undefined]
Found = dict[str, Value | Undefined]


@dataclass(frozen=True)
class _Asked:
    """A task with its rows of R and H, and the log odds of H that R teaches."""

    task: Task
    train: TaskRows
    test: TaskRows
    weights: Odds
    own: Odds


@dataclass(kw_only=True)
class ClinicalTasks(VisitEvaluator):
    """Whether risk models of clinical tasks that learned from synthetic patients hold for real ones, in every subgroup.

    Args:
        tasks: what is asked; see ``ehrsynth.evaluation.temporal.tasks``.
        codes: how many the history is told by, the most common of R.
        least: patients with, and without, an outcome in R and in H for its task to be asked.
        max_patients: of R, H and S each, drawn at random; fewer where they have more than 50,000 visits.
        min_rows: of H in a subgroup that is scored.
    """

    cards = tuple(CARDS.values())
    uses_holdout = True
    tasks: Sequence[Task]
    codes: int = 100
    least: int = 10
    max_patients: int = 10_000
    min_rows: int = MIN_ROWS

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Learn every task from R."""
        codes = most_common(real.train, real.width, self.codes)
        scale = Scale.of(real.train, len(real.schema.measurements))

        def sample(visits: Visits, name: str) -> TaskSample:
            drawn = chosen(visits, self.max_patients, seed, f"tasks/{name}", MOST_VISITS)
            drawn = np.arange(len(visits)) if drawn is None else drawn
            some = visits.of_patients(drawn)
            return TaskSample(some, drawn, history(some, real.schema, codes), real.schema, scale, (seed, name))

        asked, absent = self._asked(real, sample(real.train, "real"), sample(real.holdout, "test"))
        if not asked:
            reasons = (f"{name}: {why.reason}" for (_, name), why in absent.items() if isinstance(why, Undefined))
            raise NotApplicableError("; ".join(reasons) or "tasks is empty")

        def score(synthetic: Visits, seed: int) -> Found:
            if not len(synthetic):
                return self.undefined("no synthetic patient")
            drawn = sample(synthetic, "synthetic")
            learned = [drawn.rows(one.task) for one in asked]
            pairs = list(zip(asked, learned, strict=True))
            scores: Found = {}
            for arm, odds in (
                ("tstr", [linear(one.test.x, weights_of(rows))[:, 0] for one, rows in pairs]),
                ("trtr", [one.own for one in asked]),
                ("hybrid", [linear(one.test.x, weights_of(_mixed(one, rows, seed)))[:, 0] for one, rows in pairs]),
            ):
                for measure, found in self._tested(asked, odds, real.subgroups, absent).items():
                    scores[f"temporal/{arm}_task_{measure}"] = found
            scores["temporal/trts_task_auroc"] = _on_synthetic(pairs, absent)
            return scores

        return score

    def _asked(self, real: RealVisits, train: TaskSample, test: TaskSample) -> tuple[list[_Asked], Parts]:
        """Return the tasks that can be asked, and why others cannot."""
        asked: list[_Asked] = []
        absent: Parts = {}
        for given in self.tasks:
            try:
                for task in given.tasks(real):
                    known = {one.task.name for one in asked} | {name for _, name in absent}
                    expect(task.name not in known, "tasks", task.name, "each task once; called= gives another name")
                    rows, held_out = train.rows(task), test.rows(task)
                    if few := _too_few({"training": rows, "held-out": held_out}, self.least):
                        absent["task", task.name] = Undefined(f"fewer than {self.least} {few}")
                    else:
                        weights = weights_of(rows)
                        asked.append(_Asked(task, rows, held_out, weights, linear(held_out.x, weights)[:, 0]))
            except NotApplicableError as error:
                absent["task", given.name] = Undefined(str(error))
        return asked, absent

    def _tested(
        self, asked: Sequence[_Asked], odds: Sequence[Odds], subgroups: Mapping[str, Flags], absent: Parts
    ) -> Found:
        """Return the measures on H of log odds, one array a task, by name; AUROC with its subgroups."""
        pairs = [(one, predicted) for one, predicted in zip(asked, odds, strict=True)]
        areas = {one.task.name: Value(*normal(*auroc(one.test.y, predicted))) for one, predicted in pairs}
        precisions = {one.task.name: Value(*auprc(one.test.y, predicted)) for one, predicted in pairs}
        rates: Parts = {("base rate", one.task.name): Value(float(one.test.y.mean())) for one in asked}
        slopes = {
            one.task.name: Value(*calibration(one.test.y, expit(predicted)).slope)
            for one, predicted in pairs
            if np.ptp(predicted) > 0
        }
        return {
            "auroc": _over(areas, {**absent, **self._by_subgroup(pairs, subgroups)}),
            "auprc": _over(precisions, {**absent, **rates}),
            "calibration": _over(slopes, absent, lambda slope: distance(slope, 1.0)),
        }

    def _by_subgroup(self, pairs: Sequence[tuple[_Asked, Odds]], subgroups: Mapping[str, Flags]) -> Parts:
        """Return the AUROC of each subgroup in each task, and its mean over those in which it is large enough."""
        found: Parts = {}
        values: dict[str, list[Value]] = {}
        for one, predicted in pairs:
            test = one.test
            masks = {label: mask[test.patients] for label, mask in subgroups.items()} | test.age_bands()
            for label, mask in masks.items():
                known, with_it = values.setdefault(label, []), int(test.y[mask].sum())
                if mask.sum() >= self.min_rows and MIN_CLASS <= with_it <= mask.sum() - MIN_CLASS:
                    known.append(Value(*normal(*auroc(test.y[mask], predicted[mask]))))
                    found["subgroup of a task", f"{one.task.name}; {label}"] = known[-1]
        small = Undefined(
            f"too small: fewer than {self.min_rows} held-out patients, or than {MIN_CLASS} with or without an outcome"
        )
        means: Parts = {
            ("subgroup", label): Value(*_mean(list(map(_estimate, known)))) if known else small
            for label, known in values.items()
        }
        return {**means, **found}


def _too_few(sides: Mapping[str, TaskRows], least: int) -> str:
    """Return in words of whom there are fewer than ``least``; nothing if there are enough."""
    counts = {
        f"{who} patients {what}": int((rows.y == came).sum())
        for who, rows in sides.items()
        for what, came in (("with it", True), ("without it", False))
    }
    return ", ".join(words for words, count in counts.items() if count < least)


def _mixed(one: _Asked, synthetic: TaskRows, seed: int) -> TaskRows:
    """Return half as many rows as R has of R, and as many of S, or all if it has fewer."""
    half = max(len(one.train.y) // 2, 1)
    rng = numpy_rng(seed, "hybrid", one.task.name)
    sides = [rows.part(rng.permutation(len(rows.y))[:half]) for rows in (one.train, synthetic)]
    return sides[0].followed_by(sides[1])


def _on_synthetic(pairs: Sequence[tuple[_Asked, TaskRows]], absent: Parts) -> Value | Undefined:
    """Return the AUROC on S of what R teaches, over the tasks of which S has both answers."""
    values = {
        one.task.name: Value(*normal(*auroc(rows.y, linear(rows.x, one.weights)[:, 0])))
        for one, rows in pairs
        if rows.has_both(2)
    }
    lacking: Parts = {
        ("task", one.task.name): Undefined("fewer than two synthetic patients with it, or without it")
        for one, _ in pairs
        if one.task.name not in values
    }
    return _over(values, {**absent, **lacking})


def _over(
    values: Mapping[str, Value], more: Parts, told: Callable[[Estimate], Estimate] = lambda estimate: estimate
) -> Value | Undefined:
    """Return the mean over tasks of what is ``told`` of each value, which is a part as it is."""
    if not values:
        return Undefined("nothing can be learned from so few synthetic patients with, or without, the outcomes")
    parts: Parts = {("task", name): value for name, value in values.items()}
    return Value(*_mean([told(_estimate(value)) for value in values.values()]), {**parts, **more})


def _mean(values: Sequence[Estimate]) -> Estimate:
    return mover_mean(*zip(*values, strict=True))


def _estimate(value: Value) -> Estimate:
    return value.value, value.ci or (value.value, value.value)
