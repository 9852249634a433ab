"""What a rule is, and rules compiled for the rooms that ask whether records keep them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from ehrsynth.constraints.numbers import Limit, Numbers, Order
from ehrsynth.constraints.propositions import Clause, Propositions
from ehrsynth.layout import Layout
from ehrsynth.schema import Schema

Say = Callable[[str], str]  # from the name of an encoded column to the words people know it by


@dataclass(frozen=True)
class Compiled:
    """A rule whose columns and scales are found, to judge records of one schema.

    Attributes:
        rule: what it says.
        violation: from records [n, p] to [n] numbers, zero exactly for the hard records that keep the rule;
            differentiable.
        support: from hard records [n, p] to bool [n]: which of them could break the rule at all.
    """

    rule: "Constraint"
    violation: Callable[[Tensor], Tensor]
    support: Callable[[Tensor], Tensor]


class Constraint(ABC):
    """A rule over encoded records. Subclasses are frozen dataclasses whose fields stand in ``constraints.json``.

    Attributes:
        rule: name of the kind of rule in ``constraints.json``.
        over: the kind of columns that it is about.
    """

    rule: ClassVar[str]
    over: ClassVar[Literal["0/1", "number", "categorical"]]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that the rule is about; of 0/1 columns the encoded ones."""
        return tuple(value for field in fields(self) if isinstance(value := getattr(self, field.name), str))  # type: ignore[arg-type]

    @abstractmethod
    def compile(self, schema: Schema, layout: Layout) -> Compiled:
        """Find the columns in records of ``schema``, which lie as ``layout`` says, and the scales of the numbers."""

    @abstractmethod
    def describe(self, say: Say = str) -> str:
        """Return the rule in plain words; ``say`` gives those of a column."""

    def clauses(self, layout: Layout) -> Iterable[Clause]:
        """Return what the rule asks of 0/1 columns, for those who mend records."""
        return ()

    def limits(self) -> Iterable[Limit]:
        """Return what the rule asks of single numbers."""
        return ()

    def orders(self) -> Iterable[Order]:
        """Return what the rule asks of pairs of numbers."""
        return ()

    def bound_to(self, schema: Schema) -> Self:
        """Return the rule with the bounds of the numbers in ``schema``, as ``constraints.json`` notes them."""
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


class Rules:
    """Constraints compiled once for records of a schema: the loss, the sampler and the score ask the same object.

    Args:
        constraints: any number of them.
        schema: of the records.
    """

    def __init__(self, constraints: Iterable[Constraint], schema: Schema) -> None:
        self.schema, self.layout = schema, Layout.of(schema)
        self.compiled = tuple(rule.compile(schema, self.layout) for rule in constraints)

    @cached_property
    def propositions(self) -> Propositions:
        """What the rules ask of 0/1 columns, taken together."""
        return Propositions(chain.from_iterable(c.rule.clauses(self.layout) for c in self), self.layout)

    @cached_property
    def numbers(self) -> Numbers:
        """What the rules ask of numbers, taken together."""
        limits = chain.from_iterable(c.rule.limits() for c in self)
        orders = chain.from_iterable(c.rule.orders() for c in self)
        return Numbers(limits, orders, self.schema)

    def __len__(self) -> int:
        return len(self.compiled)

    def __iter__(self) -> Iterator[Compiled]:
        return iter(self.compiled)

    def violation(self, x: Tensor) -> Tensor:
        """Return how far each of the records [n, p] breaks each rule [n, r]; see ``Compiled``."""
        return torch.stack([rule.violation(x) for rule in self], dim=1) if len(self) else x[:, :0]

    def broken(self, x: Tensor) -> Tensor:
        """Return which of the hard records [n, p] break a rule, bool [n]."""
        return (self.violation(x) > 0).any(1)

    def support(self, x: Tensor) -> Tensor:
        """Return which of the hard records [n, p] could break each rule, bool [n, r]."""
        return torch.stack([rule.support(x) for rule in self], dim=1) if len(self) else x[:, :0].bool()

    def describe(self, say: Say = str) -> list[str]:
        """Return each rule in plain words."""
        return [compiled.rule.describe(say) for compiled in self]
