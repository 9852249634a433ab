"""What utility models predict: it happens after the index time, so it never comes from the window."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from ehrsynth.data.events import EVENTS, coded
from ehrsynth.data.features.base import Collected, ColumnSpec, Feature
from ehrsynth.data.store import Store, text
from ehrsynth.data.times import days_between, end_of
from ehrsynth.errors import expect


@dataclass(kw_only=True, eq=False)
class Outcome(Feature):
    """A column of 0 and 1 with the role of an outcome.

    Attributes:
        days: how far to look after the index.
        name, label: of the column.

    Raises:
        OptionError: ``days`` is no number above zero.
    """

    days: float
    name: str
    label: str

    def __post_init__(self) -> None:
        fits = isinstance(self.days, int | float) and self.days > 0
        expect(fits, f"feature {self.name}: days", self.days, "a number above zero")

    @abstractmethod
    def condition(self) -> str:
        """Return the SQL condition over a row ``c`` of the cohort; unknown counts as 0."""

    def collect(self, store: Store) -> Collected:
        """Return 1 for those whom it happened to, else 0."""
        cell = f"CAST(coalesce({self.condition()}, false) AS TINYINT)"
        spec = ColumnSpec("binary", "outcome", "outcome", self.label)
        return Collected.column_of(store, self.name, spec, cell, "cohort c")


@dataclass(kw_only=True, eq=False)
class Death(Outcome):
    """Death within some days after the index time."""

    days: float = 365
    name: str = "died_within_year"
    label: str = "Died within a year"

    def condition(self) -> str:
        """Return the SQL condition: days are counted by the calendar, since most providers date deaths by the day."""
        return f"date_diff('day', c.index_time, c.death) <= {self.days}"


@dataclass(kw_only=True, eq=False)
class Readmission(Outcome):
    """Another admission within some days after the discharge of the index stay.

    A transfer in the same minute is none.
    """

    days: float = 30
    name: str = "readmitted"
    label: str = "Readmitted within 30 days"

    def condition(self) -> str:
        """Return the SQL condition."""
        return f"""EXISTS (SELECT 1 FROM stays s WHERE s.subject_id = c.subject_id AND s.stay_id <> c.stay_id
            AND date_trunc('minute', s.admitted) > {end_of("date_trunc('minute', c.discharged)")}
            AND s.admitted <= {end_of("c.discharged")} + INTERVAL {int(self.days)} DAY)"""


@dataclass(kw_only=True, eq=False)
class HasCode(Outcome):
    """One of these codes after the index time; with ``cohort.index=admission`` that begins in the index stay.

    Attributes:
        prefixes: beginnings of codes, such as ``I21``; dots and case do not matter.
        domain: of the events.
        vocabulary: of the codes, such as ``ICD10CM``; None takes any.
        days: None looks to the end of the data.
    """

    days: float | None = None  # type: ignore[assignment]
    prefixes: Sequence[str]
    label: str = ""
    domain: str = "diagnosis"
    vocabulary: str | None = None

    def __post_init__(self) -> None:
        fits = bool(self.prefixes) and all(isinstance(prefix, str) and prefix for prefix in self.prefixes)
        expect(fits, f"feature {self.name}: prefixes", self.prefixes, "a list of beginnings of codes")
        self.prefixes = list(self.prefixes)
        self.label = self.label or self.name.replace("_", " ").capitalize()
        if self.days is not None:
            super().__post_init__()

    def condition(self) -> str:
        """Return the SQL condition."""
        until = "" if self.days is None else f" AND e.time <= k.seen_until + INTERVAL {int(self.days)} DAY"
        return f"""c.row IN (SELECT k.row FROM {EVENTS} e JOIN cohort k ON e.subject_id = k.subject_id
            WHERE e.domain = {text(self.domain)} AND e.time > k.seen_until{until}
            AND {coded(self.prefixes, self.vocabulary)})"""


@dataclass(kw_only=True, eq=False)
class LongStay(Outcome):
    """The index stay takes longer than some days.

    Seen from its discharge this is no prediction: leave out features that tell the length of the stay, such as
    ``Days``, or use ``cohort.index=admission``.

    Attributes:
        days: what is still short.
    """

    days: float = 7
    name: str = "long_stay"
    label: str = "Stay of more than 7 days"

    def condition(self) -> str:
        """Return the SQL condition."""
        return f"({days_between('c.admitted', 'c.discharged')}) > {self.days}"
