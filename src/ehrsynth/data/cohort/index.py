"""The moment a subject is seen from, where it is none of a stay: a class for each choice of ``cohort.index``."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from ehrsynth.data.events import EVENTS, OBSERVED, OTHER_VISITS, VISITS, coded
from ehrsynth.data.store import Store, text
from ehrsynth.data.times import end_of, latest
from ehrsynth.errors import OptionError, TableError

OF_STAYS = ("discharge", "admission")
CHOICES = (
    "discharge or admission of a stay, last_visit, end_of_observation, a day as YYYY-MM-DD, or the first of some codes"
    " as {first: [E11, '250']}"
)
_OF_NOBODY = "(SELECT subject_id, NULL::TIMESTAMP AS started, NULL::TIMESTAMP AS ended FROM people WHERE false)"
_NO_EVENT = ("birth", "death")  # what is no sign that somebody was seen


class Index(ABC):
    """A way to date subjects; subclasses are dataclasses of their options."""

    @abstractmethod
    def words(self, store: Store) -> str:
        """Return who has such a date, as the flow diagram shows it."""

    @abstractmethod
    def moments(self, store: Store) -> str:
        """Return the query of ``subject_id, index_time``, of the subjects that can be dated.

        Raises:
            TableError: the source dates nothing that the index goes by.
        """


@dataclass(frozen=True)
class LastVisit(Index):
    """The end of the last visit of any kind; of a source that tells stays alone, of the last stay."""

    def words(self, store: Store) -> str:
        """Return who has such a date."""
        return "with a dated visit"

    def moments(self, store: Store) -> str:
        """Return the query of the moments."""
        query = f"SELECT subject_id, {latest('seen')} AS index_time FROM ({_visits(store)}) GROUP BY ALL"
        if not store.value(f"SELECT count(*) FROM ({query})"):
            raise TableError("cohort.index=last_visit: the source dates no visit; another index was expected")
        return query


@dataclass(frozen=True)
class EndOfObservation(Index):
    """The end of the last observation period; where the source tells none, the subject's last visit or event.

    Attributes:
        every_event: false looks at events only of subjects without a visit, which spares the rest of large tables.
    """

    every_event: bool = True

    def words(self, store: Store) -> str:
        """Return who has such a date."""
        return "with a known end of observation"

    def moments(self, store: Store) -> str:
        """Return the query of the moments."""
        store.table(
            "last_known",
            f"SELECT subject_id, {latest('ended')} AS seen FROM {_periods(store)} WHERE ended IS NOT NULL GROUP BY ALL",
        )
        visits, events = _visits(store), _events()
        for seen in (f"{visits} UNION ALL {events}",) if self.every_event else (visits, events):
            if store.value("SELECT count(*) FROM people ANTI JOIN last_known USING (subject_id)"):
                others = f"({seen}) ANTI JOIN last_known USING (subject_id)"
                store.append("last_known", f"SELECT subject_id, {latest('seen')} FROM {others} GROUP BY ALL")
        if self.every_event and not store.value("SELECT count(*) FROM last_known"):
            raise TableError("cohort.index=end_of_observation: the source has no dates; another index was expected")
        return "SELECT subject_id, seen AS index_time FROM last_known"


@dataclass(frozen=True)
class OnDay(Index):
    """A day of the calendar, of those who were under observation, or where the source does not tell, seen by then.

    Attributes:
        day: as YYYY-MM-DD.
    """

    day: str

    def words(self, store: Store) -> str:
        """Return who has such a date."""
        return f"{'under observation on' if _has_periods(store) else 'seen by'} {self.day}"

    def moments(self, store: Store) -> str:
        """Return the query of the moments."""
        at, seen = f"TIMESTAMP {text(self.day)}", _first_signs(store)
        if _has_periods(store):
            last = end_of("ended")
            seen = f"SELECT subject_id, started AS seen FROM {OBSERVED} WHERE coalesce({last} >= {at}, true)"
        return f"SELECT DISTINCT subject_id, {at} AS index_time FROM ({seen}) WHERE seen <= {end_of(at)}"


@dataclass(frozen=True)
class FirstCode(Index):
    """The first event with one of some codes.

    Attributes:
        first: beginnings of codes, such as ``E11``; dots and case do not matter.
        domain: of the events.
        vocabulary: of the codes, such as ``ICD10CM``; None takes any.
    """

    first: tuple[str, ...]
    domain: str = "diagnosis"
    vocabulary: str | None = None

    def words(self, store: Store) -> str:
        """Return who has such a date."""
        return f"with a dated {self.domain} {', '.join(self.first)}"

    def moments(self, store: Store) -> str:
        """Return the query of the moments."""
        meant = f"domain = {text(self.domain)} AND {coded(self.first, self.vocabulary)} AND time IS NOT NULL"
        return f"SELECT subject_id, min(time) AS index_time FROM {EVENTS} WHERE {meant} GROUP BY ALL"


def index_of(value: Any) -> Index | None:
    """Return what ``cohort.index`` names; None for a moment of a stay.

    Raises:
        OptionError: it names nothing.
    """
    if value in OF_STAYS:
        return None
    plain = {"last_visit": LastVisit(), "end_of_observation": EndOfObservation()}
    if isinstance(value, str) and value in plain:
        return plain[value]
    if isinstance(value, Mapping):
        return _first_code(value)
    try:
        return OnDay(date.fromisoformat(str(value)).isoformat())
    except ValueError:
        raise OptionError(f"cohort.index={value}: {CHOICES} was expected") from None


def first_seen(store: Store) -> str:
    """Return the query of ``subject_id, first_seen``."""
    return f"SELECT subject_id, min(seen) AS first_seen FROM ({_first_signs(store)}) GROUP BY ALL"


def _first_code(value: Mapping[str, Any]) -> FirstCode:
    codes, domain, vocabulary = value.get("first"), value.get("domain", "diagnosis"), value.get("vocabulary")
    codes = [codes] if isinstance(codes, str) else codes
    fits = isinstance(codes, list | tuple) and codes and all(isinstance(code, str) and code for code in codes)
    known = not set(value) - {"first", "domain", "vocabulary"}
    if not (fits and known and isinstance(domain, str) and isinstance(vocabulary, str | None)):
        wanted = "{first: [beginnings of codes, in quotes], domain: diagnosis, vocabulary: null}"
        raise OptionError(f"cohort.index={dict(value)}: {wanted} was expected")
    assert codes is not None
    return FirstCode(tuple(codes), domain, vocabulary)


def _first_signs(store: Store) -> str:
    """Return the query of begins of observation and of visits, or if the source tells neither of all events."""
    seen = f"SELECT subject_id, started AS seen FROM {_periods(store)} UNION ALL {_visits(store, 'started')}"
    return seen if store.value(f"SELECT count(*) FROM ({seen})") else _events()


def _periods(store: Store) -> str:
    return OBSERVED if store.has(OBSERVED) else _OF_NOBODY


def _has_periods(store: Store) -> bool:
    return bool(store.value(f"SELECT count(*) FROM {_periods(store)}"))


def _visits(store: Store, moment: str = "coalesce(ended, started)") -> str:
    stays = "(SELECT subject_id, admitted AS started, discharged AS ended FROM stays)"
    others = f"(SELECT subject_id, started, ended FROM {OTHER_VISITS})"
    visits = VISITS if store.has(VISITS) else f"(FROM {stays} UNION ALL FROM {others})"
    return f"SELECT subject_id, {moment} AS seen FROM {visits} WHERE {moment} IS NOT NULL"


def _events() -> str:
    others = ", ".join(map(text, _NO_EVENT))
    return f"SELECT subject_id, time AS seen FROM {EVENTS} WHERE domain NOT IN ({others}) AND time IS NOT NULL"
