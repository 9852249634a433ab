"""Prior log odds of codes, moved until what a model draws has the training prevalences."""

import torch
from torch import Tensor

from ehrsynth.bits import ones
from ehrsynth.disclosure import LEAST
from ehrsynth.layout import Layout, Records

DOUBT = 10.0  # records that count for the model being right, so that chance does not move rare codes far
CERTAIN = 1e-6  # a chance this near to 0 or 1 is not moved


def shareable_prevalences(train: Records) -> tuple[Tensor, Tensor]:
    """Return the training prevalence [B] of each binary column, and the pool [B] it belongs to, zero for none.

    What fewer than ``LEAST`` rows have (pool 1), or lack (pool 2), is nothing that may travel with weights: all columns
    of a pool have the mean of their prevalences instead.
    """
    counts, n = ones(train.bits).to(torch.float64), len(train)
    pools = torch.zeros_like(counts, dtype=torch.int8)
    pools[counts > n - LEAST] = 2
    pools[counts < LEAST] = 1
    return _together(counts / n, pools).to(torch.float32), pools


def moved(layout: Layout, chances: Tensor, shift: Tensor) -> Tensor:
    """Return chances [n, B] of bits and levels after ``shift`` [B] of their log odds: other priors, by Bayes' rule."""
    chances = chances.clamp(CERTAIN, 1 - CERTAIN)
    parts = [(chances[:, layout.bits].logit() + shift[layout.bits]).sigmoid()]
    parts += [(chances[:, group].log() + shift[group]).softmax(1) for group in layout.groups.values()]
    return torch.cat(parts, dim=1)


def correction(layout: Layout, drawn: Tensor, shares: Tensor, pools: Tensor) -> Tensor:
    """Return what to add to the shift, if chances [m, B] of drawn records should on average be ``shares`` [B].

    Columns of a pool move as one, so that they keep what the model has learned of each.
    """
    m = len(drawn)
    found, wanted = m * _together(drawn.mean(0), pools), m * _together(shares, pools)
    more, less = beyond(found, wanted), beyond(m - found, m - wanted)
    less[layout.bits.stop :] = 0  # levels have weights, not odds
    return more - less


def beyond(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the log of how many times as many records are wanted as were found, doubted where these are few."""
    return ((wanted + DOUBT) / (found + DOUBT)).log()


def _together(shares: Tensor, pools: Tensor) -> Tensor:
    """Return shares with the mean of a pool in place of each in it."""
    for pool in (1, 2):
        if (members := pools == pool).any():
            shares = torch.where(members, shares[members].mean(), shares)
    return shares
