"""Which run suits a use case best: ranks on every metric, weighed by a profile, with an interval.

Follows Table 3 of the JMIR tutorial (2024) and the benchmark of Yan et al. (Nature Communications
2022): every data set is ranked on every metric, and its score is the sum of weight times rank.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, t

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.pairs import Pair, Repeats, compare_all
from ehrsynth.evaluation.pareto import Plane, default_axes, plane
from ehrsynth.evaluation.score_table import signed, worst_value
from ehrsynth.seeding import numpy_rng

DRAWS = 1000
MOST_WARNINGS = 12  # pairs that are named one by one


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


@dataclass(frozen=True)
class Ranking:
    """The outcome of ``rank_runs``.

    Attributes:
        profile: what was ranked for.
        table: one row per group, best first: ``position``, ``runs``, ``weighted_rank``, ``low`` and ``high``
            (95 % interval, NaN without one), ``basis`` (where it comes from), ``tied_with_next``, and ``pareto``
            (whether no other group beats it on both metrics of the plane; None without a plane).
        ranks: runs x metrics, 1 is best.
        groups: run -> group.
        weights: metric -> the weight used; they sum to one.
        missing: metrics of the profile that not all runs have, with their lost weights.
        failed: (run, metric) pairs that rank last because the score failed.
        pairs: every two groups compared, best first.
        plane: utility against privacy; None if not every run has both.
    """

    profile: Profile
    table: pd.DataFrame
    ranks: pd.DataFrame
    groups: dict[str, str]
    weights: dict[str, float]
    missing: dict[str, float]
    failed: list[tuple[str, str]]
    pairs: list[Pair]
    plane: Plane | None

    @property
    def warnings(self) -> list[str]:
        """One sentence for every pair of groups that cannot be told apart; of many pairs, one for every group."""
        apart: dict[str, list[str]] = {}
        for pair in self.pairs:
            if not pair.told_apart:
                apart.setdefault(pair.first, []).append(pair.second)
        if sum(map(len, apart.values())) > MOST_WARNINGS:
            return [f"{first} is not distinguishable from {', '.join(others)}" for first, others in apart.items()]
        return [
            f"{pair.first} and {pair.second} are not distinguishable: weighted ranks differ by {pair.difference:.2f}, "
            + ("and nothing says how much is chance" if pair.p is None else f"p = {pair.p:.2g} ({pair.test})")
            for pair in self.pairs
            if not pair.told_apart
        ]


def metric_ranks(values: pd.DataFrame, directions: Mapping[str, str]) -> pd.DataFrame:
    """Rank the rows on every column: 1 is best, ties share the mean rank, an infinitely bad value is last."""
    return pd.DataFrame(rankdata(signed(values, directions), axis=0), values.index, values.columns)


def weighted_rank(ranks: pd.DataFrame, weights: Mapping[str, float]) -> "pd.Series[float]":
    """Return the sum of weight x rank of every row; the weights are used as they are. Lower wins."""
    return (ranks[list(weights)] * pd.Series(weights, dtype=float)).sum(axis=1)


def rank_runs(
    values: pd.DataFrame,
    cards: Mapping[str, Card],
    profile: Profile,
    *,
    groups: Mapping[str, str] | None = None,
    seeds: Mapping[str, str] | None = None,
    errors: pd.DataFrame | None = None,
    axes: tuple[str, str] | None = None,
    seed: int = 0,
) -> Ranking:
    """Rank runs for a use case.

    The weights are renormalised over the metrics that every run has. A group of several runs (the same
    configuration under several seeds) gets the mean of its weighted ranks and a Student t interval; a
    single run, and a group whose runs agree exactly, gets the 2.5 and 97.5 percentiles of a bootstrap that draws
    every score from the normal distribution of its own interval. Every two groups are compared by ``pairs.compare``.

    Args:
        values: runs x metrics, as ``tabulate`` makes it.
        cards: metric -> what is known of it.
        profile: the weights.
        groups: run -> group; by default every run stands alone.
        seeds: run -> seed of its training; groups that ran the same seeds are compared seed by seed.
        errors: standard errors of ``values``, NaN where unknown.
        axes: metrics of the plane of utility against privacy; by default ``pareto.default_axes``.
        seed: of the bootstrap.

    Raises:
        OptionError: no metric of the profile is there in all runs.
    """
    weights, missing = _usable(values, profile)
    directions = {metric: card.direction for metric, card in cards.items()}
    everything, values = values, values[list(weights)]
    ranks = metric_ranks(values, directions)
    scores = weighted_rank(ranks, weights)
    groups = {str(run): str((groups or {}).get(str(run), run)) for run in values.index}
    known = [m for m in weights if errors is not None and m in errors and errors[m].notna().all()]
    drawn = _bootstrap(values, directions, weights, errors, seed) if errors is not None and known else None
    covered = f"bootstrap; {sum(weights[m] for m in known):.0%} of the weight has an interval" if known else "none"
    rows, repeats = {}, {}
    for group, members in pd.Series(groups).groupby(pd.Series(groups), sort=False).groups.items():
        own = np.asarray(scores[members], dtype=np.float64)
        draws = None if drawn is None else drawn[:, values.index.get_indexer(members)].mean(1)
        repeats[str(group)] = Repeats(own, [(seeds or {}).get(str(run)) for run in members], draws)
        low, high = np.nan, np.nan
        if varied := len(own) > 1 and float(np.ptp(own.round(9))) > 0:
            half = t.ppf(0.975, len(own) - 1) * own.std(ddof=1) / np.sqrt(len(own))
            low, high = max(own.mean() - half, 1.0), min(own.mean() + half, float(len(values)))
        elif draws is not None:
            low, high = np.quantile(draws, [0.025, 0.975])
        basis = f"{len(own)} seeds" if varied else covered
        rows[group] = {"runs": len(own), "weighted_rank": own.mean(), "low": low, "high": high, "basis": basis}
    table = pd.DataFrame.from_dict(rows, orient="index").sort_values("weighted_rank", kind="stable")
    table.insert(0, "position", table["weighted_rank"].round(9).rank(method="min").astype(int))
    pairs = compare_all({str(group): repeats[str(group)] for group in table.index})
    apart = {(pair.first, pair.second): pair.told_apart for pair in pairs}
    order = [str(group) for group in table.index]
    table["tied_with_next"] = [not apart[pair] for pair in pairwise(order)] + [False]
    shown = plane(everything, errors, cards, groups, axes or default_axes())
    table["pareto"] = [None if shown is None else shown.front[group] for group in order]
    infinite = np.argwhere(np.isinf(values.to_numpy()))
    failed = [(str(values.index[run]), str(values.columns[metric])) for run, metric in infinite]
    return Ranking(profile, table, ranks, groups, weights, missing, failed, pairs, shown)


def ranks_by_use(
    values: pd.DataFrame, cards: Mapping[str, Card], profiles: Iterable[Profile], groups: Mapping[str, str]
) -> pd.DataFrame:
    """Return the weighted rank of every group for each use case, groups x names of profiles.

    Args:
        values: runs x metrics.
        cards: metric -> what is known of it.
        groups: run -> group.
        profiles: the use cases; one of which no metric is there in all runs is left out.
    """
    directions = {metric: card.direction for metric, card in cards.items()}
    found = {}
    for profile in profiles:
        try:
            weights, _ = _usable(values, profile)
        except OptionError:
            continue
        scores = weighted_rank(metric_ranks(values[list(weights)], directions), weights)
        found[profile.name] = scores.groupby(pd.Series(groups)).mean()
    return pd.DataFrame(found)


def choose_checkpoint(rows: pd.DataFrame, directions: Mapping[str, str], profile: Profile) -> int:
    """Return the epoch whose checkpoint has the lowest weighted rank; see ``order_checkpoints``."""
    return order_checkpoints(rows, directions, profile)[0]


def order_checkpoints(rows: pd.DataFrame, directions: Mapping[str, str], profile: Profile) -> list[int]:
    """Return the epochs of a run's checkpoints, that of the lowest weighted rank among them first.

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
    values = values.fillna({metric: worst_value(directions[metric]) for metric in metrics})
    weights, _ = _usable(values, profile)
    scores = weighted_rank(metric_ranks(values[list(weights)], directions), weights).round(9)
    epochs: list[int] = values.index[scores.to_numpy().argsort(kind="stable")].tolist()
    return epochs


def _usable(values: pd.DataFrame, profile: Profile) -> tuple[dict[str, float], dict[str, float]]:
    """Split the weights into those all runs have a score for, renormalised, and the lost ones."""
    weights = {metric: weight for metric, weight in profile.weights.items() if weight > 0}
    kept = {
        m: w for m, w in weights.items() if m in values and values[m].notna().all() and not np.isinf(values[m]).all()
    }
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
    errors: pd.DataFrame,
    seed: int,
) -> NDArray[np.float64]:
    """Return weighted ranks [draws, runs] of scores drawn from their intervals."""
    spread = errors.reindex(index=values.index, columns=values.columns).fillna(0.0).to_numpy()
    noise = numpy_rng(seed, "rank", "bootstrap").standard_normal((DRAWS, *values.shape))
    drawn = rankdata(signed(values, directions).to_numpy() + spread * noise, axis=1)
    weighed: NDArray[np.float64] = drawn @ np.array([weights[metric] for metric in values.columns])
    return weighed
