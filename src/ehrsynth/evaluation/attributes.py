"""Privacy by attribute inference, with real patients outside the training rows as the control."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.evaluation.fidelity import BENCHMARK, JMIR
from ehrsynth.evaluation.subsets import attributes_known_to_anyone, capped
from ehrsynth.layout import Layout, Records
from ehrsynth.metrics.attributes import Hidden, Tally, bootstrap_f1, entropies, infer, tally, weighted_f1
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points
from ehrsynth.schema import Schema
from ehrsynth.seeding import numpy_rng

ATTACK = (
    "The attacker knows demographics, outcomes and the {known} of a patient, takes the nearest records of S (squared"
    " L2 over the encoded known columns, k = 1, all ties vote) and guesses the rest: F1 of each hidden 0/1 column, the"
    " share within 10 % of the true value of each continuous one, averaged with weights by entropy in R"
)
DEFAULT = ATTACK.format(known="most frequent codes, as many as leave half of the positives hidden,")
PAPER = f"{BENCHMARK}; {JMIR} (AIR)"
ON_TRAIN = Card(
    name="privacy/attribute_f1",
    direction="lower",
    low=0,
    high=1,
    definition=f"{DEFAULT}; on R. Interval: bootstrap over records.",
    reading="How well hidden codes of a training patient are guessed. Medicine itself makes codes predictable, so"
    " most of this is knowledge and no leak: read attribute_f1_excess. Continuous columns have the most entropy, so"
    " they weigh most.",
    paper=PAPER,
)
ON_HOLDOUT = Card(
    name="privacy/attribute_f1_holdout",
    direction="lower",
    low=0,
    high=1,
    definition=f"{DEFAULT}; on H. Interval: bootstrap over records.",
    reading="The same attack on patients the generator never saw: what S teaches about medicine in general.",
    paper=PAPER,
)
EXCESS = Card(
    name="privacy/attribute_f1_excess",
    direction="lower",
    low=-1,
    high=1,
    definition="attribute_f1 minus attribute_f1_holdout. Interval: bootstrap over the records of both.",
    reading="What a patient loses by having been in the training rows; an interval around 0 shows no loss to this"
    " attack. It is an average: single patients may stand out.",
    paper=f"{PAPER}, with the control of Giomi et al., PoPETs 2023 (anonymeter)",
)
KNOWN = Card(
    name="privacy/attribute_known_codes",
    direction="lower",
    low=0,
    high=np.inf,
    definition="Number of codes that the attacker of attribute_f1 knows.",
    reading="A description of the attack, the same for every synthetic table; no merit in either direction.",
    paper="-",
)
POSITIVES = Card(
    name="privacy/attribute_hidden_positives",
    direction="lower",
    low=0,
    high=np.inf,
    definition="Number of ones in the hidden 0/1 columns of the attacked training records.",
    reading="A description of the attack: with few of them there is nothing to infer and F1 means nothing.",
    paper="-",
)
PUBLISHED = Card(
    name="privacy/attribute_f1_published",
    direction="lower",
    low=0,
    high=1,
    definition=f"{ATTACK.format(known='256 most frequent codes')}; on R. Interval: bootstrap over records.",
    reading="The number of known codes that the papers use. With a few hundred codes in all, hardly a positive is"
    " left to infer and every table scores near 0. The papers weigh columns in the distance by their largest"
    " difference (L1).",
    paper=PAPER,
)


class AttributeInference(Evaluator):
    """Whether training patients can be completed from synthetic ones better than others can.

    Args:
        known: how many of the most frequent codes the attacker knows; None leaves half of the positives hidden.
        max_rows: of each of R and H to attack, drawn at random; None takes all. S is never thinned out.
    """

    cards: tuple[Card, ...] = (ON_TRAIN, ON_HOLDOUT, EXCESS, KNOWN, POSITIVES)
    uses_holdout = True

    def __init__(self, *, known: int | None = None, max_rows: int | None = None) -> None:
        self.known = known
        self.max_rows = max_rows

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Choose the known columns and cut R and H into known and hidden."""
        attack = _Attack(real, self.known)
        targets = [
            attack.cut(capped(table, self.max_rows, seed, name))
            for table, name in ((real.train, "attribute/train"), (real.holdout, "attribute/holdout"))
        ]

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            source = attack.cut(synthetic)
            (train, draws), (holdout, control) = (
                attack.score(target, source, numpy_rng(seed, "bootstrap", side)) for side, target in enumerate(targets)
            )
            return {
                ON_TRAIN.name: _value(train, draws),
                ON_HOLDOUT.name: _value(holdout, control),
                EXCESS.name: _value(train - holdout, draws - control),
                KNOWN.name: Value(float(attack.codes)),
                POSITIVES.name: Value(float(targets[0][1].bits.sum())),
            }

        return score


