"""Fidelity of whole records: latent space, number of codes, predictability of codes."""

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.evaluation.card import BENCHMARK, EHRDIFF, Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.fidelity.dimension_wise import JACKKNIFE
from ehrsynth.evaluation.groups import grouped, of_several, real_moments, replicated, synthetic_moments
from ehrsynth.evaluation.subsets import capped, code_columns
from ehrsynth.layout import Records
from ehrsynth.metrics import fidelity, latent, prediction
from ehrsynth.metrics.intervals import t_mean
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.moments import moments, pooled
from ehrsynth.metrics.neighbours import Points
from ehrsynth.metrics.replicates import replicates
from ehrsynth.seeding import derive, numpy_rng

Clusters = int | Literal["elbow"]

DRAWS = 1000  # of the bootstrap of cluster counts
MOST_CLUSTERS = 10  # among which the elbow is looked for
ELBOW_ROWS = 10_000  # of R, drawn to find it


def _latent_cards(k: Clusters) -> tuple[Card, Card]:
    """Return the cards of the deviation in bits and as the papers' text reads; other k have other names."""
    clusters = "the elbow of R's own k-means curve from 2 to 9" if k == "elbow" else str(k)
    suffix = "" if k == 5 else f"_{k}" if k == "elbow" else f"_k{k}"
    bits = Card(
        name=f"fidelity/latent_deviation{suffix}",
        direction="lower",
        low=-math.inf,
        high=-2,
        definition="log2 of the mean over k clusters of (share of real - 0.5)^2; R and S pooled, continuous columns"
        f" scaled by R, PCA to 80 % of variance, k-means with 10 seeded starts, k = {clusters}; an S with more rows"
        " than R is drawn down to as many, and with unequal sizes each side weighs one half. Interval: bootstrap of the"
        f" records' clusters on both sides ({DRAWS:,} multinomial draws), clusters fixed, centred on the value.",
        reading="Do synthetic patients fall into the same groups as real ones? One step is a factor of two. It"
        " depends on k and on the number of rows: compare only with anchors of the same. At k = 5 a generator that"
        " had lost 28 % of the codes scored below fresh real patients (k = 20 ranked it worse); copies of the"
        " training rows score best. Near the floor differences are chance, and the interval"
        " does not know of other clusterings.",
        paper=f"{BENCHMARK} (latent cluster analysis, with log base 2 as in its code)",
        unit="bits",
    )
    nats = Card(
        name=f"fidelity/latent_deviation_ln{suffix}",
        direction="lower",
        low=-math.inf,
        high=-2 * math.log(2),
        definition=f"{bits.name} with the natural logarithm, as the text of the papers reads. Interval: the same.",
        reading="The same number times 0.693, for comparison with texts that say ln. The values that the papers print"
        " fit log2 only.",
        paper=f"{EHRDIFF}, as its text defines LD",
        unit="nats",
    )
    return bits, nats


ABUNDANCE = Card(
    name="fidelity/concept_abundance",
    direction="lower",
    low=0,
    high=1,
    definition="Half the sum over 20 equal bins of R's range of |share_R - share_S| of the codes-per-record"
    " histogram; records of S outside the range count in the end bins." + JACKKNIFE,
    reading="Are synthetic patients as sick as real ones: some with one code, some with forty? It counts codes and does"
    " not look at which. Few trained generators beat even shuffled columns here (0.17 on real patients, where fresh"
    " patients score 0.003), while a generator that draws the number of codes first is good without any other merit.",
    paper=f"{BENCHMARK} (medical concept abundance, MCAD)",
)
ABUNDANCE_PUBLISHED = Card(
    name="fidelity/concept_abundance_published",
    direction="lower",
    low=0,
    high=1,
    definition="concept_abundance with the bins of the public code: those of R are right, a record of S falls into bin"
    " floor(codes / bin width), the last bin takes what is beyond." + JACKKNIFE,
    reading="For comparison with published numbers. It forgets where the first bin begins and is right only where some"
    " real patient has no code; elsewhere even a copy of the training rows does not score 0.",
    paper=f"{BENCHMARK} (medical concept abundance, MCAD, as coded)",
)
PREDICTION = Card(
    name="fidelity/dimension_wise_prediction",
    direction="higher",
    low=-1,
    high=1,
    definition="Pearson r over the 30 most entropic codes between the F1 on H of logistic regressions trained on R"
    " and on S, each predicting one code from all other columns; rows drawn down to max_rows on both sides. Interval:"
    " Fisher's z over the codes. Parts: both F1 of each code.",
    reading="Are the codes that are predictable in real data also predictable in synthetic data? High r says that the"
    " order is kept, not the level: read the gap beside it. F1 grows with the number of rows. A few codes that are easy"
    " in any table lift r: shuffled columns still reach 0.7 on real patients. It sees frequent codes only.",
    paper=f"{EHRDIFF} (dimension-wise prediction)",
)
GAP = Card(
    name="fidelity/dimension_wise_prediction_gap",
    direction="lower",
    low=-1,
    high=1,
    definition="Mean over the same codes of F1 trained on R minus F1 trained on S. Interval: Student t over the codes.",
    reading="How much of the predictability is lost. Around 0 nothing is lost on average; gains of some codes can hide"
    " losses of others.",
    paper=f"{EHRDIFF} (dimension-wise prediction)",
)


