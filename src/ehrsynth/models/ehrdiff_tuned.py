"""EHRDiff, tuned: its diffusion and sampler around a network and a loss made for sparse bits. Ours.

Yuan, Zhou and Yu (TMLR 2024) add noise of level sigma to a row and learn the mean of the clean row given the noisy
one. The mean of a bit is the chance that it is one. So the network is trained by the likelihood of bits, under which
rare codes are not shrunk to zero as by a squared error (``diffusion/columns``), and the sampler stops at ``sigma_min``,
where some bits are still chances, and draws these. At all noise levels each column's log odds are moved by a
constant, as another prior would do; it is found on the model's own samples, so that their mean is the training
prevalence.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.layout import Records
from ehrsynth.models import options
from ehrsynth.models.calibration import correction, moved
from ehrsynth.models.condition import Condition
from ehrsynth.models.diffusion.base import DiffusionModel, GuidedModel, apart, noise_levels
from ehrsynth.models.diffusion.columns import Loss, NoisyColumns
from ehrsynth.models.diffusion.guidance import guided
from ehrsynth.models.diffusion.precondition import Network
from ehrsynth.models.diffusion.residual import ResidualDenoiser
from ehrsynth.models.diffusion.sampler import heun
from ehrsynth.models.noisy_looks import NoisyLooks, grid_of
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng

Decoding = Literal["calibrated", "bernoulli"]

ROUNDS = (1024, 4096)  # records drawn to move the shift, coarsely and then finely


class EHRDiffTuned(DiffusionModel, GuidedModel):
    """Residual denoiser, likelihood of every column given the noisy row, calibrated draws.

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
        label_dropout: share of training rows whose labels it is not told, as guidance needs.
        guidance: w in F + w (F - F without labels), F being the output of the network; 0 is calibrated.

    Raises:
        OptionError: an option is not a value that can work.
    """

    penalises_rules = True
    private = "gradients"
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
        super().__init__(schema=schema, seed=seed, condition=condition, label_dropout=label_dropout, guidance=guidance)
        self.save_hyperparameters(ignore=["schema"])
        options.whole(1, width=width, depth=depth)
        options.even(2, context=context)
        options.share(dropout=dropout)
        options.number(log_sigma_mean=log_sigma_mean)
        options.positive(log_sigma_std=log_sigma_std)
        options.choice(get_args(Loss), loss=loss)
        options.choice(get_args(Decoding), decoding=decoding)
        self.log_sigma_mean, self.log_sigma_std = log_sigma_mean, log_sigma_std
        self.decoding, self.dropout = decoding, dropout
        self.sigmas = noise_levels(steps=steps, sigma_max=sigma_max, sigma_min=sigma_min, rho=rho)[:-1]
        self.columns = NoisyColumns(self.layout, loss)
        self.register_buffer("shift", torch.zeros(self.layout.binary.stop))
        self.register_buffer("shifted_at", torch.tensor(-1))
        with self.seeded_init():
            network = ResidualDenoiser(
                self.layout.width, width=width, depth=depth, context=context, labels=self.labels.width, dropout=dropout
            )
        self.follow(network, learning_rate=learning_rate, warmup_steps=warmup_steps, ema_decay=ema_decay)

    @override
    def observe(self, train: Records) -> None:
        """Take means and deviations of all columns, and count labels."""
        super().observe(train)
        self.columns.observe(train)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss of ``batch`` [n, p], a sum over columns, averaged over rows at one noise level each."""
        rng = self.step_rng(batch_idx)
        network = guided(self.network, self.told(batch, rng), 0.0)
        with self.seeded_layers(batch_idx):
            errors, estimate = self._errors(network, batch, rng)
        denoised = (estimate * self.columns.unit).clamp(0, 1)
        total = errors.mean() + self.rules_penalty(self.labels.imposed_on(denoised, self.labels.of(batch)))
        self.log_losses(batch_idx, total=total)
        return total

    def _errors(self, network: Network, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the loss [n] of records [n, p], each at a noise level of its own, and what they are taken for."""
        columns, clean = self.columns, rows / self.columns.unit
        normal = torch.randn(len(rows), 1, generator=rng, device=rows.device)
        sigma = (self.log_sigma_mean + self.log_sigma_std * normal).exp()
        x = clean + sigma * torch.randn(rows.shape, generator=rng, device=rows.device)
        output = columns.output(network, x, sigma)
        estimate = columns.estimate(output, x, sigma)
        return (columns.observed(rows) * columns.errors(output, estimate, x, sigma, clean)).sum(1), estimate

    @override
    def prevents_privacy(self) -> str | None:
        if self.dropout:
            return "model.dropout draws from a stream that is not secret; 0 was expected"
        return super().prevents_privacy()

    @property
    @override
    def noisy_looks(self) -> int:
        return 1 + any(column.numeric for column in self.schema.columns)

    @override
    def observe_noisily(self, noisy: NoisyLooks) -> None:
        means = noisy.means()
        laws = noisy.laws(self.schema) if self.noisy_looks > 1 else torch.zeros(2, 1, 0)
        self.columns.observe_noisily(means, grid_of(laws))

    @override
    def record_losses(self, batch: Tensor, generator: torch.Generator, draws: int) -> Tensor:
        rows = batch.repeat_interleave(draws, dim=0)
        network = apart(self.network, len(batch), draws)
        return self._errors(network, rows, generator)[0].view(-1, draws).mean(1)

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw hard records [n, p]: solve the flow down to ``sigma_min``, then draw what is left to chance."""
        self.calibrate()
        labels = self.labels.draw(n, generator, condition)
        rows = self._solved(labels, generator, self.guidance)
        return self.labels.imposed_on(self.layout.harden(rows, generator), labels)

    def calibrate(self) -> None:
        """Find the shift for the averaged weights as they are, on records drawn from a stream of its own."""
        updates = self.average.n_averaged
        if self.decoding != "calibrated" or self.shifted_at == updates:
            return
        self.average.eval()
        self.shift.zero_()
        rng, binary = torch_rng(self.seed, "calibrate", device=self.device), self.layout.binary
        with torch.no_grad():
            for records in ROUNDS:
                drawn = self._solved(self.labels.draw(records, rng), rng, guidance=0.0)[:, binary]
                self.shift += correction(self.layout, drawn, self.columns.mean[binary], self.columns.pools)
        self.shifted_at.copy_(updates)

    def on_train_end(self) -> None:
        """Find the shift, so that a model nobody has looked at is as one that was."""
        self.calibrate()

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the shift of these weights beside them."""
        self.calibrate()
        super().on_save_checkpoint(checkpoint)

    def _solved(self, labels: Tensor, generator: torch.Generator, guidance: float) -> Tensor:
        """Return rows [n, p] at the last noise level: chances of bits and levels, and values drawn."""
        sigmas, columns, layout = self.sigmas.to(self.device), self.columns, self.layout
        network = guided(self.average, labels, guidance)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            rows = columns.estimate(columns.output(network, x, sigma), x, sigma)
            if self.decoding == "calibrated":
                rows[:, layout.binary] = moved(layout, rows[:, layout.binary], self.shift)
            return rows

        noise = torch.randn(len(labels), layout.width, generator=generator, device=self.device)
        x = heun(denoise, columns.mean / columns.unit + sigmas[0] * noise, sigmas)
        rows = denoise(x, sigmas[-1].view(1, 1))
        # What a value of unit deviation may still be, given x, has the variance sigma^2 / (sigma^2 + 1).
        rest = sigmas[-1] / (1 + sigmas[-1].square()).sqrt()
        values = rows[:, layout.values]
        rows[:, layout.values] = values + rest * torch.randn(values.shape, generator=generator, device=self.device)
        return rows * columns.unit
