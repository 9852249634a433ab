"""EDM preconditioning: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

Network = Callable[[Tensor, Tensor], Tensor]
"""Maps scaled rows [n, p] and a noise condition [n, 1] or [1, 1] to [n, p]."""

LabelledNetwork = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The same, told labels [n, k] too; zeros are none."""


class Coefficients(NamedTuple):
    """The four scalings of table 1, of the shape of sigma, or [n, p] where columns have deviations of their own."""

    skip: Tensor
    out: Tensor
    input: Tensor
    noise: Tensor


def coefficients(sigma: Tensor, sigma_data: float | Tensor) -> Coefficients:
    """Return the scalings that keep a network's input and target at unit variance at every noise level.

    Args:
        sigma: noise levels, positive.
        sigma_data: standard deviation of the data, or [p] of each column.
    """
    variance = sigma.square() + sigma_data**2
    return Coefficients(
        skip=sigma_data**2 / variance,
        out=sigma * sigma_data * variance.rsqrt(),
        input=variance.rsqrt(),
        noise=sigma.log() / 4,
    )


def denoise(network: Network, x: Tensor, sigma: Tensor, sigma_data: float | Tensor) -> Tensor:
    """Return D(x; sigma) [n, p], the expected clean rows given noisy ones (equation 7).

    Args:
        network: F in the paper.
        x: noisy rows [n, p].
        sigma: their noise levels [n, 1], or [1, 1] for all rows.
        sigma_data: standard deviation of the data, or [p] of each column.
    """
    c = coefficients(sigma, sigma_data)
    return c.skip * x + c.out * network(c.input * x, c.noise)
