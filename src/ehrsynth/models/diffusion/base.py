"""What diffusion models share around their loss and sampler: averaged weights, learning rate, labels."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from ehrsynth.errors import OptionError
from ehrsynth.layout import Records
from ehrsynth.models import options
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.diffusion.guidance import dropped
from ehrsynth.models.diffusion.sampler import karras_schedule
from ehrsynth.models.labels import Labels
from ehrsynth.models.nn import moving_average, warmup_cosine
from ehrsynth.schema import Schema


def noise_levels(*, steps: int, sigma_max: float, sigma_min: float, rho: float) -> Tensor:
    """Return the sampler's noise levels [steps + 1], see ``karras_schedule``, after a check of these options."""
    options.whole(2, steps=steps)
    options.positive(sigma_max=sigma_max, sigma_min=sigma_min, rho=rho)
    if sigma_min >= sigma_max:
        raise OptionError(f"model.sigma_min={sigma_min}: less than model.sigma_max={sigma_max} was expected")
    return karras_schedule(steps, sigma_max=sigma_max, sigma_min=sigma_min, rho=rho)


class DiffusionModel(SyntheticModel):
    """A network trained by AdamW with warm-up and cosine, sampled from its averaged weights, told labels if asked to.

    A subclass builds its network under ``seeded_init`` and hands it to ``follow``.

    Args:
        schema: columns to generate.
        seed: of weights and draws.
        learning_rate: of AdamW after warm-up.
        warmup_steps: batches until then; a cosine to zero over the rest of the budget follows.
        ema_decay: of the averaged weights, less at first.
        condition: columns that the network is told, so that it can be asked for them.
        label_dropout: share of training rows whose labels it is not told, as guidance needs.
        guidance: how much further than calibrated the samples follow their labels.

    Attributes:
        guidance: may be changed between draws.
    """

    penalises_rules = True
    conditioning = "label"

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int,
        learning_rate: float,
        warmup_steps: int,
        ema_decay: float,
        condition: Sequence[str],
        label_dropout: float,
        guidance: float,
    ) -> None:
        super().__init__(schema=schema, seed=seed)
        options.positive(learning_rate=learning_rate)
        options.whole(0, warmup_steps=warmup_steps)
        options.share(label_dropout=label_dropout)
        options.number(0, ema_decay=ema_decay, guidance=guidance)
        self.learning_rate, self.warmup_steps, self.ema_decay = learning_rate, warmup_steps, ema_decay
        self.labels, self.label_dropout, self.guidance = Labels(schema, condition), label_dropout, guidance

    def follow(self, network: nn.Module) -> None:
        """Take the network to be trained, and start its average."""
        self.network, self.average = network, moving_average(network, self.ema_decay)

    def observe(self, train: Records) -> None:
        """Count labels."""
        self.labels.observe(train)

    @property
    @override
    def conditionable(self) -> Collection[str]:
        return self.labels.columns

    def told(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the labels of training rows [n, p], some left out."""
        return dropped(self.labels.of(batch), self.label_dropout, generator)

    @override
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
