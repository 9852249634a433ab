"""EHRDiff: EDM diffusion on the rows of the EHR matrix. Yuan, Zhou and Yu, TMLR 2024."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ehrsynth.bits import ones
from ehrsynth.errors import OptionError
from ehrsynth.layout import Records
from ehrsynth.models import options
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.models.diffusion.loss import edm_loss
from ehrsynth.models.diffusion.precondition import denoise
from ehrsynth.models.diffusion.sampler import heun, karras_schedule
from ehrsynth.models.nn import moving_average, warmup_cosine
from ehrsynth.schema import Schema

Decoding = Literal["threshold", "bernoulli", "prevalence"]


class Sinusoid(nn.Module):
    """Noise conditions [n, 1] to [n, width]: cosines and sines of frequencies from 1 down to 1e-4.

    An odd width ends in a zero, where the paper's code fails.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.odd = width % 2
        self.register_buffer("frequencies", torch.exp(-math.log(1e4) * torch.arange(half) / max(half, 1)), False)

    def forward(self, noise: Tensor) -> Tensor:
        """Return the embedding of ``noise``."""
        angles = noise * self.frequencies
        return nn.functional.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, self.odd))


class DenoisingMLP(nn.Module):
    """The paper's network: each layer adds its own projection of the noise level, then ReLU, then Linear.

    Followed from the code, since the paper gives only the widths: activation before every linear layer
    (the noisy input included), no normalisation, no residuals, an embedding as wide as the data.
    """

    def __init__(self, columns: int, widths: Sequence[int], time_width: int) -> None:
        super().__init__()
        sizes = [columns, *widths, columns]
        self.time = nn.Sequential(
            Sinusoid(columns), nn.Linear(columns, time_width), nn.SiLU(), nn.Linear(time_width, time_width)
        )
        self.shifts = nn.ModuleList(nn.Linear(time_width, size) for size in sizes[:-1])
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Map rows [n, p] and their noise conditions [n, 1] or [1, 1] to [n, p]."""
        time = self.time(noise)
        for shift, layer in zip(self.shifts, self.layers, strict=True):
            x = layer((x + shift(time)).relu())
        return x


class EHRDiff(SyntheticModel):
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
        sigma_data: standard deviation of the data assumed by the preconditioning.
        log_sigma_mean: of ln sigma during training.
        log_sigma_std: of ln sigma during training.
        learning_rate: of AdamW after warm-up.
        warmup_steps: batches until then; a cosine to zero over the rest of the budget follows.
        ema_decay: of the averaged weights, less at first: (1 + n) / (10 + n) after n steps.
        steps: N of the sampler, 2 N - 1 network calls.
        sigma_max: noise level sampling starts from.
        sigma_min: last noise level above zero.
        rho: spacing of the noise levels.
        decoding: ``threshold`` at one half, as published, or ``bernoulli`` draws from the clipped result,
            or ``prevalence``: as many of a column's largest scores as its training prevalence asks for, among
            ``sample_batch`` records or more. Rounding at one half makes most codes too rare, since a squared
            error shrinks what is uncertain towards zero; this one keeps their order and mends the number.

    Raises:
        OptionError: an option is not a value that can work.
    """

    precisions = (*SyntheticModel.precisions, "64-true")
    prevalence: Tensor

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        widths: Sequence[int] = (1024, 384, 384, 384, 1024),
        time_width: int = 384,
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
    ) -> None:
        super().__init__(schema=schema, seed=seed)
        self.save_hyperparameters(ignore=["schema"])
        options.widths(widths=widths)
        options.whole(1, time_width=time_width)
        options.whole(0, warmup_steps=warmup_steps)
        options.whole(2, steps=steps)
        options.number(log_sigma_mean=log_sigma_mean)
        options.number(0, ema_decay=ema_decay)
        options.positive(sigma_data=sigma_data, log_sigma_std=log_sigma_std, learning_rate=learning_rate)
        options.positive(sigma_max=sigma_max, sigma_min=sigma_min, rho=rho)
        options.choice(get_args(Decoding), decoding=decoding)
        if sigma_min >= sigma_max:
            raise OptionError(f"model.sigma_min={sigma_min}: less than model.sigma_max={sigma_max} was expected")
        self.sigma_data, self.log_sigma_mean, self.log_sigma_std = sigma_data, log_sigma_mean, log_sigma_std
        self.register_buffer("prevalence", torch.full((self.layout.bits.stop,), 0.5))
        self.learning_rate, self.warmup_steps, self.decoding = learning_rate, warmup_steps, decoding
        self.sigmas = karras_schedule(steps, sigma_max=sigma_max, sigma_min=sigma_min, rho=rho)
        with self.seeded_init():
            self.network = DenoisingMLP(self.layout.width, widths, time_width)
        self.average = moving_average(self.network, ema_decay)

    def observe(self, train: Records) -> None:
        """Take the training prevalences of the bits, which only ``decoding="prevalence"`` uses."""
        self.prevalence.copy_(ones(train.bits)[self.layout.bits].to(torch.float32) / len(train))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the EDM loss of ``batch`` [n, p]."""
        total = edm_loss(
            self.network,
            batch,
            self.step_rng(batch_idx),
            sigma_data=self.sigma_data,
            log_mean=self.log_sigma_mean,
            log_std=self.log_sigma_std,
        )
        self.log_losses(batch_idx, total=total)
        return total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then average: here and not at the end of the batch, when checkpoints are already written."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.network)

    def configure_optimizers(self) -> Any:
        """AdamW without weight decay; linear warm-up, then a cosine to zero at the end of the budget."""
        optimizer: Optimizer = AdamW(self.network.parameters(), lr=self.learning_rate, weight_decay=0.0, fused=True)
        total = self.trainer.estimated_stepping_batches
        schedule = LambdaLR(optimizer, partial(warmup_cosine, self.warmup_steps, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw hard records [n, p] by solving the probability flow from pure noise, in float32.

        With ``decoding="prevalence"`` a record's codes depend on its ranks among those drawn with it, and among
        few records ranks say little: at least ``sample_batch`` are solved for and the first ``n`` returned, so
        that a few cost as much as a full batch, and are the first of it.
        """
        sigmas = self.sigmas.to(self.device)
        solved = max(n, self.sample_batch) if self.decoding == "prevalence" else n
        noise = sigmas[0] * torch.randn(solved, self.layout.width, generator=generator, device=self.device)
        rows = heun(lambda x, sigma: denoise(self.average, x, sigma, self.sigma_data), noise, sigmas)
        if self.decoding == "prevalence":
            bits = self.layout.bits
            rows[:, bits] = _largest(rows[:, bits], self.prevalence, generator)
        return self.layout.harden(rows[:n], generator if self.decoding == "bernoulli" else None)


def _largest(scores: Tensor, share: Tensor, generator: torch.Generator) -> Tensor:
    """Set the ``share`` [p] of largest scores [n, p] in each column to one, rounding the number by chance."""
    n = len(scores)
    ones = (n * share + torch.rand(share.shape, generator=generator, device=share.device)).floor().long()
    ranks = scores.argsort(0, descending=True).argsort(0)
    return (ranks < ones).to(scores.dtype)
