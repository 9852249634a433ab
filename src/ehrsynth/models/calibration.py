"""Shifts of log odds under which what a model draws has the training prevalences, whatever it learned."""

import torch
from torch import Tensor

from ehrsynth.bits import ones
from ehrsynth.disclosure import LEAST
from ehrsynth.layout import Layout, Records

ROUNDS = 60
FURTHEST = 5.0  # a shift that needs more is of a column that the model does not know at all
MIDDLE = 1e-7  # log odds are of chances at least this far from 0 and 1


def shareable_prevalences(train: Records) -> tuple[Tensor, Tensor]:
    """Return the training prevalence [B] of each binary column, and the pool [B] it belongs to, zero for none.

    What fewer than ``LEAST`` rows have (pool 1), or lack (pool 2), is nothing that may travel with weights: all columns
    of a pool have the mean of their prevalences instead.
    """
    counts, n = ones(train.bits).to(torch.float64), len(train)
    shares, pools = counts / n, torch.zeros_like(counts, dtype=torch.int8)
    pools[counts > n - LEAST] = 2
    pools[counts < LEAST] = 1
    return _together(shares, pools).to(torch.float32), pools


def calibrating_shift(layout: Layout, logits: Tensor, shares: Tensor, pools: Tensor) -> Tensor:
    """Return what to add to log odds [m, B] of drawn records so that their mean chances are ``shares`` [B].

    Each round moves a column by how far the log odds of its mean are from what they should be; the levels of a category
    move by logarithms, which is iterative proportional fitting. Columns of a pool move as one, so that they keep what
    the model has learned of each.
    """
    shift, levels = torch.zeros_like(shares), torch.zeros_like(shares, dtype=torch.bool)
    for group in layout.groups.values():
        levels[group] = True
    pools = pools.where(~levels, 0)
    wanted = _together(shares, pools)
    for _ in range(ROUNDS):
        means = _together(chances(layout, logits + shift).mean(0), pools)
        step = torch.where(levels, _log(wanted) - _log(means), _log_odds(wanted) - _log_odds(means))
        shift = (shift + step).clamp(-FURTHEST, FURTHEST)
    return shift


def chances(layout: Layout, logits: Tensor) -> Tensor:
    """Return probabilities [n, B] of bits and levels."""
    parts = [logits[:, layout.bits].sigmoid()]
    parts += [logits[:, group].softmax(1) for group in layout.groups.values()]
    return torch.cat(parts, dim=1)


def _together(shares: Tensor, pools: Tensor) -> Tensor:
    """Return shares with the mean of a pool in place of each in it."""
    for pool in (1, 2):
        if (members := pools == pool).any():
            shares = torch.where(members, shares[members].mean(), shares)
    return shares


def _log(shares: Tensor) -> Tensor:
    return shares.clamp_min(MIDDLE).log()


def _log_odds(shares: Tensor) -> Tensor:
    return shares.clamp(MIDDLE, 1 - MIDDLE).logit()
