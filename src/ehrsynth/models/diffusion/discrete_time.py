"""Diffusion in T discrete steps: Gaussian for numbers, multinomial for categories.

Ho, Jain and Abbeel, Denoising Diffusion Probabilistic Models, NeurIPS 2020 (equations 4 to 14); the cosine schedule is
that of Nichol and Dhariwal, Improved DDPM, ICML 2021 (equation 17); Hoogeboom et al., Argmax Flows and Multinomial
Diffusion, NeurIPS 2021 (equations 11 to 15). Step 0 is the data, step T noise.
"""

import math

import torch
from torch import Tensor, nn

from ehrsynth.models.diffusion.categories import Categories

OFFSET = 0.008
LARGEST_BETA = 0.999


class CosineSchedule(nn.Module):
    """What is kept of a record: alpha_t = 1 - beta_t in step t, and alpha_bar_t, their product, after t steps.

    alpha_bar_t = f(t) / f(0), f(t) = cos^2((t / T + 0.008) / 1.008 pi / 2), with no beta above 0.999.

    Args:
        steps: T.
    """

    alpha: Tensor  # [T + 1]; that of step 0 is 1
    beta: Tensor
    alpha_bar: Tensor
    beta_bar: Tensor  # 1 - alpha_bar

    def __init__(self, steps: int) -> None:
        super().__init__()
        t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        f = ((t + OFFSET) / (1 + OFFSET) * math.pi / 2).cos().square()
        beta = torch.cat([f.new_zeros(1), (1 - f[1:] / f[:-1]).clamp(max=LARGEST_BETA)])
        alpha_bar = (1 - beta).cumprod(0)
        self.register_buffer("alpha", (1 - beta).float(), persistent=False)
        self.register_buffer("beta", beta.float(), persistent=False)
        self.register_buffer("alpha_bar", alpha_bar.float(), persistent=False)
        self.register_buffer("beta_bar", (1 - alpha_bar).float(), persistent=False)


class GaussianDiffusion:
    """q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I), and the noise in it predicted by a network."""

    def __init__(self, schedule: CosineSchedule) -> None:
        self.schedule = schedule

    def noised(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t [n, C] from x_0, the noise and the steps t [n, 1]."""
        return self.schedule.alpha_bar[t].sqrt() * x + self.schedule.beta_bar[t].sqrt() * noise

    def denoised(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return the x_0 that x_t [n, C] comes from if it holds this noise."""
        return (x - self.schedule.beta_bar[t].sqrt() * noise) / self.schedule.alpha_bar[t].sqrt()

    def posterior_mean(self, x: Tensor, start: Tensor, t: Tensor) -> Tensor:
        """Return the mean of q(x_{t-1} | x_t, x_0)."""
        s = self.schedule
        of_start = s.alpha_bar[t - 1].sqrt() * s.beta[t] / s.beta_bar[t]
        of_x = s.alpha[t].sqrt() * s.beta_bar[t - 1] / s.beta_bar[t]
        return of_start * start + of_x * x


class MultinomialDiffusion:
    """q(x_t | x_{t-1}) = Cat(alpha_t x_{t-1} + (1 - alpha_t) / K), in logarithms; states as ``Categories`` has them."""

    def __init__(self, schedule: CosineSchedule, categories: Categories) -> None:
        self.schedule, self.categories = schedule, categories

    def noised(self, log_start: Tensor, t: Tensor) -> Tensor:
        """Return log q(x_t | x_0) [n, s] for log x_0 and steps t [n, 1]."""
        return self._mixed(log_start, self.schedule.alpha_bar[t], self.schedule.beta_bar[t])

    def posterior(self, log_x: Tensor, log_start: Tensor, t: Tensor) -> Tensor:
        """Return log q(x_{t-1} | x_t, x_0) [n, s]; x_0 may be probabilities, as a network predicts them.

        It is [alpha_t x_t + (1 - alpha_t) / K] * [alpha_bar_{t-1} x_0 + (1 - alpha_bar_{t-1}) / K], normalised.
        """
        s = self.schedule
        step = self._mixed(log_x, s.alpha[t], s.beta[t])
        return self.categories.log_softmax(step + self._mixed(log_start, s.alpha_bar[t - 1], s.beta_bar[t - 1]))

    def divergence(self, log_x: Tensor, log_start: Tensor, log_estimate: Tensor, t: Tensor) -> Tensor:
        """Return KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) [n], summed over variables.

        At t = 1 the true posterior is x_0 itself, and this is -log p(x_0 | x_1).
        """
        q = self.posterior(log_x, log_start, t).exp()
        log_p = self.posterior(log_x, log_estimate, t)
        return (torch.xlogy(q, q) - q * log_p).sum(1)

    def _mixed(self, log_p: Tensor, kept: Tensor, lost: Tensor) -> Tensor:
        """Return log(kept p + lost / K)."""
        return torch.logaddexp(kept.log() + log_p, lost.log() + self.categories.log_uniform)