class LatentDeviation(Evaluator):
    """Whether synthetic records live where real records live.

    Args:
        k: number of clusters; the papers use 3, 4 or 5 and 20, or ``elbow``. Other than 5 they are part of the name
            of the score.
        max_rows: of each side, drawn at random; None takes all of R, and of S at most as many. The floor of
            the score falls by one bit for each doubling of both sides.
    """

    def __init__(self, *, k: Clusters = 5, max_rows: int | None = None) -> None:
        self.k = k
        self.max_rows = max_rows
        self.cards = _latent_cards(k)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Draw the real rows, and look for the elbow if asked to."""
        means = observed_means(real.train.values)
        train = capped(real.train, self.max_rows, seed, "latent/real")
        k = self._elbow(real, means, seed) if self.k == "elbow" else self.k
        bits, nats = self.cards

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            drawn = capped(synthetic, len(train), seed, "latent/synthetic")  # as the anchors, which have no more
            if len(train) + len(drawn) < k:
                return {card.name: Undefined(f"fewer records than the {k} clusters") for card in self.cards}
            if train is real.train and drawn is synthetic:
                space = pooled(real_moments(real), synthetic_moments(real, synthetic))  # as known from the correlations
            else:
                space = moments(train, drawn, means=means)
            counts = latent.cluster_counts(train, drawn, space, means, k, derive(seed, "k-means") % 2**32)
            value = float(latent.deviation(counts))
            draws = latent.deviation(latent.resampled(counts, DRAWS, numpy_rng(seed, "clusters")))
            ends = np.quantile(draws, [0.025, 0.975]) - np.median(draws) + value  # resampling adds noise of its own
            low, high = float(ends[0]), min(float(ends[1]), bits.high)
            parts = {("clusters", "k"): Value(float(k))}
            return {
                bits.name: Value(value, (low, high), parts),
                nats.name: Value(value * math.log(2), (low * math.log(2), high * math.log(2)), parts),
            }

        return of_several(self.cards, score)

    def _elbow(self, real: RealData, means: Tensor, seed: int) -> int:
        rows = capped(real.train, ELBOW_ROWS, seed, "latent/elbow")
        if len(rows) <= MOST_CLUSTERS:
            raise NotApplicableError(f"{len(rows)} training rows; an elbow among {MOST_CLUSTERS} clusters needs more")
        return latent.elbow(rows, means, MOST_CLUSTERS, derive(seed, "elbow") % 2**32)


class ConceptAbundance(Evaluator):
    """Whether records have as many codes as real ones."""

    cards = (ABUNDANCE, ABUNDANCE_PUBLISHED)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the codes of each record of R."""
        codes = code_columns(real.schema, real.layout)
        if not codes:
            raise NotApplicableError(
                "the schema has no code (a binary column of domain diagnosis, procedure, medication)"
            )
        chosen = torch.zeros(real.layout.binary.stop)
        chosen[codes] = 1
        known = fidelity.codes_per_record(real.train.bits, chosen)
        if known.min() == known.max():
            raise NotApplicableError("every training record has the same number of codes")
        edges = fidelity.abundance_edges(known)
        expected = fidelity.abundance(known, edges)

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            counts = [fidelity.codes_per_record(group.bits, chosen) for group in grouped(real, synthetic)]
            forms = (ABUNDANCE, fidelity.abundance), (ABUNDANCE_PUBLISHED, fidelity.abundance_as_published)
            found = {card.name: replicates([binned(x, edges) for x in counts]) for card, binned in forms}
            return {card.name: replicated(card, fidelity.half_l1(expected, found[card.name])) for card, _ in forms}

        return of_several(self.cards, score)


class DimensionWisePrediction(Evaluator):
    """Whether codes can be predicted from the rest of the record as in real data.

    Args:
        codes: how many of the most entropic codes to predict.
        max_rows: to train on, drawn at random from R and from S; None takes all.
    """

    cards = (PREDICTION, GAP)
    uses_holdout = True

    def __init__(self, *, codes: int = 30, max_rows: int | None = 20_000) -> None:
        self.codes = codes
        self.max_rows = max_rows

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Train on R and test on H."""
        candidates = code_columns(real.schema, real.layout)
        if len(candidates) < 3:
            raise NotApplicableError(f"the schema has {len(candidates)} codes; a correlation needs at least 3")
        information = prediction.entropy(fidelity.prevalence(real.train.bits)[candidates])
        codes = [candidates[int(i)] for i in information.argsort(descending=True, stable=True)[: self.codes]]
        means = observed_means(real.train.values)
        test = prediction.design_matrix(Points.of(real.holdout, means))

        def f1(records: Records, seed: int) -> NDArray[np.float64]:
            train = capped(records, self.max_rows, seed, "prediction")
            solver = derive(seed, "solver") % 2**32
            return prediction.code_f1(prediction.design_matrix(Points.of(train, means)), test, codes, solver)

        key = {"work": "dimension-wise prediction", "codes": self.codes, "max_rows": self.max_rows, "seed": seed}
        expected = real.memory.recall(key, lambda: {"f1": f1(real.train, seed)})["f1"]
        names = [real.layout.names[code] for code in codes]

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            found = f1(synthetic, seed)
            parts = {
                (kind, name): Value(float(value))
                for kind, side in (("f1_real", expected), ("f1_synthetic", found))
                for name, value in zip(names, side, strict=True)
            }
            return {
                PREDICTION.name: Value(*prediction.agreement(expected, found), parts),
                GAP.name: Value(*t_mean(expected - found, GAP.low, GAP.high)),
            }

        return of_several(self.cards, score)
