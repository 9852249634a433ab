"""The three stand-ins for S that make a number readable."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from ehrsynth.bits import Bits
from ehrsynth.evaluation.score import ANCHORS, Score
from ehrsynth.evaluation.suite import FittedSuite, OnStep, Suite
from ehrsynth.layout import Records
from ehrsynth.seeding import torch_rng

Anchors = dict[str, dict[str, float | None]]


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


def anchor_scores(fitted: FittedSuite, seed: int, on_step: OnStep | None = None) -> Anchors:
    """Score the stand-ins: fresh real patients, the training rows, and independent columns.

    ``fresh_real`` is H; for evaluators that look at H themselves it is one half of H, against the other half, so these
    alone are fitted once more.

    Args:
        fitted: the questions, bound to the real side; H needs at least two rows.
        seed: of the halves, the permutations and the evaluators.
        on_step: told what is about to be computed.

    Returns:
        Anchor, metric, value; None where the metric has none.
    """
    real = fitted.real
    half, rest = halves(real.holdout, seed)
    guarded = Suite(evaluators=[evaluator for evaluator in fitted.suite.evaluators if evaluator.uses_holdout])
    on_rest = guarded.fit(replace(real, holdout=rest), seed, on_step)
    values: Anchors = {}
    for anchor in ANCHORS:
        told = _named(anchor, on_step)
        if anchor == "fresh_real":
            plain = [evaluator for evaluator in fitted.suite.evaluators if not evaluator.uses_holdout]
            scores = fitted.score(real.holdout, seed, told, only=plain) + on_rest.score(half, seed, told)
        else:
            table = real.train if anchor == "train_copy" else independent(real.train, seed)
            scores = fitted.score(table, seed, told)
        values[anchor] = {score.metric: score.value for score in scores}
    return values


def with_anchors(scores: Sequence[Score], anchors: Mapping[str, Mapping[str, float | None]]) -> list[Score]:
    """Return the scores with the value of each anchor beside them; an anchor without the metric is None."""
    return [
        replace(score, anchors={anchor: anchors.get(anchor, {}).get(score.metric) for anchor in ANCHORS})
        for score in scores
    ]


def _named(anchor: str, on_step: OnStep | None) -> OnStep | None:
    return (lambda step: on_step(f"{anchor}: {step}")) if on_step else None
