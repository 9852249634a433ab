"""Sums of which only the total can be read: pairwise masks that cancel, in whole numbers, so that they cancel exactly.

Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning, CCS 2017, section 4, without what
it does about sites that fall silent between agreeing on masks and sending: here those agree that have something to
send. It has the shape of a secure sum and not its secrecy: both ends run in one process, which can see everything, and
numpy's generators are not cryptographic.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from ehrsynth.errors import TrainingError

Words = NDArray[np.uint64]  # modulo 2**64
FRACTION = 46  # bits behind the point: numbers below 131,072 in steps of 1.4e-14
LIMIT = 2.0 ** (63 - FRACTION)


def fixed(values: NDArray[np.float64]) -> Words:
    """Return real numbers as whole ones, modulo 2**64.

    Raises:
        TrainingError: one is not finite, or too large.
    """
    if not (np.abs(values) < LIMIT).all():  # NaN is not, either
        raise TrainingError(f"weights to be averaged: numbers below {LIMIT:,.0f} were expected; some are not")
    return np.rint(values * 2.0**FRACTION).astype(np.int64).view(np.uint64)


def real(words: Words) -> NDArray[np.float64]:
    """Return what ``fixed`` made whole."""
    return words.view(np.int64) / 2.0**FRACTION


def pair_seeds(sites: int, generator: torch.Generator) -> dict[tuple[int, int], int]:
    """Draw what each pair of sites agrees on, and nobody else knows."""
    pairs = list(combinations(range(sites), 2))
    drawn = torch.randint(2**63 - 1, (len(pairs),), generator=generator).tolist()
    return dict(zip(pairs, drawn, strict=True))


def masked(words: Words, site: int, seeds: Mapping[tuple[int, int], int]) -> Words:
    """Return what a site sends: of each pair the first adds a mask and the second takes it away.

    Args:
        words: of the site.
        site: its number.
        seeds: of all pairs; it uses its own.
    """
    for pair, seed in seeds.items():
        if site in pair:
            mask = np.random.default_rng(seed).integers(0, 2**64, words.shape, dtype=np.uint64)
            words = words + mask if site == pair[0] else words - mask
    return words


def secure_sum(parts: Sequence[Words], generator: torch.Generator) -> Words:
    """Return the sum of what sites hold, of which the coordinator is sent nothing but masked words.

    Args:
        parts: of each site, equally long.
        generator: of the masks, which leave no trace in the sum.
    """
    seeds = pair_seeds(len(parts), generator)
    return reduce(np.add, [masked(words, site, seeds) for site, words in enumerate(parts)])
