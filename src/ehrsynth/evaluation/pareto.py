"""Utility against privacy: which groups of runs no other one beats on both."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Card, catalogue
from ehrsynth.evaluation.score_table import signed


@dataclass(frozen=True)
class Plane:
    """Runs in the plane of two metrics.

    Attributes:
        runs: runs x 2 metrics.
        errors: their standard errors, NaN where unknown.
        points: groups x 2 metrics, the mean over the runs of a group; an attack that does worse than chance
            counts as chance.
        directions: of the two metrics.
        front: group -> whether no other group is at least as good on both and better on one.
    """

    runs: pd.DataFrame
    errors: pd.DataFrame
    points: pd.DataFrame
    directions: Mapping[str, str]
    front: Mapping[str, bool]


def default_axes() -> tuple[str, str]:
    """Return what the plane shows by default: of utility and of privacy, what stands first on the model card."""
    headlines = sorted((card for card in catalogue().values() if card.headline), key=lambda card: card.headline)
    utility, privacy = (next(c.name for c in headlines if c.family == family) for family in ("utility", "privacy"))
    return utility, privacy


def undominated(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for each row of [n, k] (lower is better) whether no other row is as good everywhere and better once."""
    no_worse = (points[:, None] <= points[None]).all(2)
    better = (points[:, None] < points[None]).any(2)
    return np.asarray(~(no_worse & better).any(0))


def plane(
    values: pd.DataFrame,
    errors: pd.DataFrame | None,
    cards: Mapping[str, Card],
    groups: Mapping[str, str],
    axes: tuple[str, str],
) -> Plane | None:
    """Place the runs in the plane of two metrics; None unless every run has a value on both.

    Args:
        values: runs x metrics.
        errors: their standard errors, or None.
        cards: metric -> its direction, and what it is where nothing leaks.
        groups: run -> group.
        axes: the two metrics.
    """
    both = list(axes)
    if not set(both) <= set(values.columns) or not np.isfinite(values[both].to_numpy()).all():
        return None
    runs = values[both]
    points = runs.groupby(pd.Series(dict(groups)), sort=False).mean()
    for metric in both:
        if (null := cards[metric].null) is not None:
            points[metric] = points[metric].clip(lower=null)
    known = errors if errors is not None else pd.DataFrame(index=values.index)
    directions = {metric: cards[metric].direction for metric in both}
    front = undominated(signed(points, directions).to_numpy())
    return Plane(
        runs,
        known.reindex(columns=both),
        points,
        directions,
        dict(zip(map(str, points.index), map(bool, front), strict=True)),
    )
