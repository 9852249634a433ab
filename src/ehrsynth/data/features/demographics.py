"""Who the patient is: age, and whatever else the provider writes once or now and then."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ehrsynth.data.features.base import Collected, ColumnSpec, Feature
from ehrsynth.data.store import Store, text
from ehrsynth.errors import expect
from ehrsynth.schema import Role

OTHERWISE = "otherwise"


@dataclass(kw_only=True, eq=False)
class Age(Feature):
    """Whole years at the index time.

    Attributes:
        name: of the column.
        most: older patients count as this old, as MIMIC does for privacy.
        role, label: of the column.
    """

    name: str = "age"
    most: int | None = None
    role: Role = "quasi_identifier"
    label: str = "Age in years"

    def collect(self, store: Store) -> Collected:
        """Return the ages; missing where the birth is unknown."""
        years = "date_sub('year', birth::DATE, index_time::DATE)"
        cell = years if self.most is None else f"least({years}, {self.most})"
        spec = ColumnSpec("count", self.role, "demographics", self.label, plausible=(0, 120))
        return Collected.column_of(store, self.name, spec, cell, "cohort WHERE birth IS NOT NULL")


@dataclass(kw_only=True, eq=False)
class Attribute(Feature):
    """A category such as sex or race: the code of the subject's last (or first) event of a domain.

    Attributes:
        name: of the column.
        domain: of the events.
        levels: what the column can say, each with the beginnings of the provider's words that mean it, in this order;
            ``otherwise`` is the level of every other word. Empty takes the words as they are.
        which: ``last`` or ``first`` in the window.
        role, label: of the column.

    Raises:
        OptionError: an unknown choice.
    """

    name: str
    domain: str
    levels: Mapping[str, list[str]] | None = None
    which: Literal["last", "first"] = "last"
    role: Role = "feature"
    label: str = ""

    def __post_init__(self) -> None:
        expect(self.which in ("last", "first"), f"feature {self.name}: which", self.which, "last or first")
        self.levels = dict(self.levels or {})
        self.label = self.label or self.name.capitalize()

    def collect(self, store: Store) -> Collected:
        """Return the levels; missing for subjects without such an event."""
        best = "arg_max" if self.which == "last" else "arg_min"
        word = f"{best}(code, (coalesce(time, TIMESTAMP '1500-01-01'), coalesce(stay_id, 0), code))"
        spec = ColumnSpec("categorical", self.role, "demographics", self.label, tuple(self.levels or ()))
        mine = f"history WHERE domain = {text(self.domain)} AND code IS NOT NULL GROUP BY row"
        return Collected.column_of(store, self.name, spec, self._level(word), mine)

    def _level(self, word: str) -> str:
        """Return the SQL that turns a provider's word into a level."""
        if not self.levels:
            return word
        cases, other = [], "NULL"
        for level, beginnings in self.levels.items():
            if OTHERWISE in beginnings:
                other = text(level)
            hits = [f"starts_with(upper({word}), {text(start.upper())})" for start in beginnings if start != OTHERWISE]
            if hits:
                cases.append(f"WHEN {' OR '.join(hits)} THEN {text(level)}")
        return f"CASE {' '.join(cases)} ELSE {other} END"
