"""Gaussians given that the result lies in a range, whose ends may be infinite."""

import math

import torch
from torch import Tensor
from torch.special import log_ndtr, ndtri


def log_chance(low: Tensor, high: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return the log of the chance of a range from ``low`` to ``high``, float64; of a single value the density.

    Far from the mean too: there it is the log that numbers can still hold.
    """
    start, end = _ends(low, high, mean, std)
    near, far, _ = _in_the_lower_tail(start, end)
    mass = log_ndtr(near) + (-torch.expm1(log_ndtr(far) - log_ndtr(near))).log()
    density = -0.5 * start.square() - std.double().log() - 0.5 * math.log(2 * math.pi)
    return torch.where(start == end, density, mass)


def draw_within(low: Tensor, high: Tensor, mean: Tensor, std: Tensor, places: Tensor) -> Tensor:
    """Return the values at ``places``, drawn evenly from [0, 1], in the distribution within the range."""
    near, far, mirrored = _in_the_lower_tail(*_ends(low, high, mean, std))
    below, up_to = (log_ndtr(end).exp() for end in (far, near))
    level = torch.lerp(below, up_to, places.double())
    # Where nothing is left of the tail, all of it lies at the end near the mean.
    drawn = torch.where(level < torch.finfo(level.dtype).tiny, near, ndtri(level))
    found = mean + std * torch.where(mirrored, -drawn, drawn)
    return torch.clamp(found.to(low.dtype), low, high)


def _ends(low: Tensor, high: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Return the range in standard deviations around the mean, float64."""
    start, end = ((value - mean).double() / std for value in (low, high))
    return start, end


def _in_the_lower_tail(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the nearer and the farther end of a range, below the mean, and whether it was mirrored for that."""
    mirrored = start + end > 0
    return torch.where(mirrored, -start, end), torch.where(mirrored, -end, start), mirrored
