"""The stand-ins for S that make a number readable: three of rows, and one more of trajectories."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from ehrsynth.bits import Bits
from ehrsynth.evaluation.evaluator import RealVisits, Value
from ehrsynth.evaluation.score import ANCHORS, ORDER_SHUFFLED, Score
from ehrsynth.evaluation.suite import FittedSuite, OnStep, Suite
from ehrsynth.layout import Records
from ehrsynth.metrics.temporal import reshaped
from ehrsynth.seeding import numpy_rng, torch_rng
from ehrsynth.visits import Visits

Anchors = dict[str, dict[str, float | None]]

MOVES = "moves_with_order"
"""Beside the anchors of trajectories: 1 for a metric that the order of visits moves, 0 for one that it does not."""


def independent(records: Records, seed: int) -> Records:
    """Permute each column of ``records`` on its own: the same marginals and no joint structure.

    The indicators of one categorical column move together, and so do a value and its missing indicator.
    """
    layout = records.layout
    bits, values = Bits.empty(*records.bits.shape), records.values.clone()
    gaps = {value: bit for bit, value in layout.missing_bits()}
    blocks = [[i] for i in range(layout.bits.stop) if i not in gaps.values()]
    blocks += [list(range(group.start, group.stop)) for group in layout.groups.values()]
    generator = torch_rng(seed, "independent")
    for block in blocks:
        order = torch.randperm(len(records), generator=generator)
        for column in block:
            bits.put(column, records.bits[:, column][order])
    for value in range(values.shape[1]):
        order = torch.randperm(len(records), generator=generator)
        values[:, value] = values[order, value]
        if value in gaps:
            bits.put(gaps[value], records.bits[:, gaps[value]][order])
    return Records(layout, bits.by_rows(), values)


def halves(records: Records, seed: int) -> tuple[Records, Records]:
    """Split ``records`` at random into two of equal size (one more in the second if odd)."""
    order = torch.randperm(len(records), generator=torch_rng(seed, "halves"))
    middle = len(records) // 2
    return records[order[:middle]], records[order[middle:]]


def visit_halves(visits: Visits, seed: int) -> tuple[Visits, Visits]:
    """Split patients as ``halves`` splits rows."""
    order = numpy_rng(seed, "halves").permutation(len(visits))
    middle = len(visits) // 2
    return visits.of_patients(order[:middle]), visits.of_patients(order[middle:])


def anchor_scores(fitted: FittedSuite, on_step: OnStep | None = None) -> Anchors:
    """Score the stand-ins: fresh real patients, the training patients, and independent columns or visits.

    ``fresh_real`` is H; for evaluators that look at H themselves it is one half of H, against the other half, so these
    alone are fitted once more. Of trajectories ``independent`` draws every visit alone, and a fourth stand-in,
    ``order_shuffled``, is ``fresh_real`` with what visits hold permuted within each patient.

    Args:
        fitted: the questions, bound to the real side, whose seed is that of the halves and permutations too; H needs
            at least two rows.
        on_step: told what is about to be computed.

    Returns:
        Anchor, metric, value; None where the metric has none. Of trajectories also ``MOVES``: whether the values of
        fresh real and shuffled patients lie outside each other's interval; None where one of them has none.
    """
    real = fitted.real
    if isinstance(real, RealVisits):
        return _anchors_of_visits(fitted, real, on_step)
    half, rest = halves(real.holdout, real.seed)
    return _values(
        {
            "fresh_real": _fresh(fitted, _on_rest(fitted, rest, on_step), "fresh_real", real.holdout, half, on_step),
            "train_copy": fitted.score(real.train, _named("train_copy", on_step)),
            "independent": fitted.score(independent(real.train, real.seed), _named("independent", on_step)),
        }
    )


def _anchors_of_visits(fitted: FittedSuite, real: RealVisits, on_step: OnStep | None) -> Anchors:
    half, rest = visit_halves(real.holdout, real.seed)
    on_rest = _on_rest(fitted, rest, on_step)
    alone = reshaped.independent(real.train, numpy_rng(real.seed, "independent"))
    whole, part = (reshaped.shuffled(visits, numpy_rng(real.seed, ORDER_SHUFFLED)) for visits in (real.holdout, half))
    scores = {
        "fresh_real": _fresh(fitted, on_rest, "fresh_real", real.holdout, half, on_step),
        "train_copy": fitted.score(real.train, _named("train_copy", on_step)),
        "independent": fitted.score(alone, _named("independent", on_step)),
        ORDER_SHUFFLED: _fresh(fitted, on_rest, ORDER_SHUFFLED, whole, part, on_step),
    }
    pairs = zip(scores["fresh_real"], scores[ORDER_SHUFFLED], strict=True)
    return {**_values(scores), MOVES: {fresh.metric: _moves(fresh, shuffled) for fresh, shuffled in pairs}}


def with_anchors(scores: Sequence[Score], anchors: Mapping[str, Mapping[str, float | None]]) -> list[Score]:
    """Return the scores with the value of each anchor beside them; an anchor without the metric is None.

    Where it is known whether the order of visits moves a metric, its part ``order, moves with order`` is 1 or 0.
    """
    names = [*ANCHORS, *(name for name in anchors if name not in (*ANCHORS, MOVES))]
    found = []
    for score in scores:
        beside = {name: anchors.get(name, {}).get(score.metric) for name in names}
        moves = anchors.get(MOVES, {}).get(score.metric)
        note = {} if moves is None else {("order", "moves with order"): Value(moves)}
        found.append(replace(score, anchors=beside, parts={**score.parts, **note}))
    return found


def _values(scores: Mapping[str, Sequence[Score]]) -> Anchors:
    return {anchor: {score.metric: score.value for score in own} for anchor, own in scores.items()}


def _on_rest(fitted: FittedSuite, rest: Records | Visits, on_step: OnStep | None) -> FittedSuite:
    """Fit the evaluators that look at H to what is left of it."""
    asked = Suite(evaluators=[evaluator for evaluator in fitted.suite.evaluators if evaluator.uses_holdout])
    real = replace(fitted.real, holdout=rest)
    if isinstance(real, RealVisits):
        real = replace(real, subgroups={})  # those are of all of H, and anchors have no parts
    return asked.fit(real, fitted.real.seed, _named("fresh_real", on_step))


def _fresh(
    fitted: FittedSuite,
    on_rest: FittedSuite,
    name: str,
    whole: Records | Visits,
    half: Records | Visits,
    on_step: OnStep | None,
) -> list[Score]:
    plain = [evaluator for evaluator in fitted.suite.evaluators if not evaluator.uses_holdout]
    step = _named(name, on_step)
    return fitted.score(whole, step, only=plain) + on_rest.score(half, step)


def _moves(fresh: Score, shuffled: Score) -> float | None:
    """Return whether two values lie outside each other's interval, as 1 or 0."""
    if fresh.value is None or shuffled.value is None or fresh.ci is None or shuffled.ci is None:
        return None
    return float(
        not (fresh.ci[0] <= shuffled.value <= fresh.ci[1]) and not (shuffled.ci[0] <= fresh.value <= shuffled.ci[1])
    )


def _named(anchor: str, on_step: OnStep | None) -> OnStep | None:
    return (lambda step: on_step(f"{anchor}: {step}")) if on_step else None
