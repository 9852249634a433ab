"""Fidelity of whole records: latent space, number of codes, predictability of codes."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.evaluation.fidelity import BENCHMARK, EHRDIFF
from ehrsynth.evaluation.subsets import capped, code_columns
from ehrsynth.layout import Records
from ehrsynth.metrics import prediction
from ehrsynth.metrics.fidelity import concept_abundance, prevalence
from ehrsynth.metrics.latent import latent_deviation
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points
from ehrsynth.seeding import derive

LATENT = Card(
    name="fidelity/latent_deviation",
    direction="lower",
    low=-math.inf,
    high=-2,
    definition="log2 of the mean over k clusters of (share of real - 0.5)^2; R and S pooled, continuous columns"
    " scaled by R, PCA to 80 % of variance, k-means with 10 seeded starts; an S with more rows than R is"
    " drawn down to as many, and with unequal sizes each side weighs one half.",
    reading="Do synthetic patients fall into the same groups as real ones? One step is a factor of two. It depends on"
    " k and on the number of rows: compare only with anchors of the same. Lost rare codes hardly move it, and"
    " copies of the training rows score best.",
    paper=f"{BENCHMARK} (latent cluster analysis, with log base 2 as in its code)",
    unit="bits",
)
ABUNDANCE = Card(
    name="fidelity/concept_abundance",
    direction="lower",
    low=0,
    high=1,
    definition="Half the sum over 20 equal bins of R's range of |share_R - share_S| of the codes-per-record"
    " histogram; records of S outside the range count in the end bins.",
    reading="Are synthetic patients as sick as real ones: some with one code, some with forty? Independent columns fail"
    " here. It counts codes and does not look at which.",
    paper=f"{BENCHMARK} (medical concept abundance, MCAD)",
)
PREDICTION = Card(
    name="fidelity/dimension_wise_prediction",
    direction="higher",
    low=-1,
    high=1,
    definition="Pearson r over the 30 most entropic codes between the F1 on H of logistic regressions trained on R"
    " and on S, each predicting one code from all other columns.",
    reading="Are the codes that are predictable in real data also predictable in synthetic data? High r says that the"
    " order is kept, not the level: read the gap beside it.",
    paper=f"{EHRDIFF} (dimension-wise prediction)",
)
GAP = Card(
    name="fidelity/dimension_wise_prediction_gap",
    direction="lower",
    low=-1,
    high=1,
    definition="Mean over the same codes of F1 trained on R minus F1 trained on S.",
    reading="How much of the predictability is lost. Around 0 nothing is lost on average; gains of some codes can hide"
    " losses of others.",
    paper=f"{EHRDIFF} (dimension-wise prediction)",
)


class LatentDeviation(Evaluator):
    """Whether synthetic records live where real records live.

    Args:
        k: number of clusters; the papers use 3, 4 or 5 and 20.
        max_rows: of each side, drawn at random; None takes all of R, and of S at most as many. The floor of
            the score falls by one bit for each doubling of both sides.
    """

    cards = (LATENT,)

    def __init__(self, *, k: int = 5, max_rows: int | None = None) -> None:
        self.k = k
        self.max_rows = max_rows

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Draw the real rows."""
        means = observed_means(real.train.values)
        train = capped(real.train, self.max_rows, seed, "latent/real")

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            drawn = capped(synthetic, len(train), seed, "latent/synthetic")  # as the anchors, which have no more
            starts = derive(seed, "k-means") % 2**32
            return {LATENT.name: Value(latent_deviation(train, drawn, means, self.k, starts))}

        return score


class ConceptAbundance(Evaluator):
    """Whether records have as many codes as real ones."""

    cards = (ABUNDANCE,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the codes of each record of R."""
        codes = code_columns(real.schema, real.layout)
        if not codes:
            raise NotApplicableError(
                "the schema has no code (a binary column of domain diagnosis, procedure, medication)"
            )
        expected = real.train.bits[:, codes].sum(1, dtype=torch.int64)
        if expected.min() == expected.max():
            raise NotApplicableError("every training record has the same number of codes")

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            found = synthetic.bits[:, codes].sum(1, dtype=torch.int64)
            return {ABUNDANCE.name: Value(concept_abundance(expected, found))}

        return score


class DimensionWisePrediction(Evaluator):
    """Whether codes can be predicted from the rest of the record as in real data.

    Args:
        codes: how many of the most entropic codes to predict.
        max_rows: to train on, drawn at random; None takes all.
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
        information = prediction.entropy(prevalence(real.train.bits[:, candidates]))
        codes = [candidates[int(i)] for i in information.argsort(descending=True, stable=True)[: self.codes]]
        means = observed_means(real.train.values)
        test = prediction.design_matrix(Points.of(real.holdout, means))

        def f1(records: Records, seed: int) -> NDArray[np.float64]:
            train = capped(records, self.max_rows, seed, "prediction")
            solver = derive(seed, "solver") % 2**32
            return prediction.code_f1(prediction.design_matrix(Points.of(train, means)), test, codes, solver)

        expected = f1(real.train, seed)

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            r, gap = prediction.agreement(expected, f1(synthetic, seed))
            return {PREDICTION.name: Value(r), GAP.name: Value(gap)}

        return score
