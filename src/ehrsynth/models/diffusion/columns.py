"""Columns of every kind under Gaussian noise: what a noisy row says of the clean one, and how likely it makes it."""

from typing import Literal

import torch
from torch import Tensor, nn

from ehrsynth.kinds import bits_nll
from ehrsynth.layout import Layout, Records
from ehrsynth.models.calibration import shareable_prevalences
from ehrsynth.models.diffusion.precondition import Network, coefficients
from ehrsynth.models.heads import observed

Loss = Literal["cross_entropy", "squared"]

LEAST_DEVIATION = 0.01  # of a column; below it the scaling only magnifies noise
SELDOM = 1e-5  # as prevalence, where nobody has a code


class NoisyColumns(nn.Module):
    """The denoiser D(x; sigma) of rows x = x0 + sigma noise around a network F.

    Noise is measured in the gap of a bit and the deviation of a value, so that a level means the same to all columns.
    With ``cross_entropy`` the network gives, of a bit or level, the log odds that the rest of the row adds to what
    Bayes' rule makes of the column alone:

        log odds of x0_j = log odds of its prevalence + (x_j - 1/2) / sigma^2 + (1 + 1 / sigma) F_j(x; sigma)

    What a row tells grows as its noise falls, and a network's output does not: hence the factor. For the levels of a
    category the second term is x_j / sigma^2. Values, and with ``squared`` all columns, are preconditioned as in EDM,
    with a mean and a deviation for each column.

    Args:
        layout: of the rows.
        loss: of bits and levels.
    """

    mean: Tensor  # [p]
    deviation: Tensor  # [p]
    pools: Tensor  # [B]

    def __init__(self, layout: Layout, loss: Loss) -> None:
        super().__init__()
        self.layout, self.loss = layout, loss
        self.register_buffer("mean", torch.full((layout.width,), 0.5))
        self.register_buffer("deviation", torch.full((layout.width,), 0.5))
        self.register_buffer("pools", torch.zeros(layout.binary.stop, dtype=torch.int8))

    def observe(self, train: Records) -> None:
        """Take means and deviations of all columns; prevalences of rare ones together, see ``calibration``."""
        binary, place, values = self.layout.binary, self.layout.values, train.with_gaps().values
        self.mean[binary], pools = shareable_prevalences(train)
        self.pools.copy_(pools)
        self.mean[place] = values.nanmean(0).nan_to_num(0.5)
        deviation = (values - self.mean[place]).square().nanmean(0).sqrt().nan_to_num(0.5)
        self._take_deviations(deviation)

    def observe_noisily(self, means: Tensor, laws: Tensor) -> None:
        """Take noisy means [p] of all columns, and quantiles [k, C] of numbers by noisy laws."""
        self.mean.copy_(torch.cat([means[self.layout.binary], laws.mean(0)]))
        self._take_deviations(laws.std(0, correction=0))

    def _take_deviations(self, of_values: Tensor) -> None:
        shares = self.mean[self.layout.binary]
        self.deviation.copy_(torch.cat([(shares * (1 - shares)).sqrt(), of_values]).clamp(min=LEAST_DEVIATION))

    @property
    def unit(self) -> Tensor:
        """What noise is measured in, [p]."""
        return torch.cat([torch.ones_like(self.mean[self.layout.binary]), self.deviation[self.layout.values]])

    def output(self, network: Network, x: Tensor, sigma: Tensor) -> Tensor:
        """Return F [n, p] of noisy rows, centred and scaled to unit variance at every noise level."""
        scale = coefficients(sigma, self.deviation / self.unit)
        return network(scale.input * (x - self.mean / self.unit), scale.noise)

    def estimate(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """Return D [n, p], the mean of clean rows given noisy ones: chances of bits and levels."""
        centre, scale = self.mean / self.unit, coefficients(sigma, self.deviation / self.unit)
        linear = centre + scale.skip * (x - centre) + scale.out * output
        if self.loss == "squared":
            return linear
        odds = self._odds(output, x, sigma)
        parts = [odds[:, self.layout.bits].sigmoid()]
        parts += [odds[:, group].softmax(1) for group in self.layout.groups.values()]
        return torch.cat([*parts, linear[:, self.layout.values]], dim=1)

    def errors(self, output: Tensor, estimate: Tensor, x: Tensor, sigma: Tensor, clean: Tensor) -> Tensor:
        """Return [n, p], -log p of each clean column given the noisy row, up to constants, or EDM's squared error."""
        scale = coefficients(sigma, self.deviation / self.unit)
        squared = 0.5 * ((clean - estimate) / scale.out).square()
        if self.loss == "squared":
            return squared
        layout, odds = self.layout, self._odds(output, x, sigma)
        bits = bits_nll(clean[:, layout.bits], odds[:, layout.bits])
        levels = [-clean[:, group] * odds[:, group].log_softmax(1) for group in layout.groups.values()]
        return torch.cat([bits, *levels, squared[:, layout.values]], dim=1)

    def observed(self, rows: Tensor) -> Tensor:
        """Return [n, p], zero for values under a set missing indicator, which are filled in, and one for all else."""
        return torch.cat([torch.ones_like(rows[:, self.layout.binary]), observed(self.layout, rows)], dim=1)

    def _odds(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """Return log odds [n, B] of bits, and log weights of levels, given noisy rows."""
        binary, shares = self.layout.binary, self.mean
        prior = [shares[self.layout.bits].clamp(SELDOM, 1 - SELDOM).logit()]
        prior += [shares[group].clamp_min(SELDOM).log() for group in self.layout.groups.values()]
        return torch.cat(prior) + (1 + 1 / sigma) * output[:, binary] + (x[:, binary] - 0.5) / sigma.square()
