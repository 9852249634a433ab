"""The worst case of each patient over all ways of generalising the quasi-identifiers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehrsynth.metrics.identity import Codes, People, Ranks, groups, learned


@dataclass(frozen=True)
class Frame:
    """People among whom an adversary looks for the patient.

    Attributes:
        known: their quasi-identifiers, as in ``People``.
        complete: whether every patient is among them, so that a group that lacks its own patients was
            counted too small.
    """

    known: Sequence[Sequence[Codes]]
    complete: bool = False


def worst_cases(
    nodes: NDArray[np.int64],
    target: People,
    source: People,
    numbers: Ranks,
    frames: Sequence[Frame],
    needed: Sequence[float],
) -> NDArray[np.float64]:
    """Return I R / size, the largest over the nodes, for each frame, each threshold and each patient.

    From fine to coarse: once a patient is disclosed in a small group, larger groups need not be looked at.

    Args:
        nodes: [nodes, k], from ``lattice``.
        target: [n] patients.
        source: [m] records of S.
        numbers: which numbers of S are near enough to those of the patients.
        frames: who is counted for the size of a group; a patient without a group in a frame gets 0.
        needed: thresholds, how many attributes make it something new.

    Returns:
        [frames, thresholds, n] in [0, 1].
    """
    n = len(target)
    most = np.bincount(target.rows, minlength=n) + (numbers.stop > numbers.first).sum(1)
    best = np.zeros((len(frames), len(needed), n))
    limits = np.asarray(needed)[:, None]
    for node in nodes[np.argsort(nodes.sum(1), kind="stable")]:
        (own, others, *keys), size = groups(node, [target.known, source.known, *(frame.known for frame in frames)])
        weights = np.zeros((len(frames), n))
        least = np.bincount(own, minlength=size)[own]
        for weight, frame, key in zip(weights, frames, keys, strict=True):
            count = np.bincount(key, minlength=size)[own]
            if frame.complete:
                count = np.maximum(count, least)
            np.divide(1, count, out=weight, where=count > 0)
        better = (weights[:, None] > best) & (most >= limits)
        active = better.any((0, 1))
        if active.any():
            told = learned(target, own, source, others, numbers, active)
            best = np.where(better & (told >= limits), weights[:, None], best)
    return best