class PublishedAttributeInference(Evaluator):
    """The same attack on training patients, with as many known codes as in the papers.

    Args:
        known: number of known codes.
        max_rows: of R to attack, drawn at random; None takes all. S is never thinned out.
    """

    cards = (PUBLISHED,)

    def __init__(self, *, known: int = 256, max_rows: int | None = None) -> None:
        self.known = known
        self.max_rows = max_rows

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Cut R into known and hidden."""
        attack = _Attack(real, self.known)
        target = attack.cut(capped(real.train, self.max_rows, seed, "attribute/train"))

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            source = attack.cut(synthetic)
            return {PUBLISHED.name: _value(*attack.score(target, source, numpy_rng(seed, "bootstrap")))}

        return score


class _Attack:
    """What is known, what is hidden, and how much each hidden column weighs."""

    def __init__(self, real: RealData, known: int | None) -> None:
        layout = real.layout
        public = attributes_known_to_anyone(real.schema, layout)
        counts = real.train.bits.sum(0).numpy()
        codes = [i for i, field in enumerate(layout.fields) if field.kind == "bit" and i not in set(public)]
        codes.sort(key=lambda i: -counts[i])
        self.codes = half_of_positives(counts[codes]) if known is None else known
        if len(codes) <= self.codes:
            raise NotApplicableError(f"with {self.codes} known codes none of the {len(codes)} is left hidden")
        told = sorted({*public, *codes[: self.codes]})
        width = layout.binary.stop
        self.known = [[i for i in told if i < width], [i - width for i in told if i >= width]]
        hidden = sorted({*range(layout.width)} - {*told})
        self.hidden = [[i for i in hidden if i < width], [i - width for i in hidden if i >= width]]
        self.means = observed_means(real.train.values)
        self.low, self.scale = _raw_scale(real.schema, layout)
        weights = entropies(self.cut(real.train)[1])
        if not weights.sum():
            raise NotApplicableError("every hidden column is constant in the training rows")
        self.weights = weights / weights.sum()

    def cut(self, records: Records) -> tuple[Points, Hidden]:
        """Return the known and the hidden columns."""
        points = Points.of(records, self.means)
        raw = records.values.double().numpy() * self.scale + self.low
        bits, values = self.hidden
        hidden = Hidden(sparse.csr_array(records.bits[:, bits].numpy()).astype(np.float64), raw[:, values])
        return Points(points.bits[:, self.known[0]], points.values[:, self.known[1]]), hidden

    def score(
        self, target: tuple[Points, Hidden], source: tuple[Points, Hidden], rng: np.random.Generator
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the weighted F1 and its bootstrap draws."""
        counts: Tally = tally(infer(target[0], source[0], source[1]), target[1])
        value = weighted_f1(counts, self.weights, np.ones((1, len(target[0]))))[0]
        return float(value), bootstrap_f1(counts, self.weights, rng)


def half_of_positives(counts: Sequence[int] | NDArray[np.integer]) -> int:
    """Return the largest number of codes that leaves at least half of the positives hidden, at least 1.

    Args:
        counts: positives of each code, the most frequent first.
    """
    told = np.cumsum(counts)
    return max(int((2 * told <= told[-1]).sum()), 1) if len(told) else 0


def _raw_scale(schema: Schema, layout: Layout) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bounds = np.array([schema.by_name[field.column].bounds for field in layout.fields[layout.values]], dtype=float)
    low, high = bounds.reshape(-1, 2).T
    return low, high - low


def _value(value: float, draws: NDArray[np.float64]) -> Value:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Value(value, (float(low), float(high)))
