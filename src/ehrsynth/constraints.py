"""Rules that hold in the clinic, each as one non-negative number per record.

The same ``violation`` serves as a penalty in a loss (it is differentiable), as a policy while
sampling and as a validity score, so the three cannot disagree.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ehrsynth.errors import SchemaError
from ehrsynth.files import read_object, write_json
from ehrsynth.layout import Layout


class Constraint(ABC):
    """A rule over encoded records."""

    @property
    @abstractmethod
    def indicators(self) -> tuple[str, ...]:
        """Encoded names of the 0/1 columns that the rule is about."""

    @abstractmethod
    def violation(self, x: Tensor, layout: Layout) -> Tensor:
        """Return [n] numbers, zero exactly for the hard records [n, p] that keep the rule."""

    @abstractmethod
    def describe(self) -> str:
        """Return the rule in plain words."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the entry of ``constraints.json``."""


@dataclass(frozen=True)
class OnlyIf(Constraint):
    """``column`` may be one only where the indicator ``given`` is one (a prostate code only in men).

    Attributes:
        column: encoded name of a 0/1 column.
        given: encoded name of another one, for example ``sex=M``.
    """

    column: str
    given: str

    @property
    def indicators(self) -> tuple[str, ...]:
        """Return ``column`` and ``given``."""
        return self.column, self.given

    def violation(self, x: Tensor, layout: Layout) -> Tensor:
        """Return ``x[column] * (1 - x[given])``."""
        return x[:, layout.names.index(self.column)] * (1 - x[:, layout.names.index(self.given)])

    def describe(self) -> str:
        """Return the rule in plain words."""
        return f"{self.column} only if {self.given}"

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of ``constraints.json``."""
        return {"rule": "only_if", **asdict(self)}


def from_dict(content: Mapping[str, Any]) -> Constraint:
    """Read one entry of ``constraints.json``.

    Raises:
        SchemaError: no rule, or an unknown one.
    """
    if not isinstance(content, Mapping) or content.get("rule") != "only_if" or not {"column", "given"} <= set(content):
        raise SchemaError(f"constraint {content}: expected rule only_if with column and given")
    return OnlyIf(str(content["column"]), str(content["given"]))


def save(path: Path, constraints: Sequence[Constraint]) -> None:
    """Write ``constraints.json``."""
    write_json(path, {"version": 1, "constraints": [constraint.to_dict() for constraint in constraints]})


def load(path: Path, layout: Layout) -> tuple[Constraint, ...]:
    """Read ``constraints.json``.

    Raises:
        FileError: missing, not JSON, or without its list.
        SchemaError: a rule is malformed or names a column that is no 0/1 column of ``layout``.
    """
    known = set(layout.names[layout.binary])
    try:
        rules = tuple(from_dict(entry) for entry in read_object(path, constraints=list)["constraints"])
        for rule in rules:
            for name in rule.indicators:
                if name not in known:
                    raise SchemaError(f"constraint '{rule.describe()}': the schema has no 0/1 column {name!r}")
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None
    return rules
