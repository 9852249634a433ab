"""Who belongs to a study, seen from which moment, over which window; and how many each rule left."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ehrsynth.data.events import EVENTS
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError, TableError

StayChoice = Literal["last", "first", "any"]
Index = Literal["discharge", "admission"]


class Rule(ABC):
    """One condition on the candidates.

    A candidate is a subject with one of the stays: ``subject_id, stay_id, sex, birth, death, admitted, discharged,
    died`` and ``first_admitted``, the subject's first admission of all.
    """

    @abstractmethod
    def describe(self) -> str:
        """Return the rule in plain words, as the flow diagram shows it."""

    @abstractmethod
    def condition(self) -> str:
        """Return an SQL condition over a candidate."""

    def options(self) -> dict[str, Any]:
        """Return class and options, for provenance."""
        return {"rule": type(self).__name__, **vars(self)}


@dataclass(frozen=True)
class FlowStep:
    """A box of the flow diagram: what was asked, and how many subjects and stays are left."""

    what: str
    subjects: int
    stays: int


class Cohort:
    """The subjects of a study and the window of their events that the matrix may use.

    Args:
        stay: the index stay: the ``last`` or the ``first`` of a subject, to which the rules then apply, or ``any``: the
            last of those that keep every rule. None asks for no stay: subjects count as they are, over all their events.
        rules: what every candidate must keep, in the order of the flow diagram; None leaves one out.
        index: the moment everything is seen from: ``discharge`` or ``admission`` of the index stay.
        window: ``history``, all events until the index; ``stay``, those of the index stay; or a number of days before
            the index.

    Raises:
        OptionError: an unknown choice.
    """

    def __init__(
        self,
        *,
        stay: StayChoice | None = "last",
        rules: Mapping[str, Rule | None] | None = None,
        index: Index = "discharge",
        window: str | int = "history",
    ) -> None:
        for name, value, known in (("stay", stay, (*get_args(StayChoice), None)), ("index", index, get_args(Index))):
            if value not in known:
                raise OptionError(f"cohort.{name}={value}: one of {', '.join(map(str, known))} was expected")
        if window not in ("history", "stay") and (not isinstance(window, int) or window < 1):
            raise OptionError(f"cohort.window={window}: history, stay or a number of days above zero was expected")
        self.stay = stay
        self.rules = {name: rule for name, rule in (rules or {}).items() if rule is not None}
        self.index = index
        self.window = window

    def options(self) -> dict[str, Any]:
        """Return the options as plain data."""
        rules = {name: rule.options() for name, rule in self.rules.items()}
        return {"stay": self.stay, "rules": rules, "index": self.index, "window": self.window}

    def choose(self, store: Store) -> list[FlowStep]:
        """Make the table ``cohort`` and the view ``history``, and return the flow.

        ``cohort``: ``row, subject_id, stay_id, sex, birth, death, admitted, discharged, index_time``, in the order of
        ``subject_id``; ``row`` counts from zero and is the row of the matrix. ``history``: the events of the window,
        with their ``row``.

        Raises:
            TableError: nobody is left.
        """
        join = "JOIN" if self.stay else "LEFT JOIN"
        flow = [FlowStep("subjects in the source", *_counts(store, "people LEFT JOIN stays USING (subject_id)"))]
        store.table(
            "candidates",
            f"""SELECT *, min(admitted) OVER (PARTITION BY subject_id) AS first_admitted
            FROM people {join} stays USING (subject_id)""",
        )
        if self.stay:
            flow.append(FlowStep("with at least one stay", *_counts(store, "candidates")))
        if self.stay in ("last", "first"):
            self._one_stay(store)
            flow.append(FlowStep(f"the {self.stay} stay", *_counts(store, "candidates")))
        for rule in self.rules.values():
            store.table("candidates", f"SELECT * FROM candidates WHERE {rule.condition()}")
            flow.append(FlowStep(rule.describe(), *_counts(store, "candidates")))
        self._one_stay(store)
        if self.stay == "any":
            flow.append(FlowStep("the last of these stays", *_counts(store, "candidates")))
        if not flow[-1].subjects:
            empty = next(step for step in flow if not step.subjects)
            raise TableError(f"cohort: nobody is left after {empty.what!r}; see the counts with other cohort rules")
        moment = "discharged" if self.index == "discharge" else "admitted"
        store.table(
            "cohort",
            f"""SELECT row_number() OVER (ORDER BY subject_id) - 1 AS row, subject_id, stay_id, sex, birth, death,
            admitted, discharged, {moment} AS index_time FROM candidates ORDER BY subject_id""",
        )
        store.view(
            "history",
            f"SELECT c.row, c.index_time, e.* FROM {EVENTS} e JOIN cohort c ON e.subject_id = c.subject_id"
            f" WHERE {self._within()}",
        )
        return flow

    def _one_stay(self, store: Store) -> None:
        order = "discharged" if self.stay == "first" else "discharged DESC NULLS LAST"
        store.table(
            "candidates",
            f"SELECT * FROM candidates QUALIFY row_number() OVER (PARTITION BY subject_id ORDER BY {order}, stay_id) = 1",
        )

    def _within(self) -> str:
        """Return the condition that keeps event ``e`` in the window of ``c``; what has no date is always in it."""
        if self.stay is None:
            return "true"
        if self.window == "stay":
            return "e.stay_id = c.stay_id OR (e.stay_id IS NULL AND (e.time IS NULL OR e.time BETWEEN c.admitted AND c.discharged))"
        until = "e.time IS NULL OR e.time <= c.index_time"
        return until if self.window == "history" else f"{until} AND e.time >= c.index_time - INTERVAL {self.window} DAY"


def _counts(store: Store, relation: str) -> tuple[int, int]:
    row = store.frame(f"SELECT count(DISTINCT subject_id) AS subjects, count(stay_id) AS stays FROM {relation}").iloc[0]
    return int(row["subjects"]), int(row["stays"])
