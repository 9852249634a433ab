"""The rules a cohort can be made of, each a small object with its own words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from ehrsynth.data.cohort.base import Expected, Rule
from ehrsynth.data.events import EVENTS, coded
from ehrsynth.data.store import text
from ehrsynth.data.times import days_between, end_of


def _is_number(value: object) -> bool:
    """Return whether ``value`` is a number, 0 or more."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _are_words(values: object) -> bool:
    """Return whether ``values`` is a list of at least one word."""
    return (
        isinstance(values, Sequence)
        and not isinstance(values, str)
        and bool(values)
        and all(isinstance(value, str) and value for value in values)
    )


def _is_end(value: object) -> bool:
    """Return whether ``value`` is a day as YYYY-MM-DD, or None for an open end."""
    try:
        return value is None or bool(date.fromisoformat(str(value)))
    except ValueError:
        return False


DAYS = (_is_number, "a number of days, 0 or more,")
END = (_is_end, "null or a day as YYYY-MM-DD")


@dataclass(frozen=True)
class Within(Rule):
    """A number lies between ``least`` and ``most``, both included; None leaves the upper end open.

    Attributes:
        number: of a candidate, in SQL.
        unit: of the number.
        up_to: what ``words`` are with an upper end.
    """

    number: ClassVar[str]
    unit: ClassVar[str]
    up_to: ClassVar[str]

    least: float = 0
    most: float | None = None

    def check(self) -> tuple[str, str] | None:
        """Return the option that is out of range."""
        if not _is_number(self.least):
            return "least", f"a number of {self.unit}, 0 or more,"
        if self.most is not None and not (_is_number(self.most) and self.most >= self.least):
            return "most", f"null or a number of {self.unit} from {self.least}"
        return None

    def describe(self) -> str:
        """Return the rule in plain words."""
        return super().describe() if self.most is None else self.up_to.format(**vars(self))

    def condition(self) -> str:
        """Return an SQL condition over a candidate."""
        from_least = f"{self.number} >= {self.least}"
        return from_least if self.most is None else f"{from_least} AND {self.number} <= {self.most}"


class Age(Within):
    """Whole years at admission, or at the index where the cohort asks for no stay; both ends included."""

    number, unit = "date_sub('year', birth::DATE, aged_at::DATE)", "years"
    known = "of known age"
    words, up_to = "{least} years or older", "{least} to {most} years old"


class StayLength(Within):
    """Days from admission to discharge, both ends included."""

    number, unit = f"({days_between('admitted', 'discharged')})", "days"
    known = "with a stay of known length"
    words, up_to = "a stay of {least} days or more", "{least} to {most} days"


@dataclass(frozen=True)
class AtLeastStays(Rule):
    """The index stay is the subject's ``n``-th or a later one."""

    words = "at least {n} stays by then"
    sql = "stays_so_far >= {n}"
    expected: ClassVar[Expected] = {"n": (lambda n: isinstance(n, int) and n >= 1, "a whole number above zero")}

    n: int


@dataclass(frozen=True)
class DischargedAlive(Rule):
    """The subject left the hospital alive, or is alive at the index where the cohort asks for no stay."""

    words, without_stay = "discharged alive", "alive at the index"
    sql = "NOT died"


@dataclass(frozen=True)
class MinimumHistory(Rule):
    """So many days lie between the subject's first admission and the index.

    Where the cohort asks for no stay, they begin with observation, or with the first visit of any kind.
    """

    words = "known for at least {days} days"
    known = "of whom is known since when"
    sql = f"({days_between('known_since', 'index_time')}) >= {{days}}"
    expected: ClassVar[Expected] = {"days": DAYS}

    days: float


@dataclass(frozen=True)
class FollowUp(Rule):
    """The data reach so many days beyond the index, so that an outcome in that time would be known.

    Only for sources with a common calendar: MIMIC shifts the dates of each patient, so its data have no common end.

    Attributes:
        days: as far as the outcome looks.
        until: the day the data end, as YYYY-MM-DD; None takes the last admission, discharge or death of the source.
    """

    words = "followed for at least {days} days"
    known = "with a date to follow from"
    expected: ClassVar[Expected] = {"days": DAYS, "until": (_is_end, "a day as YYYY-MM-DD")}

    days: float
    until: str | None = None

    def condition(self) -> str:
        """Return an SQL condition over a candidate."""
        last = "SELECT greatest(max(admitted), max(discharged), (SELECT max(death) FROM people)) FROM stays"
        end = f"({last})" if self.until is None else f"TIMESTAMP {text(self.until)}"
        return f"(epoch({end_of(end)}) - epoch(index_time)) / 86400 >= {self.days}"


@dataclass(frozen=True)
class HasCode(Rule):
    """The subject has one of these codes in the window.

    Attributes:
        prefixes: beginnings of codes, such as ``I21``; dots and case do not matter.
        domain: of the events.
        vocabulary: of the codes, such as ``ICD10CM``; None takes any.
        label: of the codes, for the flow diagram; empty lists the beginnings.
    """

    words = "with"
    expected: ClassVar[Expected] = {"prefixes": (_are_words, "a list of beginnings of codes, in quotes,")}

    prefixes: Sequence[str]
    domain: str = "diagnosis"
    vocabulary: str | None = None
    label: str = ""

    def describe(self) -> str:
        """Return the rule in plain words."""
        return f"{self.words} {self.label or ' '.join([self.domain, ', '.join(self.prefixes)])}"

    def condition(self) -> str:
        """Return an SQL condition over a candidate."""
        meant = coded(self.prefixes, self.vocabulary)
        return f"candidate IN (SELECT candidate FROM windows WHERE domain = {text(self.domain)} AND {meant})"


class HasNoCode(HasCode):
    """The subject has none of these codes in the window."""

    words = "without"

    def condition(self) -> str:
        """Return an SQL condition over a candidate."""
        return f"NOT {super().condition()}"


@dataclass(frozen=True)
class Between(Rule):
    """The index lies between two days, as YYYY-MM-DD, both included; None leaves an end open."""

    known = "with a known date of the index"
    expected: ClassVar[Expected] = {"first": END, "last": END}

    first: str | None = None
    last: str | None = None

    def describe(self) -> str:
        """Return the rule in plain words."""
        return " ".join(f"{word} {day}" for word, day in (("from", self.first), ("to", self.last)) if day) or "any time"

    def condition(self) -> str:
        """Return an SQL condition over a candidate."""
        ends = (("index_time::DATE >=", self.first), ("index_time::DATE <=", self.last))
        return " AND ".join(f"{test} DATE {text(day)}" for test, day in ends if day) or "true"


@dataclass(frozen=True)
class AdmissionKind(Rule):
    """The admission is of one of these kinds: beginnings of the provider's words, such as ``EMER``, in any case."""

    known = "with an admission of known kind"
    expected: ClassVar[Expected] = {"codes": (_are_words, "a list of beginnings of the provider's words")}

    codes: Sequence[str]

    def describe(self) -> str:
        """Return the rule in plain words."""
        return f"admission {' or '.join(self.codes)}"

    def condition(self) -> str:
        """Return an SQL condition over a candidate."""
        kinds = f"SELECT subject_id, stay_id FROM {EVENTS} WHERE domain = 'admission' AND code IS NOT NULL"
        return f"""CASE WHEN coalesce((subject_id, stay_id) IN ({kinds}), false)
            THEN (subject_id, stay_id) IN ({kinds} AND {coded(self.codes)}) END"""
