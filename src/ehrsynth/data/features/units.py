"""Units of measurement: one per column, or the factors that make them one."""

from collections.abc import Mapping
from typing import Any

from ehrsynth.data.store import Store, text
from ehrsynth.errors import OptionError, TableError

UNIT = "lower(trim(coalesce(unit, '')))"


class Units:
    """The units that the values of a feature may have; they are compared without regard to case.

    Args:
        feature: for messages.
        factors: unit -> what a value is multiplied with to be in the first; None allows any one unit.

    Raises:
        OptionError: a factor is not a number above zero, or the first is not 1.
    """

    def __init__(self, feature: str, factors: Mapping[str, float] | None) -> None:
        self.feature = feature
        self.factors = None if factors is None else dict(factors)
        if factors is None:
            return
        for unit, factor in factors.items():
            if not (isinstance(factor, int | float) and factor > 0):
                raise OptionError(f"feature {feature}: units.{unit}={factor}: a factor above zero was expected")
        if next(iter(factors.values()), None) != 1:
            raise OptionError(f"feature {feature}: units={dict(factors)}: the first unit, with factor 1, was expected")

    def options(self) -> dict[str, Any] | None:
        """Return the factors, for provenance."""
        return self.factors

    def converted(self) -> str:
        """Return the SQL of a value in the first unit."""
        if self.factors is None or len(self.factors) == 1:
            return "numeric_value"
        cases = " ".join(f"WHEN {text(unit.strip().lower())} THEN {factor!r}" for unit, factor in self.factors.items())
        return f"numeric_value * CASE {UNIT} {cases} END"

    def check(self, store: Store, events: str) -> None:
        """Check the units of ``events``, SQL of a relation and its condition.

        Raises:
            TableError: there is a unit that has no factor, or without factors there are several.
        """
        found = store.frame(f"SELECT {UNIT} AS unit, count(*) AS times FROM {events} GROUP BY ALL ORDER BY ALL")
        times = dict(zip(found["unit"], found["times"], strict=True))
        told = ", ".join(f"{unit or 'none'} ({count:,})" for unit, count in times.items())
        if self.factors is None:
            if len([unit for unit in times if unit]) > 1:
                raise TableError(
                    f"feature {self.feature}: events in several units: {told}; give the factors to the first, such as"
                    " units={kg: 1, g: 0.001}, or leave out the rarer with cohort.faults.mixed_units=exclude"
                )
        elif unknown := sorted(set(times) - {unit.strip().lower() for unit in self.factors}):
            named = ", ".join(unit or "none" for unit in unknown)
            raise TableError(
                f"feature {self.feature}: events in units that have no factor: {named} (found: {told}); add them to"
                f" units, now {', '.join(unit or 'none' for unit in self.factors)}"
            )
