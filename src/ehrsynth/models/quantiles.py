"""The law of a number as its quantile function: a place in [0, 1], drawn evenly, gives a value.

A law is [GRID, C], values at even places, or [2, KNOTS, C], places and values as ``law_of`` finds them.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.disclosure import LEAST
from ehrsynth.layout import Records
from ehrsynth.models.condition import Condition

GRID = 1_001  # quantiles kept of every value column, in steps of 0.1 %


def quantiles(train: Records) -> Tensor:
    """Return quantiles [GRID, C] of the observed values of every column; one without any becomes zero.

    They travel with checkpoints, so the nine most extreme values of a side are not among them: rows lie evenly from the
    tenth to the schema's bound.
    """
    values = train.with_gaps().values
    found = torch.zeros(GRID, values.shape[1])
    for i, column in enumerate(values.T.numpy()):
        observed = column[~np.isnan(column)]
        if len(observed):
            found[:, i] = torch.from_numpy(_quantiles(observed))
    return found


def values_at(places: Tensor, quantiles: Tensor) -> Tensor:
    """Return the values [n, C] at places [n, C] of 0 to 1, between two quantiles in a straight line."""
    if quantiles.ndim == 3:
        at, values = quantiles.transpose(1, 2).contiguous()
        wanted = places.T.contiguous()
        high = torch.searchsorted(at, wanted, right=True).clamp(1, at.shape[1] - 1)
        within = _within(wanted, at.gather(1, high - 1), at.gather(1, high))
        return torch.lerp(values.gather(1, high - 1), values.gather(1, high), within).T
    steps = places * (GRID - 1)
    below = steps.long().clamp(max=GRID - 2)
    return torch.lerp(quantiles.gather(0, below), quantiles.gather(0, below + 1), steps - below)


def places_of(values: Tensor, quantiles: Tensor, right: bool) -> Tensor:
    """Return how much of each column's law lies below values [n, C], or with ``right`` below or at them.

    The two differ only where many rows share a value.
    """
    at, grid = quantiles.transpose(1, 2).contiguous() if quantiles.ndim == 3 else (None, quantiles.T.contiguous())
    wanted = values.T.contiguous()
    above = torch.searchsorted(grid, wanted, right=right)
    high = above.clamp(1, grid.shape[1] - 1)
    within = _within(wanted, grid.gather(1, high - 1), grid.gather(1, high))
    if at is None:
        found = (high - 1 + within) / (GRID - 1)
    else:
        found = torch.lerp(at.gather(1, high - 1), at.gather(1, high), within)
    return torch.where(above == grid.shape[1], 1.0, found).T


def places_within(condition: Condition, quantiles: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places [1 or n, C] between which the values lie that a condition asks for; 0 and 1 if it asks none."""
    numbers = condition.layout.values
    given = condition.given[:, numbers]
    low = places_of(condition.low[:, numbers], quantiles, right=False).where(given, 0.0)
    return low, places_of(condition.high[:, numbers], quantiles, right=True).where(given, 1.0)


def _within(wanted: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return how far from ``start`` to ``end`` each number lies, from 0 to 1."""
    return ((wanted - start) / (end - start).clamp(min=torch.finfo(start.dtype).tiny)).clamp(0, 1)


def _quantiles(observed: NDArray[np.float32]) -> NDArray[np.floating]:
    """Return quantiles of scaled values, without those that fewer than ``LEAST`` rows reach."""
    places = np.linspace(0, 1, GRID)
    edge = min((LEAST - 1) / max(len(observed) - 1, 1), 0.5)
    found, (low, high) = np.quantile(observed, places), np.quantile(observed, (edge, 1 - edge))
    if observed.min() < low:
        found = np.where(places < edge, low * places / edge, found)
    if observed.max() > high:
        found = np.where(places > 1 - edge, 1 - (1 - high) * (1 - places) / edge, found)
    return found
