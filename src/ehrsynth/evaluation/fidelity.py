"""Fidelity of columns and of pairs of columns."""

import math

import numpy as np

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.layout import Records
from ehrsynth.metrics import fidelity
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.moments import correlation, moments

JMIR = "Yan et al., JMIR AI 2024 (tutorial)"
BENCHMARK = "Yan et al., Nature Communications 2022"
EHRDIFF = "Yuan et al., TMLR 2024 (EHRDiff)"

APD = Card(
    name="fidelity/apd",
    direction="lower",
    low=0,
    high=1,
    definition="Absolute prevalence difference: mean over the binary columns B of |mean_S - mean_R|.",
    reading="Do codes occur as often as in real patients? Drawing every column on its own already makes this perfect,"
    " so it says nothing about which codes go together. Papers print it times 1000; this is the raw number.",
    paper=EHRDIFF,
)
NONZERO = Card(
    name="fidelity/nonzero_columns",
    direction="higher",
    low=0,
    high=1,
    definition="Share of the binary columns that are non-zero in R and also in S.",
    reading="How much of the vocabulary does the generator use at all? Rare codes are the first to go. Papers print the"
    " number of columns; this is the share. More synthetic rows make it higher: compare equal numbers of rows.",
    paper=EHRDIFF,
)
DISTANCE = Card(
    name="fidelity/dimension_wise_distance",
    direction="lower",
    low=0,
    high=math.inf,
    definition="Mean over all p encoded columns: |mean_S - mean_R| for a binary one, the Wasserstein distance of"
    " observed values for a continuous one, min-max scaled by R.",
    reading="The two column distances in one number. Unlike the published form it is not rescaled among the tables that"
    " happen to be compared, so the score of one table never depends on another. Blind to joint structure.",
    paper=JMIR,
)
WASSERSTEIN = Card(
    name="fidelity/wasserstein",
    direction="lower",
    low=0,
    high=math.inf,
    definition="Mean over the continuous columns C (min-max scaled by R) of the 1-d Wasserstein distance of observed"
    " values.",
    reading="How far, as a share of its range, a measurement must be moved on average to turn synthetic values into"
    " real ones. Missing cells do not count here: their indicators are binary columns.",
    paper=JMIR,
)
CORRELATION = Card(
    name="fidelity/correlation_distance",
    direction="lower",
    low=0,
    high=2,
    definition="Mean over pairs of encoded columns of |r_S - r_R| (Pearson; 0 for a constant column; missing values"
    " filled with R's mean).",
    reading="Do the columns go together as they do in real patients? Most pairs are uncorrelated, so differences look"
    " small: read it between the anchors. It sees pairs only.",
    paper=f"{EHRDIFF}, as its text defines CMD",
)
FROBENIUS = Card(
    name="fidelity/correlation_frobenius",
    direction="lower",
    low=0,
    high=math.inf,
    definition="||corr_R - corr_S||_F / p^2 * 10^6 over all p encoded columns, diagonal included (0 for a constant"
    " column).",
    reading="The same question as correlation_distance, in the form that the public code of the benchmark and the"
    " tutorial use, and that the CMD values of papers fit. Large errors of a few pairs weigh more.",
    paper=f"{BENCHMARK} (column-wise correlation, CMD)",
)


class Prevalence(Evaluator):
    """How often each code occurs."""

    cards = (APD, NONZERO)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the codes of R."""
        if not real.layout.binary.stop:
            raise NotApplicableError("the data have no binary column")
        expected = fidelity.prevalence(real.train.bits)

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            found = fidelity.prevalence(synthetic.bits)
            return {
                APD.name: Value(fidelity.absolute_prevalence_difference(expected, found)),
                NONZERO.name: Value(fidelity.nonzero_columns(expected, found)),
            }

        return score


class DimensionWiseDistance(Evaluator):
    """How far each column is from its real distribution, codes and measurements alike."""

    cards = (DISTANCE,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the codes of R."""
        expected = fidelity.prevalence(real.train.bits)

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            values = fidelity.wasserstein(real.train.values, synthetic.values)
            if np.isnan(values).any():
                return {DISTANCE.name: _unobserved(real, values)}
            codes = (expected - fidelity.prevalence(synthetic.bits)).abs()
            return {DISTANCE.name: Value((float(codes.sum()) + float(values.sum())) / real.layout.width)}

        return score


class Wasserstein(Evaluator):
    """How far each measurement is from its real distribution."""

    cards = (WASSERSTEIN,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Check that there is a continuous column."""
        if not real.train.values.shape[1]:
            raise NotApplicableError("the data have no continuous column")

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            values = fidelity.wasserstein(real.train.values, synthetic.values)
            undefined = np.isnan(values).any()
            return {WASSERSTEIN.name: _unobserved(real, values) if undefined else Value(float(values.mean()))}

        return score


class Correlation(Evaluator):
    """How columns go together in pairs."""

    cards = (CORRELATION, FROBENIUS)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Correlate the columns of R."""
        if real.layout.width < 2:
            raise NotApplicableError("the data have a single column, so no pair")
        means = observed_means(real.train.values)
        expected = correlation(*moments(real.train, means=means))

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            found = correlation(*moments(synthetic, means=means))
            return {
                CORRELATION.name: Value(fidelity.correlation_distance(expected, found)),
                FROBENIUS.name: Value(fidelity.correlation_frobenius(expected, found)),
            }

        return score


def _unobserved(real: RealData, values: np.ndarray) -> Undefined:
    names = real.layout.names[real.layout.values]
    return Undefined(f"column {names[int(np.flatnonzero(np.isnan(values))[0])]!r} has no observed value to compare")
