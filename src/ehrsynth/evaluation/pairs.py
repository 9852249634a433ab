"""Whether two groups of runs can be told apart: by their seeds if they have several, else by their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr
from scipy.stats import ttest_ind, ttest_ind_from_stats

ALPHA = 0.05
Array = NDArray[np.float64]

TESTS = {
    "paired t": "both groups ran the same seeds, so the weighted ranks are compared seed by seed (paired t test)",
    "Welch t": "the seeds differ, so the mean weighted ranks are compared with unequal variances (Welch t test)",
    "t against one run": "the one run is taken to vary with its seed as much as the repeated one (t test)",
    "bootstrap": "no repetition, or none that differs: by the 95% intervals of the scores; what another seed would"
    " change is not in it",
    "none": "neither several seeds nor intervals",
}
"""What each test rests on."""


@dataclass(frozen=True)
class Repeats:
    """The runs of one group.

    Attributes:
        scores: weighted rank of every run.
        seeds: of every run; None where unknown.
        draws: the mean weighted rank in every bootstrap draw, or None without intervals.
    """

    scores: Array
    seeds: Sequence[str | None]
    draws: Array | None = None


@dataclass(frozen=True)
class Pair:
    """Two groups compared.

    Attributes:
        first, second: the groups; the first has the lower (better) weighted rank.
        difference: of the mean weighted ranks, second minus first.
        p: two-sided, not corrected for the number of pairs; None without any test.
        test: one of ``TESTS``.
    """

    first: str
    second: str
    difference: float
    p: float | None
    test: str

    @property
    def told_apart(self) -> bool:
        """Whether the difference is more than chance at the 5 % level."""
        return self.p is not None and self.p < ALPHA


def compare_all(groups: Mapping[str, Repeats]) -> list[Pair]:
    """Compare every two groups, in the order given, best first."""
    return [
        Pair(one, other, float(b.scores.mean() - a.scores.mean()), *compare(a, b))
        for (one, a), (other, b) in combinations(groups.items(), 2)
    ]


def compare(a: Repeats, b: Repeats) -> tuple[float | None, str]:
    """Return the p value of equal weighted ranks and the name of the test.

    Ranks are coarse, so few repetitions often agree exactly; a t test would then call any difference
    certain, and the bootstrap is asked instead.
    """
    x, y = a.scores.round(9), b.scores.round(9)
    if len(x) > 1 and len(y) > 1:
        seeds, others = (list(map(str, group.seeds)) for group in (a, b))
        if None not in a.seeds and len(set(seeds)) == len(seeds) and sorted(seeds) == sorted(others):
            gaps = (x[np.argsort(seeds)] - y[np.argsort(others)]).round(9)
            if np.ptp(gaps) > 0:
                # By hand: scipy takes a millisecond to look at its arguments, and a hundred groups are 4,950 pairs.
                paired = gaps.mean() / (gaps.std(ddof=1) / np.sqrt(len(gaps)))
                return float(2 * stdtr(len(gaps) - 1, -abs(paired))), "paired t"
        elif np.ptp(x) > 0 or np.ptp(y) > 0:
            # From the moments, since scipy warns of a group that agrees exactly.
            (m, s), (n, t) = ((scores.mean(), scores.std(ddof=1)) for scores in (x, y))
            return float(ttest_ind_from_stats(m, s, len(x), n, t, len(y), equal_var=False).pvalue), "Welch t"
    elif len(x) != len(y) and (np.ptp(x) > 0 or np.ptp(y) > 0):
        return float(ttest_ind(x, y).pvalue), "t against one run"
    if a.draws is None or b.draws is None:
        return None, "none"
    # Adding one to both counts keeps a finite number of draws from claiming certainty.
    gaps = a.draws - b.draws
    below, above = ((gaps <= 0).sum() + 1, (gaps >= 0).sum() + 1)
    return min(2 * float(min(below, above)) / (len(gaps) + 1), 1.0), "bootstrap"
