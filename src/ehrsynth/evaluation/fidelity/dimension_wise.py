"""Fidelity of columns and of pairs of columns."""

import math

import numpy as np

from ehrsynth.evaluation.card import BENCHMARK, EHRDIFF, JMIR, Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.groups import (
    grouped,
    of_several,
    positives,
    real_moments,
    replicated,
    replicated_parts,
    sizes,
    synthetic_moments,
)
from ehrsynth.layout import Records
from ehrsynth.metrics import fidelity
from ehrsynth.metrics.ecdf import Distances, ecdf_distances
from ehrsynth.metrics.moments import correlation

JACKKNIFE = " Interval: delete-a-group jackknife over 20 random groups of S (10 from 1,000 columns on), R held fixed."

APD = Card(
    name="fidelity/apd",
    direction="lower",
    low=0,
    high=1,
    definition="Absolute prevalence difference: mean over the binary columns B of |mean_S - mean_R|." + JACKKNIFE,
    reading="Do codes occur as often as in real patients? Drawing every column on its own already makes this almost"
    " perfect: on real patients shuffled columns beat every trained generator here, and held-out patients score worse"
    " than they. It says nothing about which codes go together. Papers print it times 1000; this is the raw number.",
    paper=EHRDIFF,
)
NONZERO = Card(
    name="fidelity/nonzero_columns",
    direction="higher",
    low=0,
    high=1,
    definition="Share of the binary columns that are non-zero in R and also in S." + JACKKNIFE,
    reading="How much of the vocabulary does the generator use at all? Rare codes are the first to go; one record is"
    " enough to count, so most generators that work reach 1 and only collapse shows. Papers print the number of"
    " columns; this is the share. More synthetic rows make it higher: compare equal numbers of rows.",
    paper=EHRDIFF,
)
DISTANCE = Card(
    name="fidelity/dimension_wise_distance",
    direction="lower",
    low=0,
    high=math.inf,
    definition="Mean over all p encoded columns: |mean_S - mean_R| for a binary one, the Wasserstein distance of"
    " observed values for a continuous one, min-max scaled by R." + JACKKNIFE,
    reading="The two column distances in one number. Unlike the published form it is not rescaled among the tables that"
    " happen to be compared, so the score of one table never depends on another. Blind to joint structure: shuffled"
    " columns are nearly perfect.",
    paper=JMIR,
)
WASSERSTEIN = Card(
    name="fidelity/wasserstein",
    direction="lower",
    low=0,
    high=math.inf,
    definition="Mean over the continuous columns C (min-max scaled by R) of the 1-d Wasserstein distance of observed"
    " values." + JACKKNIFE,
    reading="How far, as a share of its range, a measurement must be moved on average to turn synthetic values into"
    " real ones. Missing cells do not count here: their indicators are binary columns. A single extreme real value"
    " stretches the range and makes everything look close. Blind to joint structure.",
    paper=JMIR,
)
CORRELATION = Card(
    name="fidelity/correlation_distance",
    direction="lower",
    low=0,
    high=2,
    definition="Mean over pairs of encoded columns of |r_S - r_R| (Pearson; 0 for a constant column; missing values"
    " filled with R's mean)." + JACKKNIFE,
    reading="Do the columns go together as they do in real patients? Most pairs are unrelated and carry chance alone,"
    " so the useful range is tiny (on 50,063 real patients 3.67 to 4.19 thousandths from fresh patients to shuffled"
    " columns): read it between the anchors, and correlation_distance_relevant beside it. A value below fresh real"
    " means less noise than real patients have, not more truth. It sees pairs only.",
    paper=f"{EHRDIFF}, as its text defines CMD",
)
RELEVANT = Card(
    name="fidelity/correlation_distance_relevant",
    direction="lower",
    low=0,
    high=2,
    definition="Mean of |r_S - r_R| over the pairs of encoded columns that are related in R: |r_R| > 4 / sqrt(n_R), and"
    " for two binary columns at least 20 records of R with both, seen or expected of independent columns." + JACKKNIFE,
    reading="Are the relations that real patients clearly have kept? The plain distance averages over a great majority"
    " of pairs that have none, which hides the few that matter. It does not see relations that the generator invents:"
    " those count in the plain distance.",
    paper=f"{EHRDIFF} (CMD), restricted to pairs beyond chance",
)
RMSE = Card(
    name="fidelity/correlation_rmse",
    direction="lower",
    low=0,
    high=2,
    definition="Root mean square over pairs of encoded columns of r_S - r_R." + JACKKNIFE,
    reading="The same question as correlation_distance, with large errors of a few pairs weighing more. Rare codes make"
    " noisy correlations: read it between the anchors.",
    paper="Gretel's study of synthetic data quality (correlation difference)",
)
FROBENIUS = Card(
    name="fidelity/correlation_frobenius",
    direction="lower",
    low=0,
    high=math.inf,
    definition="||corr_R - corr_S||_F / p^2 * 10^6 over all p encoded columns, diagonal included (0 for a constant"
    " column)." + JACKKNIFE,
    reading="correlation_rmse in the form that the public code of the benchmark and the tutorial use, and that the CMD"
    " values of papers fit. It falls as p grows: compare only tables with the same columns. A column that S lost"
    " counts 1 on the diagonal, so codes that hardly any record has make the interval wide.",
    paper=f"{BENCHMARK} (column-wise correlation, CMD)",
)


