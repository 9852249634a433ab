"""The rules a cohort can be made of, each a small object with its own words."""

from dataclasses import dataclass

from ehrsynth.data.cohort.base import Rule


@dataclass(frozen=True)
class Age(Rule):
    """Whole years at admission, both ends included."""

    least: int = 0
    most: int | None = None

    def describe(self) -> str:
        """Return the rule in plain words."""
        return f"{self.least} to {self.most} years old" if self.most is not None else f"{self.least} years or older"

    def condition(self) -> str:
        """Return an SQL condition over a candidate."""
        age = "date_sub('year', birth, admitted)"
        return f"{age} >= {self.least}" + (f" AND {age} <= {self.most}" if self.most is not None else "")


@dataclass(frozen=True)
class DischargedAlive(Rule):
    """The subject left the hospital alive."""

    def describe(self) -> str:
        """Return the rule in plain words."""
        return "discharged alive"

    def condition(self) -> str:
        """Return an SQL condition over a candidate."""
        return "NOT died"
