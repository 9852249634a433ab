"""EHRDiff, tuned: its diffusion and sampler around a network and a loss made for sparse bits. Ours.

Yuan, Zhou and Yu (TMLR 2024) add noise of level sigma to a row x0 and learn the mean of x0 given x = x0 + sigma noise.
The mean of a bit is the chance that it is one, and its log odds given x split into what its own noisy value says and
what the rest of the row does:

    log odds of x0_j = (x_j - 1/2) / sigma^2  +  F_j(x; sigma)

The first is Bayes' rule for a bit under Gaussian noise; x_k / sigma^2 is the same for the levels of a category. The
network only learns F, starts at the training prevalences, and is trained by the likelihood of x0 (``cross_entropy``),
under which rare codes are not shrunk to zero. The sampler stops at ``sigma_min``, where some bits are still chances, and
draws these. At all noise levels each column's log odds are shifted by a constant, as another prior would do; it is
found on the model's own samples, so that their mean is the training prevalence.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.kinds import bits_nll
from ehrsynth.layout import Layout, Records
from ehrsynth.models import options
from ehrsynth.models.calibration import correction, moved, shareable_prevalences
from ehrsynth.models.condition import Condition
from ehrsynth.models.diffusion.base import DiffusionModel, noise_levels
from ehrsynth.models.diffusion.guidance import guided
from ehrsynth.models.diffusion.precondition import Network, coefficients
from ehrsynth.models.diffusion.residual import ResidualDenoiser
from ehrsynth.models.diffusion.sampler import heun
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng

Loss = Literal["cross_entropy", "squared"]
Decoding = Literal["calibrated", "bernoulli"]

LEAST_DEVIATION = 0.01  # of a column; below it the scaling only magnifies noise
SELDOM = 1e-4  # the network starts at a prevalence of at least this
ROUNDS = 2  # of drawing records and moving the shift


class EHRDiffTuned(DiffusionModel):
    """Residual denoiser, likelihood of every column given the noisy row, calibrated draws.

    Columns are scaled to unit gap (bits) or unit deviation (values), so that a noise level means the same to all.

    Args:
        schema: columns to generate.
        seed: of weights, noise levels and noise.
        width: of stem and blocks.
        depth: number of residual blocks.
        context: width of the embedded noise level, an even number.
        dropout: within blocks.
        loss: ``cross_entropy``, or ``squared`` as published, with a standard deviation of its own for each column.
        log_sigma_mean: of ln sigma during training.
        log_sigma_std: of ln sigma during training.
        learning_rate: of AdamW after warm-up.
        warmup_steps: batches until then; a cosine to zero over the rest of the budget follows.
        ema_decay: of the averaged weights.
        steps: N of the sampler, 2 N - 1 network calls.
        sigma_max: noise level sampling starts from.
        sigma_min: noise level at which records are drawn.
        rho: spacing of the noise levels.
        decoding: draws of bits and levels ``calibrated`` to the training prevalence, or ``bernoulli``, as they are.
        condition: columns that the network is told, so that it can be asked for them.
        label_dropout: share of training rows whose labels it is not told.
        guidance: how much further than calibrated the samples follow their labels.

    Raises:
        OptionError: an option is not a value that can work.
    """

    mean: Tensor  # [p]
    deviation: Tensor  # [p]
    pools: Tensor  # [B]
    shift: Tensor  # [B]
    shifted_at: Tensor  # updates of the average when ``shift`` was found

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        width: int = 512,
        depth: int = 3,
        context: int = 128,
        dropout: float = 0.0,
        loss: Loss = "cross_entropy",
        log_sigma_mean: float = -1.2,
        log_sigma_std: float = 1.2,
        learning_rate: float = 1e-3,
        warmup_steps: int = 200,
        ema_decay: float = 0.999,
        steps: int = 12,
        sigma_max: float = 20.0,
        sigma_min: float = 0.2,
        rho: float = 7.0,
        decoding: Decoding = "calibrated",
        condition: Sequence[str] = (),
        label_dropout: float = 0.1,
        guidance: float = 0.0,
    ) -> None:
        super().__init__(
            schema=schema,
            seed=seed,
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
            condition=condition,
            label_dropout=label_dropout,
            guidance=guidance,
        )
        self.save_hyperparameters(ignore=["schema"])
        options.whole(1, width=width, depth=depth)
        options.even(2, context=context)
        options.share(dropout=dropout)
        options.number(log_sigma_mean=log_sigma_mean)
        options.positive(log_sigma_std=log_sigma_std)
        options.choice(get_args(Loss), loss=loss)
        options.choice(get_args(Decoding), decoding=decoding)
        self.log_sigma_mean, self.log_sigma_std = log_sigma_mean, log_sigma_std
        self.loss, self.decoding = loss, decoding
        self.sigmas = noise_levels(steps=steps, sigma_max=sigma_max, sigma_min=sigma_min, rho=rho)[:-1]
        binary = self.layout.binary.stop
        self.register_buffer("mean", torch.full((self.layout.width,), 0.5))
        self.register_buffer("deviation", torch.full((self.layout.width,), 0.5))
        self.register_buffer("pools", torch.zeros(binary, dtype=torch.int8))
        self.register_buffer("shift", torch.zeros(binary))
        self.register_buffer("shifted_at", torch.tensor(-1))
        with self.seeded_init():
            network = ResidualDenoiser(
                self.layout.width, width=width, depth=depth, context=context, labels=self.labels.width, dropout=dropout
            )
        self.follow(network)

    @override
    def observe(self, train: Records) -> None:
        """Take means and deviations of all columns, and start the network at the prevalences."""
        super().observe(train)
        binary, values = self.layout.binary, train.with_gaps().values
        shares, pools = shareable_prevalences(train)
        self.pools.copy_(pools)
        self.mean[binary] = shares
        self.mean[self.layout.values] = values.nanmean(0).nan_to_num(0.5)
        self.deviation[binary] = (shares * (1 - shares)).sqrt()
        spread = (values - self.mean[self.layout.values]).square().nanmean(0).sqrt()
        self.deviation[self.layout.values] = spread.nan_to_num(0.5)
        self.deviation.clamp_(min=LEAST_DEVIATION)
        if self.loss == "cross_entropy":
            for network in (self.network, self.average.module):
                network.head.bias.data[binary] = _start(self.layout, shares)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss of ``batch`` [n, p], a sum over columns, averaged over rows at one noise level each."""
        rng, x = self.step_rng(batch_idx), self._scaled(batch)
        sigma = (self.log_sigma_mean + self.log_sigma_std * torch.randn(len(x), 1, generator=rng, device=x.device)).exp()
        noisy = x + sigma * torch.randn(x.shape, generator=rng, device=x.device)
        labels = self.told(batch, rng)
        output = self._output(guided(self.network, labels, 0.0), noisy, sigma)
        estimate = self._estimate(output, noisy, sigma)
        loss = (self._observed(batch) * self._errors(output, estimate, x, sigma)).sum(1).mean()
        guess = self._unscaled(estimate).clamp(0, 1)
        broken = self.rules_penalty(self.labels.imposed_on(guess, self.labels.of(batch)))
        total = loss + broken
        self.log_losses(batch_idx, total=total)
        return total

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw hard records [n, p]: solve the flow down to ``sigma_min``, then draw what is left to chance."""
        self.calibrate()
        labels = self.labels.draw(n, generator, condition)
        return self.labels.imposed_on(self.layout.harden(self._solved(labels, generator), generator), labels)

    def calibrate(self) -> None:
        """Find the shift for the averaged weights as they are, on records drawn from a stream of its own."""
        updates = self.average.n_averaged
        if self.decoding != "calibrated" or self.shifted_at == updates:
            return
        self.average.eval()
        self.shift.zero_()
        rng, binary = torch_rng(self.seed, "calibrate", device=self.device), self.layout.binary
        with torch.no_grad():
            for _ in range(ROUNDS):
                drawn = self._solved(self.labels.draw(self.sample_batch, rng), rng)[:, binary]
                self.shift += correction(self.layout, drawn, self.mean[binary], self.pools)
        self.shifted_at.copy_(updates)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the shift of these weights beside them."""
        self.calibrate()
        super().on_save_checkpoint(checkpoint)

    def _solved(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return rows [n, p] at the last noise level: chances of bits and levels, and values drawn."""
        sigmas, binary, values = self.sigmas.to(self.device), self.layout.binary, self.layout.values
        network = guided(self.average, labels, self.guidance)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            rows = self._estimate(self._output(network, x, sigma), x, sigma)
            if self.decoding == "calibrated":
                rows[:, binary] = moved(self.layout, rows[:, binary], self.shift)
            return rows

        noise = torch.randn(len(labels), self.layout.width, generator=generator, device=self.device)
        x = heun(denoise, self._scaled(self.mean) + sigmas[0] * noise, sigmas)
        rows = denoise(x, sigmas[-1].view(1, 1))
        # What a value of unit deviation may still be, given x, has the variance sigma^2 / (sigma^2 + 1).
        rest = sigmas[-1] / (1 + sigmas[-1].square()).sqrt()
        rows[:, values] += rest * torch.randn(rows[:, values].shape, generator=generator, device=self.device)
        return self._unscaled(rows)

    def _output(self, network: Network, x: Tensor, sigma: Tensor) -> Tensor:
        """Return F(x; sigma), of rows centred and scaled to unit variance at every noise level."""
        scale = coefficients(sigma, self._spread)
        output: Tensor = network(scale.input * (x - self._scaled(self.mean)), scale.noise)
        return output

    def _estimate(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """Return D(x; sigma), the mean of clean rows given noisy ones: chances of what is binary."""
        centre, scale = self._scaled(self.mean), coefficients(sigma, self._spread)
        linear = centre + scale.skip * (x - centre) + scale.out * output
        if self.loss == "squared":
            return linear
        odds = self._odds(output, x, sigma)
        parts = [odds[:, self.layout.bits].sigmoid()]
        parts += [odds[:, group].softmax(1) for group in self.layout.groups.values()]
        return torch.cat([*parts, linear[:, self.layout.values]], dim=1)

    def _odds(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """Return log odds [n, B] given noisy rows: the network's, and what each bit's own noisy value says."""
        binary = self.layout.binary
        return output[:, binary] + (x[:, binary] - 0.5) / sigma.square()

    def _errors(self, output: Tensor, estimate: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """Return [n, p], -log p of each clean column given the noisy row, or its weighted squared error."""
        squared = 0.5 * ((x - estimate) / coefficients(sigma, self._spread).out).square()
        if self.loss == "squared":
            return squared
        layout, odds = self.layout, self._odds(output, x, sigma)
        bits = bits_nll(x[:, layout.bits], odds[:, layout.bits])
        levels = [-x[:, group] * odds[:, group].log_softmax(1) for group in layout.groups.values()]
        return torch.cat([bits, *levels, squared[:, layout.values]], dim=1)

    def _observed(self, batch: Tensor) -> Tensor:
        """Return one for what counts in the loss, zero for values under a set missing indicator."""
        observed = torch.ones_like(batch)
        for bit, value in self.layout.missing_bits():
            observed[:, self.layout.values.start + value] -= batch[:, bit]
        return observed

    @property
    def _unit(self) -> Tensor:
        """What noise levels are measured in, [p]: the gap of a bit, the deviation of a value."""
        return torch.cat([torch.ones_like(self.shift), self.deviation[self.layout.values]])

    @property
    def _spread(self) -> Tensor:
        """Standard deviations [p] of columns so measured."""
        return self.deviation / self._unit

    def _scaled(self, rows: Tensor) -> Tensor:
        return rows / self._unit

    def _unscaled(self, rows: Tensor) -> Tensor:
        return rows * self._unit


def _start(layout: Layout, shares: Tensor) -> Tensor:
    """Return log odds [B] of the prevalences, or their logarithms for the levels of a category."""
    start = shares.clamp(SELDOM, 1 - SELDOM).logit()
    for group in layout.groups.values():
        start[group] = shares[group].clamp_min(SELDOM).log()
    return start
