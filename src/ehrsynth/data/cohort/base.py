"""Who belongs to a study, seen from which moment, over which window; and how many each rule left."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from ehrsynth.data.cohort.candidates import of_stays, of_subjects
from ehrsynth.data.cohort.index import EndOfObservation, index_of
from ehrsynth.data.cohort.window import EVERYTHING, unused, visits_within, within
from ehrsynth.data.coverage import Coverage
from ehrsynth.data.events import EVENTS
from ehrsynth.data.faults import FAULTS, policies, settle
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError, TableError

StayChoice = Literal["last", "first", "any"]
Expected = Mapping[str, tuple[Callable[[Any], bool], str]]  # whether a value is in range, and what is, in plain words


class Rule:
    """One condition on the candidates; subclasses are frozen dataclasses of their options.

    A candidate is a subject with one of the stays: ``candidate`` (its number), ``subject_id, stay_id, sex, birth,
    death, admitted, discharged, died, index_time``, ``first_admitted``, the subject's first admission of all, and
    ``stays_so_far``, how many the subject has had with this one; ``aged_at``, when its age counts, and ``known_since``.
    These are the admission and the first admission, or in a cohort that asks for no stay the index and the first sign
    of the subject; ``died`` then is whether it is dead at the index. Its window is in the view ``windows``: the events
    with their ``candidate``.

    Attributes:
        words: the rule in plain words, with ``{option}`` where its options stand.
        without_stay: these words in a cohort that asks for no stay, if they are others.
        known: whom the condition can be told of, in plain words; of the others it is NULL. They are counted apart.
        sql: the condition over a candidate, in the same way as ``words``.
        expected: of the options that can be out of range, by their names.
    """

    words: ClassVar[str]
    without_stay: ClassVar[str] = ""
    known: ClassVar[str] = ""
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
            still in hospital, is none of them. None asks for no stay; the rules then apply to the subject.
        rules: what every candidate must keep, in the order of the flow diagram; None leaves one out. Of whom a rule
            cannot be told, for want of a date of birth for example, is left out and counted apart.
        index: the moment everything is seen from: ``discharge`` or ``admission`` of the index stay. Without a stay
            ``last_visit``, of any kind; ``end_of_observation``; a day as YYYY-MM-DD; or the first of some codes, as
            ``{first: [E11, "250"], domain: diagnosis, vocabulary: null}``. ``discharge`` without a stay leaves nothing
            out: subjects count as they are, over all events, and are as old as at the end of observation.
        window: ``history``, all events until the index; ``stay``, those of the index stay; or a number of days before
            the index.
        faults: what becomes of faults in the data, for all or by name (see ``ehrsynth.data.faults``): ``exclude``,
            ``refuse`` or ``keep``; None takes the usual of each.

    Raises:
        OptionError: an unknown choice, or an option of a rule is out of range.
    """

    stay: StayChoice | None = "last"
    rules: Mapping[str, Rule | None] | None = None
    index: str | Mapping[str, Any] = "discharge"
    window: str | int = "history"
    faults: str | Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        known = (*get_args(StayChoice), None)
        if self.stay not in known:
            raise OptionError(f"cohort.stay={self.stay}: one of {', '.join(map(str, known))} was expected")
        self._of_no_stay = index_of(self.index)
        self.index = dict(self.index) if isinstance(self.index, Mapping) else str(self.index)
        if self._of_no_stay is not None and self.stay is not None:
            raise OptionError(f"cohort.index={self.index}: it is none of a stay; add cohort.stay=null")
        if self.stay is None and (self.index == "admission" or self.window == "stay"):
            option = "index=admission" if self.index == "admission" else "window=stay"
            raise OptionError(f"cohort.{option}: cohort.stay=null asks for no stay; last, first or any was expected")
        window = self.window
        if window not in ("history", "stay") and (not isinstance(window, int) or window < 1):
            raise OptionError(f"cohort.window={window}: history, stay or a number of days above zero was expected")
        if (window, self.index) == ("stay", "admission"):
            raise OptionError("cohort.window=stay: nothing of a stay lies before cohort.index=admission; use history")
        for name, rule in self._rules.items():
            if (wrong := rule.check()) is not None:
                option, expected = wrong
                raise OptionError(f"cohort.rules.{name}.{option}={getattr(rule, option)}: {expected} was expected")
        every = policies(self.faults)
        self._policies = {fault.name: every.pop(fault.name) for fault in FAULTS}
        self.visit_faults = every  # what becomes of faults in visits: trajectories alone have them

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

        ``cohort``: ``row, subject_id, stay_id, sex, birth, death, admitted, discharged, index_time, seen_until``, in
        the order of ``subject_id``; ``row`` counts from zero and is the row of the matrix. ``seen_until`` is the index,
        or the end of its day if it has no clock; an admission without one is seen from the begin of its day.
        ``history``: the events of the window, with their ``row``.

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
        elif self._of_no_stay is not None:
            flow.append(FlowStep(self._of_no_stay.words(store), *_counts(store, "candidates")))
        if self.stay in ("last", "first"):
            self._one_stay(store)
            flow.append(FlowStep(f"the {self.stay} stay", *_counts(store, "candidates")))
        for rule in self._rules.values():
            flow += self._kept(store, rule)
        self._one_stay(store)
        if self.stay == "any":
            flow.append(FlowStep("the last of these stays", *_counts(store, "candidates")))
        if not flow[-1].subjects:
            empty = next(step for step in flow if not step.subjects)
            raise TableError(f"cohort: nobody is left after {empty.what!r}; see the counts with other cohort rules")
        store.table(
            "cohort",
            """SELECT row_number() OVER (ORDER BY subject_id) - 1 AS row, subject_id, stay_id, sex, birth, death,
            admitted, discharged, index_time, seen_until FROM candidates ORDER BY subject_id""",
        )
        store.view(
            "history",
            f"SELECT c.row, c.index_time, e.* FROM {EVENTS} e JOIN cohort c ON e.subject_id = c.subject_id"
            f" WHERE {self._window}",
        )
        return flow

    def unused(self, store: Store, domains: Collection[str]) -> list[Coverage]:
        """Return how many events of the cohort's subjects lie outside the window, by domain."""
        return [] if self._window == EVERYTHING else unused(store, domains, self._window)

    def _candidates(self, store: Store) -> None:
        if self.stay:
            candidates = of_stays(str(self.index))
        else:
            index = self._of_no_stay or EndOfObservation(every_event=False)
            candidates = of_subjects(store, index, undated=self._everything)
        store.table("candidates", f"SELECT row_number() OVER () AS candidate, * FROM ({candidates})")
        store.view(
            "windows",
            f"SELECT c.candidate, e.* FROM {EVENTS} e JOIN candidates c ON e.subject_id = c.subject_id"
            f" WHERE {self._window}",
        )

    @property
    def _everything(self) -> bool:
        """Whether subjects count as they are, dated or not."""
        return self.stay is None and self._of_no_stay is None

    @property
    def _window(self) -> str:
        return EVERYTHING if self._everything and self.window == "history" else within(self.window)

    @property
    def visits(self) -> str:
        """The condition that keeps visit ``v`` in the window of ``c``, a row of the cohort."""
        return EVERYTHING if self._window == EVERYTHING else visits_within(self.window)

    def _kept(self, store: Store, rule: Rule) -> list[FlowStep]:
        """Leave out whom a rule cannot be told of, and then who does not keep it."""
        store.table("candidates", f"SELECT *, CAST(({rule.condition()}) AS BOOLEAN) AS keeps FROM candidates")
        words = (rule.without_stay if self.stay is None else "") or rule.describe()
        steps = []
        if store.value("SELECT count(*) FROM candidates WHERE keeps IS NULL"):
            known = rule.known or f"of whom is known: {words}"
            steps.append(FlowStep(known, *_counts(store, "candidates WHERE keeps IS NOT NULL")))
        store.table("candidates", "SELECT * EXCLUDE (keeps) FROM candidates WHERE keeps")
        return [*steps, FlowStep(words, *_counts(store, "candidates"))]

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


def _counts(store: Store, relation: str) -> tuple[int, int]:
    row = store.frame(f"SELECT count(DISTINCT subject_id) AS subjects, count(stay_id) AS stays FROM {relation}").iloc[0]
    return int(row["subjects"]), int(row["stays"])
