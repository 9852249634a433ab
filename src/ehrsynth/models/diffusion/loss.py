"""EDM training loss: Karras et al. 2022, section 5."""

import torch
from torch import Tensor

from ehrsynth.models.diffusion.precondition import Network, denoise


def edm_loss(
    network: Network, x: Tensor, generator: torch.Generator, *, sigma_data: float, log_mean: float, log_std: float
) -> Tensor:
    """Return the weighted denoising error at one random noise level per row.

    ln sigma ~ N(log_mean, log_std^2), and the weight (sigma^2 + sigma_data^2) / (sigma sigma_data)^2
    is 1 / c_out^2, so that an untrained network has a loss near one at every level.

    Args:
        network: F of the preconditioning.
        x: clean rows [n, p].
        generator: draws the noise levels and the noise.
        sigma_data: standard deviation of the data.
        log_mean: of ln sigma.
        log_std: of ln sigma.

    Returns:
        A scalar, the mean over rows and columns.
    """
    return edm_errors(network, x, generator, sigma_data=sigma_data, log_mean=log_mean, log_std=log_std)[0].mean()


def edm_errors(
    network: Network, x: Tensor, generator: torch.Generator, *, sigma_data: float, log_mean: float, log_std: float
) -> tuple[Tensor, Tensor]:
    """Return the weighted squared errors [n, p] that ``edm_loss`` is the mean of, and the denoised rows [n, p].

    Rows [n, k, p] have a noise level for each of their k draws.
    """
    sigma = (log_mean + log_std * torch.randn(*x.shape[:-1], 1, generator=generator, device=x.device)).exp()
    noise = sigma * torch.randn(x.shape, generator=generator, device=x.device)
    weight = (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()
    denoised = denoise(network, x + noise, sigma, sigma_data)
    return weight * (denoised - x).square(), denoised
