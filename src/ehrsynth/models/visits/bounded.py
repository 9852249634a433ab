"""Models of visits that are trained on a bound of the likelihood, and keep the weights best for validation patients."""

import copy
from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from ehrsynth.models import options
from ehrsynth.models.nn import MovingAverage
from ehrsynth.models.visits.stepwise import State, Stepwise
from ehrsynth.seeding import torch_rng
from ehrsynth.visit_batch import VisitBatch, batch_of, in_blocks
from ehrsynth.visits import Integers, Visits

PATIENTS = 256  # whose bound is computed at a time


class Bounded(Stepwise[State]):
    """A network trained by AdamW; visits are drawn from its averaged weights, as they were after their best epoch.

    A subclass hands its network to ``follow``, and calls ``start`` once it has set what training patients tell.
    """

    keeps_best = True
    network: nn.Module
    best: nn.Module
    least: Tensor  # nats of a validation record, at best
    waited: Tensor  # epochs since then

    def follow(
        self,
        network: nn.Module,
        *,
        learning_rate: float,
        warmup_steps: int,
        weight_decay: float,
        ema_decay: float,
        patience: int,
    ) -> None:
        """Take the network to be trained, made under ``seeded_init``.

        Args:
            network: to be trained.
            learning_rate: of AdamW, after a linear warm-up.
            warmup_steps: batches until then.
            weight_decay: of AdamW.
            ema_decay: of the averaged weights, less at first.
            patience: epochs without a better bound of validation patients until training stops.
        """
        options.positive(learning_rate=learning_rate)
        options.whole(0, warmup_steps=warmup_steps)
        options.number(0, weight_decay=weight_decay)
        options.share(ema_decay=ema_decay)
        options.whole(1, patience=patience)
        self.learning_rate, self.warmup_steps, self.weight_decay = learning_rate, warmup_steps, weight_decay
        self.patience = patience
        self.network, self.average = network, MovingAverage(network, ema_decay)
        self.best = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("least", torch.tensor(torch.inf))
        self.register_buffer("waited", torch.tensor(0))
        self.unseen: tuple[Tensor, Visits] | None = None

    def start(self) -> None:
        """Start the average again, from weights that were set after ``follow``."""
        for network in (self.average.module, self.best):
            network.load_state_dict(self.network.state_dict())

    @abstractmethod
    def bound(self, network: nn.Module, batch: VisitBatch, generator: torch.Generator) -> Tensor:
        """Return nats [b] that the visits of patients, and their end, take at most; none of those without a visit."""

    @override
    def hold_out(self, static: Tensor, visits: Visits) -> None:
        self.unseen = static, visits

    @override
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then average: here and not at the end of the batch, when checkpoints are already written."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.network)

    def configure_optimizers(self) -> Any:
        """AdamW at a steady rate after warm-up; that weights are averaged does what a falling rate would."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(), self.learning_rate, weight_decay=self.weight_decay, fused=True
        )
        rate = partial(_warmed_up, self.warmup_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, rate), "interval": "step"}}

    @override
    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After an epoch keep the averaged weights if unseen patients are likelier, or stop if they long are not."""
        if self.trainer.is_last_batch:
            found = torch.tensor(-torch.inf, device=self.device)
            if self.unseen is not None:
                found = -self._likelihood_by(self.average.module, *self.unseen).mean()
                self.log_losses(batch_idx, validation=found)
            if found < self.least or self.unseen is None:
                self.least.copy_(found)
                self.waited.zero_()
                self.best.load_state_dict(self.average.module.state_dict())
            else:
                self.waited += 1
            self.trainer.should_stop |= int(self.waited) >= self.patience
        super().on_train_batch_end(outputs, batch, batch_idx)

    @override
    def log_likelihood(self, static: Tensor, visits: Visits) -> Tensor:
        """Return a lower bound of log p(visits | row) [n], whose draws are always the same."""
        return self._likelihood_by(self.best, static, visits)

    @torch.no_grad()
    def _likelihood_by(self, network: nn.Module, static: Tensor, visits: Visits) -> Tensor:
        network.eval()
        generator = torch_rng(self.seed, "bound", device=self.device)

        def of_some(rows: Integers) -> Tensor:
            batch = batch_of(visits, static, len(self.visit_schema.measurements), rows).to(self.device)
            return self.calendar.nats_of_number(batch.lengths) - self.bound(network, batch, generator)

        return in_blocks(visits, PATIENTS, of_some)

    @override
    def remarks(self, steps: float) -> Iterator[str]:
        """Say that the warm-up does not end within the training."""
        if self.warmup_steps >= steps:
            yield (
                f"model.warmup_steps={self.warmup_steps}: the training has {steps:.0f} steps, so it never reaches"
                f" model.learning_rate={self.learning_rate:g}; set fewer, or train longer"
            )


def _warmed_up(warmup: int, step: int) -> float:
    return min(1.0, (step + 1) / max(warmup, 1))
