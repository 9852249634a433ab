"""What diffusion models share around their loss and sampler: how they learn, averaged weights, guidance."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from ehrsynth.errors import OptionError
from ehrsynth.models import options
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.diffusion.guidance import dropped
from ehrsynth.models.diffusion.precondition import LabelledNetwork, Network
from ehrsynth.models.diffusion.sampler import karras_schedule
from ehrsynth.models.labels import LabelledModel
from ehrsynth.models.nn import MovingAverage, warmup_cosine
from ehrsynth.schema import Schema


def noise_levels(*, steps: int, sigma_max: float, sigma_min: float, rho: float) -> Tensor:
    """Return the sampler's noise levels [steps + 1], see ``karras_schedule``, after a check of these options."""
    options.whole(2, steps=steps)
    options.positive(sigma_max=sigma_max, sigma_min=sigma_min, rho=rho)
    if sigma_min >= sigma_max:
        raise OptionError(f"model.sigma_min={sigma_min}: less than model.sigma_max={sigma_max} was expected")
    return karras_schedule(steps, sigma_max=sigma_max, sigma_min=sigma_min, rho=rho)


def apart(network: LabelledNetwork, records: int, draws: int) -> Network:
    """Return a network, told no labels, that sees rows [records * draws, p] as [records, draws, p].

    What a record does to its weights is then one gradient.
    """

    def seen(x: Tensor, noise: Tensor) -> Tensor:
        rows = x.view(records, draws, -1)
        return network(rows, noise.view(records, draws, -1), rows[..., :0]).flatten(0, 1)

    return seen


class GuidedModel(LabelledModel):
    """A network that is told labels, or at times none, so that samples can follow them further than calibrated.

    Args:
        schema: columns to generate.
        seed: of weights and draws.
        condition: columns that the network is told, so that it can be asked for them.
        label_dropout: share of training rows whose labels it is not told, as guidance needs.
        guidance: w in F + w (F - F without labels), F being the output of the network; 0 is calibrated.

    Attributes:
        guidance: may be changed between draws.
    """

    def __init__(
        self, *, schema: Schema, seed: int, condition: Sequence[str], label_dropout: float, guidance: float
    ) -> None:
        super().__init__(schema=schema, seed=seed, condition=condition)
        options.share(label_dropout=label_dropout)
        options.number(0, guidance=guidance)
        self.label_dropout, self.guidance = label_dropout, guidance

    def told(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the labels of training rows [n, p], some left out."""
        return dropped(self.labels.of(batch), self.label_dropout, generator)


class DiffusionModel(SyntheticModel):
    """A network trained by AdamW and sampled from its averaged weights; a subclass hands it to ``follow``."""

    network: nn.Module

    def follow(
        self,
        network: nn.Module,
        *,
        learning_rate: float,
        warmup_steps: int,
        ema_decay: float,
        weight_decay: float = 0.0,
    ) -> None:
        """Take the network to be trained, made under ``seeded_init``, and start its average.

        Args:
            network: to be trained.
            learning_rate: of AdamW after warm-up.
            warmup_steps: batches until then; a cosine to zero over the rest of the budget follows.
            ema_decay: of the averaged weights, less at first; with 0 they are the last ones.
            weight_decay: of AdamW.
        """
        options.positive(learning_rate=learning_rate)
        options.whole(0, warmup_steps=warmup_steps)
        options.number(0, ema_decay=ema_decay, weight_decay=weight_decay)
        self.learning_rate, self.warmup_steps, self.weight_decay = learning_rate, warmup_steps, weight_decay
        self.network, self.average = network, MovingAverage(network, ema_decay)

    def start_average(self) -> None:
        """Start the average again, from weights that were set after ``follow``."""
        self.average.module.load_state_dict(self.network.state_dict())

    @override
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then average: here and not at the end of the batch, when checkpoints are already written."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.network)

    def configure_optimizers(self) -> Any:
        """AdamW, its learning rate as ``rate`` has it."""
        optimizer: Optimizer = AdamW(
            self.network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )
        schedule = LambdaLR(optimizer, partial(self.rate, self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self, total: float, step: int) -> float:
        """Return the share of the learning rate in a step: linear warm-up, then a cosine to zero in step ``total``."""
        return warmup_cosine(self.warmup_steps, total, step)

    @override
    def compilable(self) -> Iterator[nn.Module]:
        yield self.network

    @override
    def record_modules(self) -> Iterator[nn.Module]:
        yield self.network

    @override
    def remarks(self, steps: float) -> Iterator[str]:
        """Say that the warm-up does not end within the training."""
        if self.warmup_steps >= steps:
            reached = 100 * steps / self.warmup_steps
            yield (
                f"model.warmup_steps={self.warmup_steps}: the training has {steps:.0f} steps, so its learning rate"
                f" never gets beyond {reached:.0f} % of model.learning_rate={self.learning_rate:g}; set fewer, or train"
                " longer"
            )
