"""EHRDiff: EDM diffusion on the rows of the EHR matrix. Yuan, Zhou and Yu, TMLR 2024."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from ehrsynth.bits import ones
from ehrsynth.layout import Records
from ehrsynth.models import options
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.models.diffusion.base import DiffusionModel, GuidedModel, noise_levels
from ehrsynth.models.diffusion.embedding import RandomFourier, Sinusoid
from ehrsynth.models.diffusion.guidance import guided
from ehrsynth.models.diffusion.loss import edm_errors
from ehrsynth.models.diffusion.precondition import denoise
from ehrsynth.models.diffusion.sampler import heun
from ehrsynth.schema import Schema

Decoding = Literal["threshold", "bernoulli", "prevalence"]
Embedding = Literal["sinusoid", "fourier"]


class DenoisingMLP(nn.Module):
    """The paper's network: each layer adds its own projection of the noise level, then ReLU, then Linear.

    Followed from the code, since the paper gives only the widths: activation before every linear layer
    (the noisy input included), no normalisation, no residuals, an embedding as wide as the data, or random
    Fourier features (CinC). Labels, if there are any, are embedded and added to the embedded noise level.
    """

    def __init__(
        self, columns: int, widths: Sequence[int], time_width: int, *, fourier: int = 0, labels: int = 0
    ) -> None:
        super().__init__()
        sizes = [columns, *widths, columns]
        embedding = RandomFourier(fourier) if fourier else Sinusoid(columns, endpoint=True)
        embedded = fourier + 1 if fourier else columns
        self.time = nn.Sequential(
            embedding, nn.Linear(embedded, time_width), nn.SiLU(), nn.Linear(time_width, time_width)
        )
        self.shifts = nn.ModuleList(nn.Linear(time_width, size) for size in sizes[:-1])
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.labels = None
        if labels:
            self.labels = nn.Sequential(nn.Linear(labels, time_width), nn.SiLU(), nn.Linear(time_width, time_width))

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map rows [n, p], noise conditions [n, 1] or [1, 1], and labels [n, k] if it has any, to [n, p]."""
        time = self.time(noise)
        if self.labels is not None:
            time = time + self.labels(labels)
        for shift, layer in zip(self.shifts, self.layers, strict=True):
            x = layer((x + shift(time)).relu())
        return x


