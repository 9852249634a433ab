"""The options of a private training, and of an audit of a training, private or not."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, get_args

from ehrsynth.errors import OptionError, expect
from ehrsynth.files import require, sha256
from ehrsynth.metrics.audit import Canary
from ehrsynth.study.conf import Node

FEWEST = 20  # canaries of a kind that are worth a guess


@dataclass(frozen=True)
class Privacy:
    """The options of ``conf/privacy/dp.yaml``.

    Raises:
        OptionError: one is out of range.
    """

    epsilon: float = 3.0
    delta: float | None = None
    public: str | None = None
    schema: float = 0.0
    max_grad_norm: float = 1.0
    noise_multiplier: float | None = None
    draws: int = 1
    marginals: float = 0.1

    def __post_init__(self) -> None:
        for name in ("epsilon", "max_grad_norm", "noise_multiplier"):
            value = getattr(self, name)
            if value is not None or name != "noise_multiplier":
                expect(_number(value) and value > 0, f"privacy.{name}", value, "a finite number above zero")
        fits = self.delta is None or (_number(self.delta) and 0 < self.delta < 1)
        expect(fits, "privacy.delta", self.delta, "a number between 0 and 1, or null,")
        expect(_whole(self.draws) and self.draws >= 1, "privacy.draws", self.draws, "a whole number, at least 1,")
        fits = _number(self.marginals) and 0 <= self.marginals < 1
        expect(fits, "privacy.marginals", self.marginals, "a share of epsilon from 0 to less than 1")
        fits = _number(self.schema) and 0 <= self.schema < 1
        expect(fits, "privacy.schema", self.schema, "a share of epsilon from 0 to less than 1")
        fits = not (self.schema and self.public is not None)
        expect(fits, "privacy.schema", self.schema, "0, beside privacy.public, which says what the columns are,")
        fits = self.public is None or isinstance(self.public, str)
        expect(fits, "privacy.public", self.public, "a schema.json, or null,")

    @classmethod
    def of(cls, node: Node | None) -> "Privacy | None":
        """Return the options of a configuration; None if it asks for none.

        Raises:
            OptionError: an option is unknown or out of range.
        """
        if node is None:
            return None
        expect(isinstance(node, Mapping), "privacy", node, "none, dp or its options")
        if unknown := sorted(set(node) - set(cls.__dataclass_fields__)):
            raise OptionError(f"privacy.{unknown[0]}: no such option; use one of {', '.join(cls.__dataclass_fields__)}")
        return cls(**node)

    @property
    def identity(self) -> Node:
        """The options, the public schema by its content."""
        kept = asdict(self) | ({"public": sha256(require(Path(self.public)))} if self.public else {})
        return kept if self.schema else {name: value for name, value in kept.items() if name != "schema"}


@dataclass(frozen=True)
class AuditOptions:
    """The options of ``audit`` in ``conf/train.yaml``.

    Raises:
        OptionError: one is out of range.
    """

    canaries: int = 0
    kinds: Sequence[Canary] = ("all_rare",)
    guesses: int | None = None
    delta: float = 1e-6

    def __post_init__(self) -> None:
        fits = _whole(self.canaries) and (self.canaries == 0 or self.canaries >= FEWEST)
        expect(fits, "audit.canaries", self.canaries, f"a whole number, at least {FEWEST}, or 0 for no audit,")
        known = get_args(Canary)
        fits = isinstance(self.kinds, list | tuple) and bool(self.kinds) and all(kind in known for kind in self.kinds)
        expect(fits, "audit.kinds", self.kinds, f"a list of {', '.join(known)}")
        expect(len(set(self.kinds)) == len(self.kinds), "audit.kinds", self.kinds, "each kind once")
        fits = self.guesses is None or (_whole(self.guesses) and 2 <= self.guesses <= max(self.canaries, 2))
        expect(fits, "audit.guesses", self.guesses, "a whole number from 2 to audit.canaries, or null,")
        fits = _number(self.delta) and 0 < self.delta < 1
        expect(fits, "audit.delta", self.delta, "a number between 0 and 1")

    @classmethod
    def of(cls, node: Node | None) -> "AuditOptions | None":
        """Return the options of a configuration; None if it asks for no audit.

        Raises:
            OptionError: an option is unknown or out of range.
        """
        if node is None:
            return None
        expect(isinstance(node, Mapping), "audit", node, "audit.canaries=500, and beside it kinds and guesses,")
        if unknown := sorted(set(node) - set(cls.__dataclass_fields__)):
            raise OptionError(f"audit.{unknown[0]}: no such option; use one of {', '.join(cls.__dataclass_fields__)}")
        asked = cls(**node)
        return asked if asked.canaries else None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
