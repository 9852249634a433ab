"""Deterministic sampling along the probability-flow equation: Karras et al. 2022, sections 3 and 4."""

from collections.abc import Callable

import torch
from torch import Tensor


def karras_schedule(steps: int, *, sigma_max: float, sigma_min: float, rho: float) -> Tensor:
    """Return noise levels [steps + 1] from ``sigma_max`` to ``sigma_min``, then 0 (equation 5).

    Args:
        steps: N, at least 2.
        sigma_max: first level.
        sigma_min: last level above zero.
        rho: how much finer the steps are at low noise; 1 is even spacing.
    """
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    levels = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    return torch.cat([levels, levels.new_zeros(1)]).to(torch.float32)


def heun(denoise: Callable[[Tensor, Tensor], Tensor], x: Tensor, sigmas: Tensor) -> Tensor:
    """Solve dx = (x - D(x; sigma)) / sigma dsigma by Heun's second-order method (algorithm 1).

    The last step, to zero noise, is an Euler step: N steps cost 2 N - 1 calls.

    Args:
        denoise: D, called with rows [n, p] and one noise level [1, 1].
        x: starting rows [n, p], normal with standard deviation ``sigmas[0]``.
        sigmas: noise levels [N + 1], falling, on the device of ``x``; the last may be zero. Which are, is asked once: a
            device that is asked in each step waits in each.

    Returns:
        Rows [n, p] at the last noise level.
    """
    noisy = (sigmas[1:] > 0).tolist()
    for sigma, following, more in zip(sigmas[:-1].view(-1, 1, 1), sigmas[1:].view(-1, 1, 1), noisy, strict=True):
        slope = (x - denoise(x, sigma)) / sigma
        ahead = x + (following - sigma) * slope
        if more:
            slope = 0.5 * (slope + (ahead - denoise(ahead, following)) / following)
            ahead = x + (following - sigma) * slope
        x = ahead
    return x
