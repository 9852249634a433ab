"""How many codes the records have."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.bits import Cells, unpack

BINS = 20
Floats = NDArray[np.float64]


def codes_per_record(bits: Cells, chosen: Tensor, block: int = 8192) -> Tensor:
    """Return how many of the chosen columns each record has, int64 [n]; ``chosen`` is float32 [B], 1 or 0."""
    parts = (unpack(bits[start : start + block]) for start in range(0, len(bits), block))
    return torch.cat([(part.float() @ chosen).long() for part in parts])


def abundance_edges(real: Tensor) -> Floats:
    """Return the edges [21] of equal bins of the range of codes per record [n] of R."""
    return np.linspace(int(real.min()), int(real.max()), BINS + 1)


def abundance(counts: Tensor, edges: Floats) -> NDArray[np.int64]:
    """Return how many records fall into each bin [bins]; those outside the range count in the end bins."""
    return np.histogram(np.clip(counts.numpy(), edges[0], edges[-1]), edges)[0]


def abundance_as_published(counts: Tensor, edges: Floats) -> NDArray[np.int64]:
    """Return how many records of S the public code counts in each bin [bins].

    It takes floor(codes / width of a bin) as the bin and forgets that the first bin begins at the
    smallest number in R, so it is right only where that is 0. Beyond the last bin counts as the last.
    """
    bins = len(edges) - 1
    place = np.minimum(counts.numpy() / (edges[1] - edges[0]), bins - 1).astype(np.int64)
    return np.bincount(place, minlength=bins)


def half_l1(real: NDArray[Any], synthetic: NDArray[Any]) -> Floats:
    """Return half the L1 distance, in [0, 1], of two histograms of counts, [bins] and [..., bins]."""
    shares = synthetic / synthetic.sum(-1, keepdims=True)
    return np.asarray(np.abs(shares - real / real.sum()).sum(-1) / 2)
