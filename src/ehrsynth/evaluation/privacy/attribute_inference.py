"""Privacy by attribute inference, with real patients outside the training rows as the control."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ehrsynth.bits import as_sparse, chosen, ones
from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.evaluation.subsets import attributes_known_to_anyone, capped
from ehrsynth.kinds import span
from ehrsynth.layout import Records
from ehrsynth.metrics.attribute_inference import (
    Hidden,
    Tally,
    bootstrap_f1,
    entropies,
    infer,
    infer_as_published,
    tally,
    weighted_f1,
)
from ehrsynth.metrics.intervals import quantiles
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points
from ehrsynth.seeding import numpy_rng

CARDS = Cards.beside(__file__)
ON_TRAIN, ON_HOLDOUT, EXCESS, PUBLISHED = (
    CARDS[f"privacy/attribute_f1{end}"] for end in ("", "_holdout", "_excess", "_published")
)
KNOWN, POSITIVES = CARDS["privacy/attribute_known_codes"], CARDS["privacy/attribute_hidden_positives"]


@dataclass(kw_only=True)
class AttributeInference(Evaluator):
    """Whether training patients can be completed from synthetic ones better than others can.

    Args:
        known: how many of the most frequent codes the attacker knows; None leaves half of the positives hidden.
        max_rows: of each of R and H to attack, drawn at random; None takes all. S is never thinned out.
    """

    cards = (ON_TRAIN, ON_HOLDOUT, EXCESS, KNOWN, POSITIVES)
    uses_holdout = True
    known: int | None = None
    max_rows: int | None = None

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Choose the known columns and cut R and H into known and hidden."""
        attack = _Attack(real, self.known)
        targets = [
            attack.cut(capped(table, self.max_rows, seed, name))
            for table, name in ((real.train, "attribute/train"), (real.holdout, "attribute/holdout"))
        ]
        strength = [attack.strength(hidden) for _, hidden in targets]

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            source = attack.cut(synthetic)
            (train, draws), (holdout, control) = (
                attack.score(target, source, numpy_rng(seed, "bootstrap", side)) for side, target in enumerate(targets)
            )
            return {
                ON_TRAIN.name: Value(*quantiles(train, draws), strength[0]),
                ON_HOLDOUT.name: Value(*quantiles(holdout, control), strength[1]),
                EXCESS.name: Value(*quantiles(train - holdout, draws - control), strength[0]),
                KNOWN.name: Value(float(attack.codes)),
                POSITIVES.name: Value(float(targets[0][1].bits.sum())),
            }

        return score


@dataclass(kw_only=True)
class PublishedAttributeInference(Evaluator):
    """The attack of the papers on training patients, with their number of known codes and their distance.

    Args:
        known: number of known codes.
        max_rows: of R to attack, drawn at random; None takes all. S is never thinned out.
    """

    cards = (PUBLISHED,)
    known: int = 256
    max_rows: int | None = None

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Cut R into known and hidden."""
        attack = _PublishedAttack(real, self.known)
        target = attack.cut(capped(real.train, self.max_rows, seed, "attribute/train"))
        strength = attack.strength(target[1])

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            source = attack.cut(synthetic)
            value, draws = attack.score(target, source, numpy_rng(seed, "bootstrap"))
            return {PUBLISHED.name: Value(*quantiles(value, draws), strength)}

        return score


class _Attack:
    """What is known, what is hidden, and how much each hidden column weighs."""

    infer = staticmethod(infer)
    unit_bins = False  # how the entropy of a value is counted

    def __init__(self, real: RealData, known: int | None) -> None:
        layout = real.layout
        public = attributes_known_to_anyone(real.schema, layout)
        counts = ones(real.train.bits).numpy()
        codes = [i for i, field in enumerate(layout.fields) if field.kind == "bit" and i not in set(public)]
        if not codes:
            raise NotApplicableError("the data have no 0/1 column besides demographics and outcomes to be inferred")
        codes.sort(key=lambda i: -counts[i])
        self.codes = half_of_positives(counts[codes]) if known is None else known
        if len(codes) <= self.codes:
            raise NotApplicableError(f"with {self.codes} known codes none of the {len(codes)} is left hidden")
        known_columns = sorted({*public, *codes[: self.codes]})
        width = layout.binary.stop
        self.known = [[i for i in known_columns if i < width], [i - width for i in known_columns if i >= width]]
        hidden = sorted({*range(layout.width)} - {*known_columns})
        self.hidden = [[i for i in hidden if i < width], [i - width for i in hidden if i >= width]]
        self.means = observed_means(real.train.values)
        spans = [span(real.schema.by_name[field.column]) for field in layout.fields[layout.values]]
        self.low, self.scale = np.array(spans, dtype=float).reshape(-1, 2).T
        weights = entropies(self.cut(real.train)[1], self.unit_bins)
        if not weights.sum():
            raise NotApplicableError("every hidden column is constant in the training rows")
        self.weights = weights / weights.sum()

    def cut(self, records: Records) -> tuple[Points, Hidden]:
        """Return the known and the hidden columns."""
        points = Points.of(records, self.means)
        raw = records.values.double().numpy() * self.scale + self.low
        bits, values = self.hidden
        hidden = Hidden(as_sparse(records.bits, bits).astype(np.float64), raw[:, values])
        return Points(chosen(points.bits, self.known[0]), points.values[:, self.known[1]]), hidden

    def strength(self, hidden: Hidden) -> dict[tuple[str, str], Value]:
        """Return what the attacker knows, and what there is to guess, as parts of a score."""
        facts = {
            "known codes": self.codes,
            "records attacked": len(hidden.values),
            "hidden columns": len(self.weights),
            "hidden positives": float(hidden.bits.sum()),
        }
        return {("strength", name): Value(float(fact)) for name, fact in facts.items()}

    def score(
        self, target: tuple[Points, Hidden], source: tuple[Points, Hidden], rng: np.random.Generator
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the weighted F1 and its bootstrap draws."""
        counts: Tally = tally(self.infer(target[0], source[0], source[1]), target[1])
        value = weighted_f1(counts, self.weights, np.ones((1, len(target[0]))))[0]
        return float(value), bootstrap_f1(counts, self.weights, rng)


class _PublishedAttack(_Attack):
    """The same cut with known values in raw units (missing ones at R's mean) and the public code's entropies."""

    infer = staticmethod(infer_as_published)
    unit_bins = True

    def cut(self, records: Records) -> tuple[Points, Hidden]:
        points, hidden = super().cut(records)
        known = self.known[1]
        raw = points.values.double().numpy() * self.scale[known] + self.low[known]
        return Points(points.bits, torch.from_numpy(raw.astype(np.float32))), hidden


def half_of_positives(counts: Sequence[int] | NDArray[np.integer]) -> int:
    """Return the largest number of codes that leaves at least half of the positives hidden, at least 1.

    Args:
        counts: positives of each code, the most frequent first.
    """
    known = np.cumsum(counts)
    return max(int((2 * known <= known[-1]).sum()), 1) if len(known) else 0