class EHRDiff(DiffusionModel, GuidedModel):
    """EDM preconditioning, loss and Heun sampler around an MLP, sampled from averaged weights.

    The paper treats codes as real numbers and rounds at the end; one-hot groups (largest level) and
    values (clipped) are our extension, through the same loss. Optimiser, schedule, averaging and
    ``sigma_data`` are in the paper's code only; the paper drops the loss weight by rewriting the loss
    in terms of F (equation 13), which is the same loss as the code's.

    Args:
        schema: columns to generate.
        seed: of weights, noise levels and noise.
        widths: hidden layers of the network.
        time_width: width of the embedded noise level.
        embedding: of the noise level: ``sinusoid``, or ``fourier``, random features, as for CinC.
        fourier_width: of the latter, an even number.
        sigma_data: standard deviation of the data assumed by the preconditioning.
        log_sigma_mean: of ln sigma during training.
        log_sigma_std: of ln sigma during training.
        learning_rate: of AdamW after warm-up.
        warmup_steps: batches until then; a cosine to zero over the rest of the budget follows.
        ema_decay: of the averaged weights, less at first: (1 + n) / (10 + n) in step n.
        steps: N of the sampler, 2 N - 1 network calls.
        sigma_max: noise level sampling starts from.
        sigma_min: last noise level above zero.
        rho: spacing of the noise levels.
        decoding: ``threshold`` at one half, as published, or ``bernoulli`` draws from the clipped result,
            or ``prevalence``: as many of a column's largest scores as its training prevalence asks for, among
            ``sample_batch`` records or more. Rounding at one half makes most codes too rare, since a squared
            error shrinks what is uncertain towards zero; this one keeps their order and mends the number.
        condition: columns that the network is told, so that it can be asked for them.
        label_dropout: share of training rows whose labels it is not told, as guidance needs.
        guidance: w in F + w (F - F without labels), F being the output of the network; 0 is calibrated.

    Raises:
        OptionError: an option is not a value that can work.
    """

    penalises_rules = True
    private = "gradients"
    averageable = True
    precisions = (*SyntheticModel.precisions, "64-true")
    prevalence: Tensor

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        widths: Sequence[int] = (1024, 384, 384, 384, 1024),
        time_width: int = 384,
        embedding: Embedding = "sinusoid",
        fourier_width: int = 32,
        sigma_data: float = 0.14,
        log_sigma_mean: float = -1.2,
        log_sigma_std: float = 1.2,
        learning_rate: float = 3e-4,
        warmup_steps: int = 20_000,
        ema_decay: float = 0.999,
        steps: int = 32,
        sigma_max: float = 80.0,
        sigma_min: float = 0.02,
        rho: float = 7.0,
        decoding: Decoding = "threshold",
        condition: Sequence[str] = (),
        label_dropout: float = 0.1,
        guidance: float = 0.0,
    ) -> None:
        super().__init__(schema=schema, seed=seed, condition=condition, label_dropout=label_dropout, guidance=guidance)
        self.save_hyperparameters(ignore=["schema"])
        options.widths(widths=widths)
        options.whole(1, time_width=time_width)
        options.choice(get_args(Embedding), embedding=embedding)
        options.even(2, fourier_width=fourier_width)
        options.number(log_sigma_mean=log_sigma_mean)
        options.positive(sigma_data=sigma_data, log_sigma_std=log_sigma_std)
        options.choice(get_args(Decoding), decoding=decoding)
        self.sigma_data, self.log_sigma_mean, self.log_sigma_std = sigma_data, log_sigma_mean, log_sigma_std
        self.register_buffer("prevalence", torch.full((self.layout.bits.stop,), 0.5))
        self.decoding = decoding
        self.sigmas = noise_levels(steps=steps, sigma_max=sigma_max, sigma_min=sigma_min, rho=rho)
        fourier = fourier_width if embedding == "fourier" else 0
        with self.seeded_init():
            network = DenoisingMLP(self.layout.width, widths, time_width, fourier=fourier, labels=self.labels.width)
        self.follow(network, learning_rate=learning_rate, warmup_steps=warmup_steps, ema_decay=ema_decay)

    @override
    def observe(self, train: Records) -> None:
        """Take the training prevalences of the bits, which only ``decoding="prevalence"`` uses, and count labels."""
        super().observe(train)
        self.prevalence.copy_(ones(train.bits)[self.layout.bits].to(torch.float32) / len(train))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the EDM loss of ``batch`` [n, p], and the penalty for rules that the denoised rows break."""
        rng = self.step_rng(batch_idx)
        errors, denoised = edm_errors(
            guided(self.network, self.told(batch, rng), 0.0),
            batch,
            rng,
            sigma_data=self.sigma_data,
            log_mean=self.log_sigma_mean,
            log_std=self.log_sigma_std,
        )
        total = errors.mean() + self.rules_penalty(self.labels.imposed_on(denoised.clamp(0, 1), self.labels.of(batch)))
        self.log_losses(batch_idx, total=total)
        return total

    @override
    def prevents_privacy(self) -> str | None:
        if self.decoding == "prevalence":
            return "model.decoding=prevalence takes prevalences of training rows without noise; threshold or bernoulli"
        return super().prevents_privacy()

    @override
    def record_losses(self, batch: Tensor, generator: torch.Generator, draws: int) -> Tensor:
        errors, _ = edm_errors(
            guided(self.network, self.labels.of(batch), 0.0),
            batch.unsqueeze(1).expand(-1, draws, -1),
            generator,
            sigma_data=self.sigma_data,
            log_mean=self.log_sigma_mean,
            log_std=self.log_sigma_std,
        )
        return errors.mean((1, 2))

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw hard records [n, p] by solving the probability flow from pure noise, in float32.

        With ``decoding="prevalence"`` a record's codes depend on its ranks among those drawn with it, and among
        few records ranks say little: at least ``sample_batch`` are solved for and the first ``n`` returned, so
        that a few cost as much as a full batch, and are the first of it. Records under a condition are ranked among
        as many without one, since training prevalences are of these.
        """
        labels = self.labels.draw(n, generator, condition)
        asked = condition is not None and bool(condition.given.any())
        if self.decoding == "prevalence":
            more = self.sample_batch if asked else max(0, self.sample_batch - n)
            labels = torch.cat([labels, self.labels.draw(more, generator)]) if more else labels
        sigmas = self.sigmas.to(self.device)
        network = guided(self.average, labels, self.guidance)
        noise = sigmas[0] * torch.randn(len(labels), self.layout.width, generator=generator, device=self.device)
        rows = heun(lambda x, sigma: denoise(network, x, sigma, self.sigma_data), noise, sigmas)
        if self.decoding == "prevalence":
            bits = self.layout.bits
            usual = rows[n:, bits] if asked else rows[:, bits]
            rows[:, bits] = _largest(rows[:, bits], self.prevalence, generator, usual)
        rows = self.layout.harden(rows[:n], generator if self.decoding == "bernoulli" else None)
        return self.labels.imposed_on(rows, labels[:n])


def _largest(scores: Tensor, share: Tensor, generator: torch.Generator, usual: Tensor | None = None) -> Tensor:
    """Set scores [n, p] to one that are among the ``share`` [p] of largest usual ones, rounding the number by chance.

    The usual ones [m, p] are the scores themselves unless they are given.
    """
    usual = scores if usual is None else usual
    number = (len(usual) * share + torch.rand(share.shape, generator=generator, device=share.device)).floor().long()
    if usual is scores:
        ranks = scores.argsort(0, descending=True).argsort(0)
        return (ranks < number).to(scores.dtype)
    least = usual.sort(0, descending=True).values.gather(0, (number - 1).clamp_min(0).unsqueeze(0))
    return ((scores >= least) & (number > 0)).to(scores.dtype)
