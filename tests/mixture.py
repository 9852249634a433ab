"""A model that learns by expectation maximisation: a toy, and what the next such model may look like."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ehrsynth.models import heads
from ehrsynth.models.condition import Condition
from ehrsynth.models.gradient_free import GradientFree
from ehrsynth.schema import Schema


class Mixture(GradientFree):
    """Each record is of one of a few classes, within which every column is drawn alone."""

    std: Tensor

    def __init__(self, *, schema: Schema, seed: int = 0, classes: int = 4) -> None:
        super().__init__(schema=schema, seed=seed)
        self.save_hyperparameters(ignore=["schema"])
        values = self.layout.width - self.layout.values.start
        with self.seeded_init():
            self.logits = nn.Parameter(torch.randn(classes, self.layout.width))
        self.shares = nn.Parameter(torch.full((classes,), 1 / classes))
        self.register_buffer("std", torch.full((classes, values), 0.3))
        self.rows_seen: list[int] = []

    def statistics(self, batch: Tensor) -> dict[str, Tensor]:
        layout = self.layout
        nll = heads.negative_log_likelihood(layout, batch[:, None], self.logits, self.std)
        joint = (self.shares.log() - nll).double()
        weights, x = joint.softmax(1).T, batch.double()
        observed = torch.ones_like(x)
        for bit, value in layout.missing_bits():
            observed[:, layout.values.start + value] = 1 - x[:, bit]
        return {
            "rows": torch.tensor(len(batch)),
            "surprise": -joint.logsumexp(1).sum(),
            "weight": weights.sum(1),
            "observed": weights @ observed,
            "sum": weights @ (observed * x),
            "square": weights @ (observed * x * x),
        }

    def update(self, total: Mapping[str, Tensor]) -> None:
        self.rows_seen.append(int(total["rows"]))
        self.log_losses(0, total=total["surprise"] / total["rows"])
        means = (total["sum"] + 0.05) / (total["observed"] + 0.1)
        spread = (total["square"] + 0.05) / (total["observed"] + 0.1) - means.square()
        logits = means.logit()
        for group in self.layout.groups.values():
            logits[:, group] = means[:, group].log()
        values = self.layout.values
        self.logits.copy_(logits)
        self.std.copy_(spread[:, values].clamp(min=0).sqrt() + heads.SMALLEST_STD)
        self.shares.copy_(total["weight"] / total["rows"])

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        chosen = torch.multinomial(self.shares, n, replacement=True, generator=generator)
        return heads.draw(self.layout, self.logits[chosen], self.std[chosen], generator)
