"""Rules that hold in the clinic, each as one non-negative number per record.

The same ``violation`` serves as a penalty in a loss (it is differentiable), as a policy while
sampling and as a validity score, so the three cannot disagree.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ehrsynth.errors import SchemaError
from ehrsynth.files import read_json, write_json
from ehrsynth.layout import Layout


class Constraint(ABC):
    """A rule over encoded records."""

    @abstractmethod
    def violation(self, x: Tensor, layout: Layout) -> Tensor:
        """Return [n] numbers, zero exactly for the hard records [n, p] that keep the rule."""

    @abstractmethod
    def describe(self) -> str:
        """Return the rule in plain words."""


@dataclass(frozen=True)
class OnlyIf(Constraint):
    """``column`` may be one only where the indicator ``given`` is one (a prostate code only in men).

    Attributes:
        column: encoded name of a 0/1 column.
        given: encoded name of another one, for example ``sex=M``.
    """

    column: str
    given: str

    def violation(self, x: Tensor, layout: Layout) -> Tensor:
        """Return ``x[column] * (1 - x[given])``."""
        return x[:, layout.names.index(self.column)] * (1 - x[:, layout.names.index(self.given)])

    def describe(self) -> str:
        """Return the rule in plain words."""
        return f"{self.column} only if {self.given}"


@dataclass(frozen=True)
class AtMostOne(Constraint):
    """At most one of ``columns`` may be one (exclusive diagnoses or states).

    Attributes:
        columns: encoded names of 0/1 columns.
    """

    columns: tuple[str, ...] = field(default_factory=tuple)

    def violation(self, x: Tensor, layout: Layout) -> Tensor:
        """Return how far the sum of the columns lies above one."""
        return (x[:, [layout.names.index(name) for name in self.columns]].sum(1) - 1).clamp_min(0)

    def describe(self) -> str:
        """Return the rule in plain words."""
        return f"at most one of {', '.join(self.columns)}"


_RULES: dict[str, type[OnlyIf | AtMostOne]] = {"only_if": OnlyIf, "at_most_one": AtMostOne}


def to_dicts(constraints: Sequence[Constraint]) -> list[dict[str, Any]]:
    """Return plain dictionaries, each with the name of its rule."""
    names = {cls: name for name, cls in _RULES.items()}
    return [{"rule": names[type(c)], **asdict(c)} for c in constraints]  # type: ignore[index,call-overload]


def from_dict(content: Mapping[str, Any]) -> Constraint:
    """Inverse of one entry of ``to_dicts``."""
    rule = _RULES.get(content.get("rule", ""))
    if rule is None:
        raise SchemaError(f"constraint: rule {content.get('rule')!r} is unknown; use one of {sorted(_RULES)}")
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items() if k != "rule"}
    return rule(**options)


def save(path: Path, constraints: Sequence[Constraint]) -> None:
    """Write ``constraints.json``."""
    write_json(path, {"version": 1, "constraints": to_dicts(constraints)})


def load(path: Path) -> tuple[Constraint, ...]:
    """Read ``constraints.json``."""
    return tuple(from_dict(entry) for entry in read_json(path)["constraints"])
