"""Do synthetic records lie where real ones lie, and everywhere where real ones lie? Balls around records.

All distances are compared with <=, and equal ones count as equal up to rounding: among sparse codes
many records repeat, and a ball may have radius 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.metrics.neighbours import Points, References

TIE = 1e-5  # float32 rounding of equal squared distances, absolute and relative
TILE = 2**24  # distances held at a time
GRID = np.arange(1, 101) / 100  # the levels alpha and beta over which the curves are integrated


class Balls(NamedTuple):
    """What the balls around the k-th nearest neighbours of two tables contain.

    Attributes:
        hits: int64 [m], how many real balls hold each synthetic record.
        covered: bool [n, g], whether each real ball holds a record of each group of synthetic ones.
        recalled: bool [n, g], whether each real record lies in a ball of each group.
    """

    hits: Tensor
    covered: Tensor
    recalled: Tensor


def kth_nearest(points: Points, k: int) -> Tensor:
    """Return the squared distance of each point to the k-th nearest other one, float32 [n].

    Args:
        points: [n], more than k.
        k: at least 1; a repeated record is another one, at distance 0.
    """
    references = References(points)
    found = []
    for rows, block in points.blocks(max(TILE // len(points), 1)):
        tile = references.squared_distances(block)
        own = torch.arange(len(block))
        tile[own, own + rows.start] = torch.inf
        found.append(tile.topk(k, dim=1, largest=False).values[:, -1].cpu())
    return torch.cat(found)


def balls(
    real: Points, real_radii: Tensor, synthetic: Points, synthetic_radii: Tensor, groups: Sequence[slice]
) -> Balls:
    """Return who lies in whose balls, in one pass over all pairs.

    Args:
        real: [n].
        real_radii: [n] squared.
        synthetic: [m].
        synthetic_radii: [m] squared.
        groups: g slices of the synthetic rows, all of them together.
    """
    references = References(synthetic)
    hits = torch.zeros(len(synthetic), dtype=torch.int64)
    covered, recalled = [], []
    for rows, block in real.blocks(max(TILE // len(synthetic), 1)):
        tile = references.squared_distances(block)
        inside = tile <= _reach(real_radii[rows, None], tile)
        hits += inside.sum(0).cpu()
        covered.append(_by_group(inside, groups))
        recalled.append(_by_group(tile <= _reach(synthetic_radii, tile), groups))
    return Balls(hits, torch.cat(covered), torch.cat(recalled))


def shares(held: Tensor) -> NDArray[np.float64]:
    """Return the share of rows that hold in some group, of all groups and without each, [1 + g]; bool [n, g]."""
    times = held.sum(1, keepdim=True)
    return np.append(float((times > 0).double().mean()), (times > held.long()).double().mean(0).numpy())


def innermost(real: Points, real_radii: Tensor, synthetic: Points, depths: Tensor) -> Tensor:
    """Return the smallest depth of the synthetic records in each real ball, float64 [n]; inf in an empty one.

    Args:
        real: [n].
        real_radii: [n] squared.
        synthetic: [m].
        depths: [m], how far each synthetic record lies from the centre of S.
    """
    references = References(synthetic)
    found = []
    for rows, block in real.blocks(max(TILE // len(synthetic), 1)):
        tile = references.squared_distances(block)
        inside = tile <= _reach(real_radii[rows, None], tile)
        found.append(torch.where(inside, depths.to(tile.device), torch.inf).amin(1).cpu())
    return torch.cat(found)


def within(depths: NDArray[np.floating], reference: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return how many ``depths`` [n] are at most each of 100 quantiles of ``reference`` [m], [100]."""
    radii = np.quantile(reference, GRID, method="inverted_cdf") * (1 + TIE)
    return np.asarray(np.searchsorted(np.sort(depths), radii, side="right"))


def integrated(shares: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 - 2 * mean over the levels of abs(share - level), in [0, 1] (Alaa et al. 2022, section 3.2).

    Args:
        shares: [..., 100], of what was asked for at each level.
        levels: [100], the share of the reference within each of its quantiles: 0.01 to 1, more where
            many records are equally deep.
    """
    return np.asarray(np.clip(1 - 2 * np.abs(shares - levels).mean(-1), 0.0, 1.0))


def _by_group(inside: Tensor, groups: Sequence[slice]) -> Tensor:
    return torch.stack([inside[:, group].any(1) for group in groups], dim=1).cpu()


def _reach(radii: Tensor, tile: Tensor) -> Tensor:
    """Return the radii on the tile's device, with what rounding may take from an equal distance."""
    return radii.to(tile.device) * (1 + TIE) + TIE
