"""Independent marginals: the floor every model must beat."""

from collections.abc import Collection

import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.bits import ones
from ehrsynth.layout import Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.gradient_free import GradientFree
from ehrsynth.models.quantiles import GRID, places_within, quantiles, values_at
from ehrsynth.schema import Schema


class IndependentMarginals(GradientFree):
    """Every schema column drawn alone from its training distribution.

    Bits by their prevalence, missing indicators included; one-hot groups by the shares of their levels;
    values by linear interpolation between 1,001 quantiles of the observed ones. Those travel with the checkpoint, so
    the nine most extreme values of a side are not among them: rows lie evenly from the tenth to the schema's bound.

    Args:
        schema: columns to generate.
        seed: kept with the checkpoint; learning draws nothing.
    """

    probabilities: Tensor
    quantiles: Tensor

    def __init__(self, *, schema: Schema, seed: int = 0) -> None:
        super().__init__(schema=schema, seed=seed)
        self.save_hyperparameters(ignore=["schema"])
        binary = self.layout.binary.stop
        self.register_buffer("probabilities", torch.zeros(binary))
        self.register_buffer("quantiles", torch.zeros(GRID, self.layout.width - binary))

    def observe(self, train: Records) -> None:
        """Take prevalences, shares and quantiles; a column without any observed value becomes zero."""
        self.probabilities.copy_(ones(train.bits) / len(train))
        self.quantiles.copy_(quantiles(train))

    @property
    @override
    def conditionable(self) -> Collection[str]:
        return self.schema.names

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw hard records [n, p]; what is given changes nothing about the rest."""
        places = torch.rand(n, self.quantiles.shape[1], generator=generator, device=self.device)
        if condition is not None:
            places = torch.lerp(*places_within(condition, self.quantiles), places)
        values = values_at(places, self.quantiles)
        rows = self.layout.harden(torch.cat([self.probabilities.expand(n, -1), values], dim=1), generator)
        return rows if condition is None else condition.imposed_on(rows)
