"""Who belongs to a study, seen from which moment, over which window; and how many each rule left."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from ehrsynth.data.events import EVENTS
from ehrsynth.data.faults import policies, settle
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError, TableError

StayChoice = Literal["last", "first", "any"]
Index = Literal["discharge", "admission"]
Expected = Mapping[str, tuple[Callable[[Any], bool], str]]  # whether a value is in range, and what is, in plain words


class Rule:
    """One condition on the candidates; subclasses are frozen dataclasses of their options.

    A candidate is a subject with one of the stays: ``candidate`` (its number), ``subject_id, stay_id, sex, birth,
    death, admitted, discharged, died, index_time``, ``first_admitted``, the subject's first admission of all, and
    ``stays_so_far``, how many the subject has had with this one. Its window is in the view ``windows``: the events with
    their ``candidate``.

    Attributes:
        words: the rule in plain words, with ``{option}`` where its options stand.
        sql: the condition over a candidate, in the same way.
        expected: of the options that can be out of range, by their names.
    """

    words: ClassVar[str]
    sql: ClassVar[str]
    expected: ClassVar[Expected] = {}

    def describe(self) -> str:
        """Return the rule in plain words, as the flow diagram shows it."""
        return self.words.format(**vars(self))

    def condition(self) -> str:
        """Return an SQL condition over a candidate."""
        return self.sql.format(**vars(self))

    def check(self) -> tuple[str, str] | None:
        """Return the option that is out of range and what was expected, if there is one."""
        for name, (fits, wanted) in self.expected.items():
            if not fits(getattr(self, name)):
                return name, wanted
        return None

    def options(self) -> dict[str, Any]:
        """Return class and options, for provenance."""
        return {"rule": type(self).__name__, **vars(self)}


@dataclass(frozen=True)
class FlowStep:
    """A box of the flow diagram.

    Attributes:
        what: was asked.
        subjects, stays: how many are left.
        faults: what was found in the data, by the name of the fault.
    """

    what: str
    subjects: int
    stays: int
    faults: dict[str, int] = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class Cohort:
    """The subjects of a study and the window of their events that the matrix may use.

    Stays are ordered by admission, and where admissions are alike or unknown by ``stay_id``.

    Attributes:
        stay: the index stay: the ``last`` or the ``first`` of a subject, to which the rules then apply, or ``any``: the
            last of those that keep every rule. A stay without the date of the index, such as that of a patient who is
            still in hospital, is none of them. None asks for no stay: subjects count as they are, over all events.
        rules: what every candidate must keep, in the order of the flow diagram; None leaves one out.
        index: the moment everything is seen from: ``discharge`` or ``admission`` of the index stay.
        window: ``history``, all events until the index; ``stay``, those of the index stay; or a number of days before
            the index.
        faults: what becomes of faults in the data, for all or by name (see ``ehrsynth.data.faults``): ``exclude``,
            ``refuse`` or ``keep``; None takes the usual of each.

    Raises:
        OptionError: an unknown choice, or an option of a rule is out of range.
    """

    stay: StayChoice | None = "last"
    rules: Mapping[str, Rule | None] | None = None
    index: Index = "discharge"
    window: str | int = "history"
    faults: str | Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        for name, known in (("stay", (*get_args(StayChoice), None)), ("index", get_args(Index))):
            if (value := getattr(self, name)) not in known:
                raise OptionError(f"cohort.{name}={value}: one of {', '.join(map(str, known))} was expected")
        window = self.window
        if window not in ("history", "stay") and (not isinstance(window, int) or window < 1):
            raise OptionError(f"cohort.window={window}: history, stay or a number of days above zero was expected")
        if (window, self.index) == ("stay", "admission"):
            raise OptionError("cohort.window=stay: nothing of a stay lies before cohort.index=admission; use history")
        for name, rule in self._rules.items():
            if (wrong := rule.check()) is not None:
                option, expected = wrong
                raise OptionError(f"cohort.rules.{name}.{option}={getattr(rule, option)}: {expected} was expected")
        self._policies = policies(self.faults)

    @property
    def _rules(self) -> dict[str, Rule]:
        return {name: rule for name, rule in (self.rules or {}).items() if rule is not None}

    def options(self) -> dict[str, Any]:
        """Return the options as plain data."""
        rules = {name: rule.options() for name, rule in self._rules.items()}
        plain = {"stay": self.stay, "rules": rules, "index": self.index, "window": self.window}
        return {**plain, "faults": self._policies}

    def choose(self, store: Store) -> list[FlowStep]:
        """Settle faults in the data, make the table ``cohort`` and the view ``history``, and return the flow.

        ``cohort``: ``row, subject_id, stay_id, sex, birth, death, admitted, discharged, index_time``, in the order of
        ``subject_id``; ``row`` counts from zero and is the row of the matrix. ``history``: the events of the window,
        with their ``row``.

        Raises:
            TableError: nobody is left, a fault is refused, or the window needs dates and there are none.
        """
        everybody = "people LEFT JOIN stays USING (subject_id)"
        flow = [FlowStep("subjects in the source", *_counts(store, everybody))]
        if found := settle(store, self._policies):
            flow.append(FlowStep("without faults in the data", *_counts(store, everybody), found))
        self._candidates(store)
        if self.stay:
            flow.append(FlowStep("with at least one stay", *_counts(store, "candidates")))
            flow += self._dated(store)
        if self.stay in ("last", "first"):
            self._one_stay(store)
            flow.append(FlowStep(f"the {self.stay} stay", *_counts(store, "candidates")))
        for rule in self._rules.values():
            store.table("candidates", f"SELECT * FROM candidates WHERE {rule.condition()}")
            flow.append(FlowStep(rule.describe(), *_counts(store, "candidates")))
        self._one_stay(store)
        if self.stay == "any":
            flow.append(FlowStep("the last of these stays", *_counts(store, "candidates")))
        if not flow[-1].subjects:
            empty = next(step for step in flow if not step.subjects)
            raise TableError(f"cohort: nobody is left after {empty.what!r}; see the counts with other cohort rules")
        store.table(
            "cohort",
            """SELECT row_number() OVER (ORDER BY subject_id) - 1 AS row, subject_id, stay_id, sex, birth, death,
            admitted, discharged, index_time FROM candidates ORDER BY subject_id""",
        )
        store.view(
            "history",
            f"SELECT c.row, c.index_time, e.* FROM {EVENTS} e JOIN cohort c ON e.subject_id = c.subject_id"
            f" WHERE {self._within()}",
        )
        return flow

    def _candidates(self, store: Store) -> None:
        moment = "discharged" if self.index == "discharge" else "admitted"
        store.table(
            "candidates",
            f"""SELECT row_number() OVER () AS candidate, subject_id, stay_id, sex, birth, death, admitted, discharged,
            died, {moment} AS index_time, min(admitted) OVER (PARTITION BY subject_id) AS first_admitted,
            row_number() OVER (PARTITION BY subject_id ORDER BY admitted, discharged, stay_id) AS stays_so_far
            FROM people {"JOIN" if self.stay else "LEFT JOIN"} stays USING (subject_id)""",
        )
        store.view(
            "windows",
            f"SELECT c.candidate, e.* FROM {EVENTS} e JOIN candidates c ON e.subject_id = c.subject_id"
            f" WHERE {self._within()}",
        )

    def _dated(self, store: Store) -> list[FlowStep]:
        """Leave out stays whose index has no date, unless the source has no dates at all."""
        undated, n = store.frame("SELECT count(*) - count(index_time), count(*) FROM candidates").iloc[0]
        if n and undated == n:
            if isinstance(self.window, int):
                raise TableError(f"cohort.window={self.window}: the source has no dates; history or stay was expected")
            return []
        if not undated:
            return []
        store.table("candidates", "SELECT * FROM candidates WHERE index_time IS NOT NULL")
        return [FlowStep(f"with a date of {self.index}", *_counts(store, "candidates"))]

    def _one_stay(self, store: Store) -> None:
        order = "" if self.stay == "first" else "DESC"
        by = ", ".join(f"{column} {order} NULLS LAST" for column in ("admitted", "discharged", "stay_id"))
        store.table(
            "candidates",
            f"SELECT * FROM candidates QUALIFY row_number() OVER (PARTITION BY subject_id ORDER BY {by}) = 1",
        )

    def _within(self) -> str:
        """Return the condition that keeps event ``e`` in the window of ``c``.

        Where the event or the index has no date, ``stay_id`` tells: what belongs to no stay is always in, what belongs
        to another stay only if that one is earlier, which without any date its ``stay_id`` says.
        """
        if self.stay is None:
            return "true"
        until = """CASE WHEN e.time IS NOT NULL AND c.index_time IS NOT NULL THEN e.time <= c.index_time
            ELSE e.stay_id IS NULL OR e.stay_id = c.stay_id OR (c.index_time IS NULL AND e.stay_id < c.stay_id) END"""
        if self.window == "history":
            return until
        if self.window == "stay":
            return f"""{until} AND coalesce(e.stay_id = c.stay_id, e.time >= c.admitted, true)"""
        return f"{until} AND (e.time IS NULL OR e.time >= c.index_time - INTERVAL {self.window} DAY)"


def _counts(store: Store, relation: str) -> tuple[int, int]:
    row = store.frame(f"SELECT count(DISTINCT subject_id) AS subjects, count(stay_id) AS stays FROM {relation}").iloc[0]
    return int(row["subjects"]), int(row["stays"])
