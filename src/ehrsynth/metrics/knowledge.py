"""Violations of common medical knowledge: codes of one sex in records of the other."""

import torch
from torch import Tensor

from ehrsynth.bits import Cells, ones

CHANCE = 5.0  # records expected in the other sex if sex did not matter; fewer, and zero may be luck


def one_sex_codes(codes: Cells, sex: Tensor, other: Tensor, top: int = 3) -> list[int]:
    """Return the most prevalent codes that R has in one sex and never in the other.

    Args:
        codes: uint8 [n, k] of R.
        sex: bool [n], whether a record is of the one sex.
        other: bool [n], whether it is of the other.
        top: at most so many codes.

    Returns:
        Positions of codes, the most prevalent first. A code counts only if at least 5 records of
        the other sex would have it were sex of no matter.
    """
    inside, outside = ones(codes[sex]), ones(codes[other])
    expected = inside.double() * other.sum() / (sex | other).sum()
    eligible = torch.where((outside == 0) & (expected >= CHANCE), inside, 0)
    order = eligible.argsort(descending=True, stable=True)[:top]
    return [int(code) for code in order if eligible[code] > 0]


def violations(codes: Tensor, sex: Tensor, other: Tensor) -> list[tuple[int, int]]:
    """Return per code how many of its records are of the other sex, and how many are of either.

    Args:
        codes: uint8 [n, k] of S, the codes of one sex only.
        sex: bool [n], whether a record is of the sex of the codes.
        other: bool [n], whether it is of the other.
    """
    wrong, right = codes[other].sum(0, dtype=torch.int64), codes[sex].sum(0, dtype=torch.int64)
    return list(zip(wrong.tolist(), (wrong + right).tolist(), strict=True))
