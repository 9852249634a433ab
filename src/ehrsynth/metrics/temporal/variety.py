"""How varied records are: how many are alike, and how many codes are ever used."""

from collections.abc import Hashable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ehrsynth.visits import Integers, Visits


def code_sets(visits: Visits) -> list[bytes]:
    """Return what each visit is coded with, as a key; equal sets have equal keys."""
    return [visits.codes[start:stop].tobytes() for start, stop in pairwise(visits.code_offsets.tolist())]


def records(visits: Visits) -> list[tuple[bytes, ...]]:
    """Return the code sets of each patient's visits, in their order, as a key."""
    sets = code_sets(visits)
    return [tuple(sets[start:stop]) for start, stop in pairwise(visits.offsets.tolist())]


def numbered(keys: Sequence[Hashable]) -> Integers:
    """Return a number for each key, equal where keys are."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)


def share_distinct(groups: list[Integers]) -> NDArray[np.float64]:
    """Return how many different numbers there are among all, as a share of them, then without each group, [1 + g].

    0 where there are none.
    """
    sizes = np.array([len(group) for group in groups])
    width = max((int(group.max()) + 1 for group in groups if len(group)), default=1)
    counts = np.stack([np.bincount(group, minlength=width) for group in groups])
    left = np.concatenate([counts.sum(0)[None], counts.sum(0) - counts])
    return np.asarray((left > 0).sum(1) / np.maximum(np.append(sizes.sum(), sizes.sum() - sizes), 1))
