"""How records came to have what was asked of them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from ehrsynth.models.base import SyntheticModel
from ehrsynth.schema import in_words

Way = Literal["exact", "label", "rejection"]


@dataclass
class Acceptance:
    """How records came to meet their condition, and to keep the rules; filled in while they are drawn.

    Attributes:
        ways: of each column asked for: the model drew it under the condition, from the distribution that it has learned
            (``exact``) or by a label that it was told in training (``label``), or those that met it were kept.
        drawn: records that the model drew.
        accepted: those of them that met what somebody still waited for.
        broken: those of the accepted that broke a rule as they were drawn, if rules were asked for.
        changed: cells that were changed to mend them.
    """

    ways: dict[str, Way] = field(default_factory=dict)
    drawn: int = 0
    accepted: int = 0
    broken: int = 0
    changed: int = 0

    def start(self, model: SyntheticModel, columns: Iterable[str]) -> None:
        """Forget an earlier draw, and note how ``model`` meets what is asked of ``columns``."""
        able, by_model = set(model.conditionable), model.conditioning
        self.ways = {name: by_model if name in able else "rejection" for name in model.schema.names if name in columns}
        self.drawn = self.accepted = self.broken = self.changed = 0

    def add(self, other: "Acceptance") -> None:
        """Count another draw of the same kind."""
        self.ways = self.ways or other.ways
        self.drawn, self.accepted = self.drawn + other.drawn, self.accepted + other.accepted
        self.broken, self.changed = self.broken + other.broken, self.changed + other.changed

    @property
    def way(self) -> Literal["none", "model", "rejection", "both"]:
        """Who met the condition: the model, rejection, each a part of it, or nobody, for there was none."""
        rejected = [way == "rejection" for way in self.ways.values()]
        return "none" if not rejected else "rejection" if all(rejected) else "both" if any(rejected) else "model"

    @property
    def share(self) -> float:
        """The share of drawn records that met what somebody still waited for."""
        return self.accepted / self.drawn if self.drawn else math.nan

    def __str__(self) -> str:
        if self.way in ("none", "model"):
            return "by the model" if self.way == "model" else "none"
        had = f"{100 * self.share:.1f} % of {self.drawn:,} records drawn had it"
        return (
            f"by rejection, {had}"
            if self.way == "rejection"
            else f"by the model and, for the rest, by rejection: {had}"
        )

    def by_way(self) -> list[str]:
        """Return for each way that was used the columns it was used for, in words."""
        found: dict[str, list[str]] = {}
        for name, way in self.ways.items():
            found.setdefault(way, []).append(name)
        return [f"{way}: {in_words(names)}" for way, names in found.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and texts, as provenance holds them."""
        counts = {"drawn": self.drawn, "accepted": self.accepted, "broken": self.broken, "cells_changed": self.changed}
        return {"ways": dict(self.ways), **counts, "share": self.share if self.drawn else None}
