"""The seam between a rule and the three rooms that ask whether records keep it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ehrsynth.layout import Layout
from ehrsynth.schema import Schema

Say = Callable[[str], str]  # from the name of an encoded column to the words people know it by
TOLERANCE = 2.0**-22  # float32 keeps a scaled number to 2**-25, and no column has steps that small


class Constraint(ABC):
    """A rule over encoded records. Subclasses are frozen dataclasses whose fields stand in ``constraints.json``.

    Attributes:
        rule: name of the kind of rule in ``constraints.json``.
    """

    rule: ClassVar[str]

    @property
    def indicators(self) -> tuple[str, ...]:
        """Encoded names of the 0/1 columns that the rule is about."""
        return ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the continuous and count columns that the rule is about."""
        return ()

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the categorical columns that the rule is about."""
        return ()

    @abstractmethod
    def violation(self, x: Tensor, layout: Layout) -> Tensor:
        """Return [n] numbers, zero exactly for the hard records [n, p] that keep the rule; differentiable in ``x``."""

    @abstractmethod
    def concerns(self, x: Tensor, layout: Layout) -> Tensor:
        """Return which of the hard records [n, p] could break the rule at all, bool [n]: they are its support."""

    @abstractmethod
    def describe(self, say: Say = str) -> str:
        """Return the rule in plain words; ``say`` gives those of a column."""

    def fitted(self, schema: Schema) -> Self:
        """Return the rule with the scale of the numbers in records of ``schema``."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of ``constraints.json``."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        return {"rule": self.rule, **{name: value for name, value in plain.items() if value is not None}}

    @classmethod
    def keys(cls) -> dict[str, bool]:
        """Return the keys of an entry beside ``rule``, and whether each must be given."""
        return {field.name: field.default is MISSING for field in fields(cls)}  # type: ignore[arg-type]


def column(x: Tensor, layout: Layout, name: str) -> Tensor:
    """Return the encoded column [n] of that name."""
    return x[:, layout.names.index(name)]


def number(x: Tensor, layout: Layout, name: str) -> tuple[Tensor, Tensor]:
    """Return the scaled values [n] of a number, 0 where it is missing, and how far it is there [n], 1 or 0 if hard."""
    scaled = column(x, layout, name)
    gap = f"{name}:missing"
    there = 1 - column(x, layout, gap) if gap in layout.names else torch.ones_like(scaled)
    return scaled.nan_to_num(), there * ~scaled.isnan()