class Prevalence(Evaluator):
    """How often each code occurs."""

    cards = (APD, NONZERO)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the codes of R."""
        if not real.layout.binary.stop:
            raise NotApplicableError("the data have no binary column")
        expected = fidelity.prevalence(real.train.bits).numpy()
        names = real.layout.names[real.layout.binary]

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            found = positives(real, synthetic) / sizes(real, synthetic)[:, None]
            parts = replicated_parts(APD, "column", names, np.abs(found - expected))
            return {
                APD.name: replicated(APD, fidelity.absolute_prevalence_difference(expected, found), parts),
                NONZERO.name: replicated(NONZERO, fidelity.nonzero_columns(expected, found)),
            }

        return of_several(self.cards, score)


class DimensionWiseDistance(Evaluator):
    """How far each column is from its real distribution, codes and measurements alike."""

    cards = (DISTANCE,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the codes of R."""
        expected = fidelity.prevalence(real.train.bits).numpy()

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            numbers = number_distances(real, synthetic)
            if isinstance(numbers, Undefined):
                return {DISTANCE.name: numbers}
            found = positives(real, synthetic) / sizes(real, synthetic)[:, None]
            total = np.abs(found - expected).sum(1) + sum(column.wasserstein for column in numbers)
            return {DISTANCE.name: replicated(DISTANCE, total / real.layout.width)}

        return of_several(self.cards, score)


class Wasserstein(Evaluator):
    """How far each measurement is from its real distribution."""

    cards = (WASSERSTEIN,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Check that there is a continuous column."""
        if not real.train.values.shape[1]:
            raise NotApplicableError("the data have no continuous column")

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            numbers = number_distances(real, synthetic)
            if isinstance(numbers, Undefined):
                return {WASSERSTEIN.name: numbers}
            found = np.stack([column.wasserstein for column in numbers], axis=1)
            parts = replicated_parts(WASSERSTEIN, "column", real.layout.names[real.layout.values], found)
            return {WASSERSTEIN.name: replicated(WASSERSTEIN, found.mean(1), parts)}

        return of_several(self.cards, score)


class Correlation(Evaluator):
    """How columns go together in pairs."""

    cards = (CORRELATION, RMSE, RELEVANT, FROBENIUS)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Correlate the columns of R and find the pairs that are related."""
        if real.layout.width < 2:
            raise NotApplicableError("the data have a single column, so no pair")
        known = real_moments(real)
        expected = correlation(*known.compute())
        pairs = fidelity.related(expected, known.gram[0], len(real.train), real.layout.binary.stop)

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            found = np.array(
                [
                    fidelity.correlation_differences(expected, correlation(*moments), pairs)
                    for moments in synthetic_moments(real, synthetic).replicates()
                ]
            )
            scores: dict[str, Value | Undefined] = {
                card.name: replicated(card, column) for card, column in zip(self.cards, found.T, strict=True)
            }
            if not pairs.any():
                scores[RELEVANT.name] = Undefined("no two columns of the training rows are related beyond chance")
            return scores

        return of_several(self.cards, score)


def number_distances(real: RealData, synthetic: Records) -> list[Distances] | Undefined:
    """Return the distances of every continuous column, or which of them has no observed value to compare."""

    def compute() -> list[Distances | None]:
        groups = [group.values.numpy() for group in grouped(real, synthetic)]
        known = real.train.values.numpy()
        return [ecdf_distances(known[:, i], [x[:, i] for x in groups]) for i in range(known.shape[1])]

    found = real.shared.once(synthetic, "distances of numbers", compute)
    names = real.layout.names[real.layout.values]
    lacking = [name for name, column in zip(names, found, strict=True) if column is None]
    if lacking:
        return Undefined(f"column {lacking[0]!r} has no observed value to compare")
    return [column for column in found if column is not None]
