"""Which run suits a use case best: ranks on every metric, weighed by a profile, with an interval.

Follows Table 3 of the JMIR tutorial (2024) and the benchmark of Yan et al. (Nature Communications
2022): every data set is ranked on every metric, and its score is the sum of weight times rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, t

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.score import Score
from ehrsynth.seeding import numpy_rng

NORMAL_95 = 1.959964  # half-width of a 95 % normal interval in standard errors
DRAWS = 1000


@dataclass(frozen=True)
class Profile:
    """What a use case cares about.

    Attributes:
        name: of the use case.
        description: one sentence for people.
        weights: metric name -> weight, at least zero; only their proportions matter.
        paper: where the weights come from.
    """

    name: str
    description: str
    weights: Mapping[str, float]
    paper: str

    def __post_init__(self) -> None:
        if not self.weights or min(self.weights.values()) < 0 or not sum(self.weights.values()) > 0:
            raise OptionError(f"profile {self.name!r}: weights {dict(self.weights)}; some must be > 0 and none below")


class ScoreTable(NamedTuple):
    """Scores of several runs side by side.

    Attributes:
        values: runs x metrics; NaN where a run has no such score, and infinitely bad where it failed.
        directions: metric -> ``lower`` or ``higher``.
        errors: standard errors, runs x metrics, from the 95 % intervals; NaN where there is none.
    """

    values: pd.DataFrame
    directions: dict[str, str]
    errors: pd.DataFrame


@dataclass(frozen=True)
class Ranking:
    """The outcome of ``rank_runs``.

    Attributes:
        profile: what was ranked for.
        table: one row per group, best first: ``position``, ``runs``, ``weighted_rank``, ``low`` and ``high``
            (95 % interval, NaN without one), ``basis`` (where it comes from) and ``tied_with_next``.
        ranks: runs x metrics, 1 is best.
        groups: run -> group.
        weights: metric -> the weight used; they sum to one.
        missing: metrics of the profile that not all runs have, with their lost weights.
        failed: (run, metric) pairs that rank last because the score failed.
    """

    profile: Profile
    table: pd.DataFrame
    ranks: pd.DataFrame
    groups: dict[str, str]
    weights: dict[str, float]
    missing: dict[str, float]
    failed: list[tuple[str, str]]


def tabulate(runs: Mapping[str, Sequence[Score]]) -> ScoreTable:
    """Lay the scores of several runs side by side; a failed score becomes infinitely bad, a skipped one NaN."""
    directions = {score.metric: score.direction for scores in runs.values() for score in scores}
    values: dict[str, dict[str, float]] = {}
    errors: dict[str, dict[str, float]] = {}
    for run, scores in runs.items():
        values[run] = {s.metric: v for s in scores if (v := _number(s)) is not None}
        errors[run] = {s.metric: (s.ci[1] - s.ci[0]) / 2 / NORMAL_95 for s in scores if s.ci}
    index, columns = list(runs), list(directions)
    return ScoreTable(
        pd.DataFrame.from_dict(values, orient="index").reindex(index=index, columns=columns).astype(float),
        directions,
        pd.DataFrame.from_dict(errors, orient="index").reindex(index=index, columns=columns).astype(float),
    )


def metric_ranks(values: pd.DataFrame, directions: Mapping[str, str]) -> pd.DataFrame:
    """Rank the rows on every column: 1 is best, ties share the mean rank, an infinitely bad value is last."""
    return pd.DataFrame(rankdata(_signed(values, directions), axis=0), values.index, values.columns)


def weighted_rank(ranks: pd.DataFrame, weights: Mapping[str, float]) -> "pd.Series[float]":
    """Return the sum of weight x rank of every row; the weights are used as they are. Lower wins."""
    return (ranks[list(weights)] * pd.Series(weights, dtype=float)).sum(axis=1)


def rank_runs(
    values: pd.DataFrame,
    directions: Mapping[str, str],
    profile: Profile,
    *,
    groups: Mapping[str, str] | None = None,
    errors: pd.DataFrame | None = None,
    seed: int = 0,
) -> Ranking:
    """Rank runs for a use case.

    The weights are renormalised over the metrics that every run has. A group of several runs (the same
    configuration under several seeds) gets the mean of its weighted ranks and a Student t interval; a
    single run gets the 2.5 and 97.5 percentiles of a bootstrap that draws every score from the normal
    distribution of its own interval. Two neighbours are told apart only if their intervals do not
    overlap, which errs on the side of calling them tied; without an interval nothing is told apart.

    Args:
        values: runs x metrics, as ``tabulate`` makes it.
        directions: metric -> ``lower`` or ``higher`` is better.
        profile: the weights.
        groups: run -> group; by default every run stands alone.
        errors: standard errors of ``values``, NaN where unknown.
        seed: of the bootstrap.

    Raises:
        OptionError: no metric of the profile is there in all runs.
    """
    weights, missing = _usable(values, profile)
    values = values[list(weights)]
    ranks = metric_ranks(values, directions)
    scores = weighted_rank(ranks, weights)
    drawn = _bootstrap(values, directions, weights, errors, seed)
    groups = {str(run): str((groups or {}).get(str(run), run)) for run in values.index}
    known = [m for m in weights if errors is not None and m in errors and errors[m].notna().all()]
    covered = f"bootstrap; {sum(weights[m] for m in known):.0%} of the weight has an interval" if known else "none"
    rows = {}
    for group, members in pd.Series(groups).groupby(pd.Series(groups), sort=False).groups.items():
        own = scores[members].to_numpy()
        low, high = np.nan, np.nan
        if len(own) > 1:
            half = t.ppf(0.975, len(own) - 1) * own.std(ddof=1) / np.sqrt(len(own))
            low, high = max(own.mean() - half, 1.0), min(own.mean() + half, float(len(values)))
        elif known:
            low, high = np.quantile(drawn[:, values.index.get_loc(members[0])], [0.025, 0.975])
        basis = f"{len(own)} seeds" if len(own) > 1 else covered
        rows[group] = {"runs": len(own), "weighted_rank": own.mean(), "low": low, "high": high, "basis": basis}
    table = pd.DataFrame.from_dict(rows, orient="index").sort_values("weighted_rank", kind="stable")
    table.insert(0, "position", table["weighted_rank"].round(9).rank(method="min").astype(int))
    # A missing interval compares as False, so it never tells two runs apart.
    table["tied_with_next"] = ~(table["high"] < table["low"].shift(-1))
    table.loc[table.index[-1], "tied_with_next"] = False
    failed = [(str(run), str(metric)) for run, metric in zip(*_where_infinite(values), strict=True)]
    return Ranking(profile, table, ranks, groups, weights, missing, failed)


def choose_checkpoint(rows: pd.DataFrame, directions: Mapping[str, str], profile: Profile) -> int:
    """Return the epoch whose checkpoint has the lowest weighted rank among those of its own run.

    A checkpoint without a score that others have failed there, and ranks last on it. Among equals the
    earliest wins: nothing measured was gained by training on, and longer training memorises more.

    Args:
        rows: one row per checkpoint, indexed by epoch; columns that are no metric of the profile are ignored.
        directions: metric -> ``lower`` or ``higher`` is better.
        profile: the weights.

    Raises:
        OptionError: no metric of the profile was measured.
    """
    metrics = [metric for metric in profile.weights if metric in rows and rows[metric].notna().any()]
    values = rows[metrics].astype(float).sort_index()
    values = values.fillna({metric: _worst(directions[metric]) for metric in metrics})
    weights, _ = _usable(values, profile)
    scores = weighted_rank(metric_ranks(values[list(weights)], directions), weights).round(9)
    epochs: list[int] = values.index.tolist()
    return epochs[int(scores.to_numpy().argmin())]


def _usable(values: pd.DataFrame, profile: Profile) -> tuple[dict[str, float], dict[str, float]]:
    """Split the weights into those all runs have a score for, renormalised, and the lost ones."""
    weights = {metric: weight for metric, weight in profile.weights.items() if weight > 0}
    kept = {m: w for m, w in weights.items() if m in values and values[m].notna().all() and not _all_failed(values[m])}
    if not kept:
        raise OptionError(
            f"profile={profile.name}: not one of its metrics was measured in every run;"
            f" it needs some of {', '.join(weights)}"
        )
    total = sum(kept.values())
    return {m: w / total for m, w in kept.items()}, {m: w for m, w in weights.items() if m not in kept}


def _bootstrap(
    values: pd.DataFrame,
    directions: Mapping[str, str],
    weights: Mapping[str, float],
    errors: pd.DataFrame | None,
    seed: int,
) -> NDArray[np.float64]:
    """Return weighted ranks [draws, runs] of scores drawn from their intervals."""
    spread = np.zeros(values.shape)
    if errors is not None:
        spread = errors.reindex(index=values.index, columns=values.columns).fillna(0.0).to_numpy()
    noise = numpy_rng(seed, "rank", "bootstrap").standard_normal((DRAWS, *values.shape))
    drawn = rankdata(_signed(values, directions) + spread * noise, axis=1)
    weighed: NDArray[np.float64] = drawn @ np.array([weights[metric] for metric in values.columns])
    return weighed


def _signed(values: pd.DataFrame, directions: Mapping[str, str]) -> NDArray[np.float64]:
    """Return the values with their sign turned where higher is better, so that lower always is."""
    return values.to_numpy(float) * [1.0 if directions[str(metric)] == "lower" else -1.0 for metric in values.columns]


def _number(score: Score) -> float | None:
    return _worst(score.direction) if score.status == "failed" else score.value


def _worst(direction: str) -> float:
    return np.inf if direction == "lower" else -np.inf


def _all_failed(values: "pd.Series[float]") -> bool:
    return bool(np.isinf(values).all())


def _where_infinite(values: pd.DataFrame) -> tuple[pd.Index, pd.Index]:
    run, metric = np.nonzero(np.isinf(values.to_numpy()))
    return values.index[run], values.columns[metric]
