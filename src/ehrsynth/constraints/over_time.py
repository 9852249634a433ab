"""Rules over time: what may not come before something else in the visits of a patient.

They are judged by the starts of visits, so what happens in one visit, or on one day, breaks none. They stand beside
the rules of rows, in ``constraints.json`` and in ``constraints.yaml``, in a list ``over_time``.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ehrsynth.constraints.base import Say
from ehrsynth.errors import SchemaError
from ehrsynth.files import read_object
from ehrsynth.visits import DAY, UNKNOWN, Visits, VisitSchema

Which = NDArray[np.bool_]
Times = NDArray[np.int64]
NEVER = np.iinfo(np.int64).max


class RuleOverTime(ABC):
    """A rule over the visits of a patient; its fields stand in the file.

    Attributes:
        rule: name of the kind of rule in the file.
    """

    rule: ClassVar[str]

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the codes that the rule is about."""

    @abstractmethod
    def judged(self, starts: Mapping[str, Times], visits: Visits) -> tuple[Which, Which]:
        """Return which patients could break the rule, bool [n], and which do.

        Args:
            starts: by code when the first visit with it starts, [n]; ``NEVER`` if none has it.
            visits: of the patients.
        """

    @abstractmethod
    def too_early(self, starts: Mapping[str, Times]) -> tuple[str, Times] | None:
        """Return which code may not be in visits that start before which time, [n]; None if that mends nothing."""

    @abstractmethod
    def describe(self, say: Say = str) -> str:
        """Return the rule in plain words; ``say`` gives those of a code."""

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the file."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {"rule": self.rule, **{k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}}


@dataclass(frozen=True)
class NothingAfterDeath(RuleOverTime):
    """No visit starts a day or more after death; many sources write down the day alone."""

    rule = "nothing_after_death"

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return ()

    @override
    def judged(self, starts: Mapping[str, Times], visits: Visits) -> tuple[Which, Which]:
        dead = (visits.died != UNKNOWN) & (visits.per_patient > 0)
        late = np.zeros(len(visits), bool)
        late[dead] = visits.starts[visits.offsets[1:][dead] - 1] - DAY >= visits.died[dead]
        return dead, late

    @override
    def too_early(self, starts: Mapping[str, Times]) -> None:
        return None

    @override
    def describe(self, say: Say = str) -> str:
        return "nothing after death"


@dataclass(frozen=True)
class NeverBefore(RuleOverTime):
    """Who has both codes never has ``code`` in a visit before the first with ``first``: a complication and its disease.

    Attributes:
        code: that comes later.
        first: that comes earlier, or at the same time.
    """

    rule = "never_before"
    code: str
    first: str

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return self.code, self.first

    @override
    def judged(self, starts: Mapping[str, Times], visits: Visits) -> tuple[Which, Which]:
        later, earlier = starts[self.code], starts[self.first]
        both = (later != NEVER) & (earlier != NEVER)
        return both, both & (later < earlier)

    @override
    def too_early(self, starts: Mapping[str, Times]) -> tuple[str, Times]:
        earlier = starts[self.first]
        return self.code, np.where(earlier == NEVER, UNKNOWN, earlier)

    @override
    def describe(self, say: Say = str) -> str:
        return f"{say(self.code)} never before {say(self.first)}, in whom has both"


@dataclass(frozen=True)
class OnlyAfter(RuleOverTime):
    """``code`` is only in a visit at or after one that has any of ``after``: a drug and what it is given for.

    Attributes:
        code: such as a medication.
        after: codes, such as diagnoses; one of them is enough.
    """

    rule = "only_after"
    code: str
    after: tuple[str, ...]

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return self.code, *self.after

    @override
    def judged(self, starts: Mapping[str, Times], visits: Visits) -> tuple[Which, Which]:
        has = starts[self.code] != NEVER
        return has, has & (starts[self.code] < self._since(starts))

    @override
    def too_early(self, starts: Mapping[str, Times]) -> tuple[str, Times]:
        return self.code, self._since(starts)

    def _since(self, starts: Mapping[str, Times]) -> Times:
        found: Times = np.minimum.reduce([starts[name] for name in self.after])
        return found

    @override
    def describe(self, say: Say = str) -> str:
        return f"{say(self.code)} only at or after {' or '.join(map(say, self.after))}"


KINDS: dict[str, type[RuleOverTime]] = {kind.rule: kind for kind in (NothingAfterDeath, NeverBefore, OnlyAfter)}


def from_dict(content: Any) -> RuleOverTime:
    """Read one entry of a list ``over_time``.

    Raises:
        SchemaError: no rule or an unknown one, a key that is missing or unknown, or a value that does not fit.
    """
    named = content.get("rule") if isinstance(content, Mapping) else None
    kind = KINDS.get(named) if isinstance(named, str) else None
    if kind is None:
        shown = repr(named) if isinstance(named, str) else f"a {type(content).__name__} without one"
        raise SchemaError(f"rule: {shown} found, one of {', '.join(KINDS)} was expected")
    keys = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    given = {key: value for key, value in content.items() if key != "rule"}
    if set(given) != set(keys):
        listed = ", ".join(map(str, given)) or "none"
        raise SchemaError(f"rule {kind.rule}: keys {listed} found, {', '.join(keys) or 'none'} expected")
    for key, value in given.items():
        if key == "after":
            fits = isinstance(value, list) and len(value) > 0 and all(isinstance(name, str) for name in value)
        else:
            fits = isinstance(value, str)
        if not fits:
            raise SchemaError(f"rule {kind.rule}: {key}: {'a list of codes' if key == 'after' else 'a code'} expected")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})


def read_over_time(entries: Sequence[Any], schema: VisitSchema, place: str) -> tuple[RuleOverTime, ...]:
    """Read a list ``over_time`` of the file ``place``.

    Raises:
        SchemaError: an entry is malformed, or names a code that visits do not have.
    """
    names, rules = {code.name for code in schema.codes}, list[RuleOverTime]()
    for number, entry in enumerate(entries, 1):
        try:
            rule = from_dict(entry)
            for name in rule.names:
                if name not in names:
                    raise SchemaError(f"{rule.describe()!r}: the visits have no code {name!r}")
        except SchemaError as error:
            raise SchemaError(f"{place}: over_time {number}: {error}") from None
        rules.append(rule)
    return tuple(rules)


def load_over_time(path: Path, schema: VisitSchema) -> tuple[RuleOverTime, ...]:
    """Read the rules over time of ``constraints.json``, which of rows and of older versions has none.

    Raises:
        FileError: missing, or not JSON.
        SchemaError: a rule is malformed, or names a code that visits do not have.
    """
    entries = read_object(path).get("over_time", [])
    if not isinstance(entries, list):
        raise SchemaError(f"{path}: over_time: a list of rules was expected")
    return read_over_time(entries, schema, str(path))


class RulesOverTime:
    """Rules compiled once for visits of a schema: the sampler and the score ask the same object.

    Args:
        rules: any number of them.
        schema: of the visits.
    """

    def __init__(self, rules: Iterable[RuleOverTime], schema: VisitSchema) -> None:
        self.rules, self.schema = tuple(rules), schema
        places = {code.name: place for place, code in enumerate(schema.codes)}
        self.places = {name: places[name] for rule in self.rules for name in rule.names}

    def __len__(self) -> int:
        return len(self.rules)

    def judged(self, visits: Visits) -> tuple[Which, Which]:
        """Return which patients could break each rule, bool [n, r], and which do."""
        starts = self._starts(visits)
        found = [rule.judged(starts, visits) for rule in self.rules]
        none = np.zeros((len(visits), 0), bool)
        could, does = (np.stack(part, axis=1) for part in zip(*found, strict=True)) if found else (none, none)
        return could, does

    def broken(self, visits: Visits) -> Which:
        """Return which patients break a rule, bool [n]."""
        return np.asarray(self.judged(visits)[1].any(1))

    def repaired(self, visits: Visits) -> tuple[Visits, Times]:
        """Return visits that keep the rules, and how many codes and dates [n] of each patient were changed.

        A code that comes too early is left out of the visits where it does, as often as that makes another one too
        early; there is then always a record that keeps the rules. Of one who is seen after death the death is moved to
        the last visit.
        """
        changed = np.zeros(len(visits), np.int64)
        while True:
            starts, out = self._starts(visits), np.zeros(len(visits.codes), bool)
            when = visits.starts[visits.visit_of_code]
            for rule in self.rules:
                if (found := rule.too_early(starts)) is not None:
                    name, since = found
                    mine = np.flatnonzero(visits.codes == self.places[name])
                    out[mine[when[mine] < since[visits.patient[visits.visit_of_code[mine]]]]] = True
            if not out.any():
                break
            np.add.at(changed, visits.patient[visits.visit_of_code[out]], 1)
            visits = without_codes(visits, out)
        if any(isinstance(rule, NothingAfterDeath) for rule in self.rules):
            _, late = NothingAfterDeath().judged({}, visits)
            died = visits.died.copy()
            died[late] = visits.starts[visits.offsets[1:][late] - 1]
            visits, changed = with_parts(visits, died=died), changed + late
        return visits, changed

    def describe(self) -> list[str]:
        """Return each rule in plain words, a code by its name where others have its label too."""
        times = Counter(code.label for code in self.schema.codes)
        words = {
            code.name: code.label if times[code.label] == 1 and code.label else code.name for code in self.schema.codes
        }
        return [rule.describe(lambda name: words[name]) for rule in self.rules]

    def _starts(self, visits: Visits) -> dict[str, Times]:
        """Return by code when the first visit of each patient with it starts."""
        number = np.full(len(self.schema.codes), -1)
        number[list(self.places.values())] = np.arange(len(self.places))
        mine = np.flatnonzero(number[visits.codes] >= 0)
        visit = visits.visit_of_code[mine]
        found = np.full((len(self.places), len(visits)), NEVER)
        np.minimum.at(found, (number[visits.codes[mine]], visits.patient[visit]), visits.starts[visit])
        return dict(zip(self.places, found, strict=True))


def without_codes(visits: Visits, out: Which) -> Visits:
    """Return the same visits without some of their codes, bool [C]."""
    counts = np.bincount(visits.visit_of_code[~out], minlength=visits.count)
    offsets = np.concatenate([np.zeros(1, np.int64), counts.cumsum()])
    return with_parts(visits, codes=visits.codes[~out], code_offsets=offsets)


def with_parts(visits: Visits, **parts: Any) -> Visits:
    """Return the same visits with other arrays in the place of some."""
    return Visits(**{name: getattr(visits, name) for name in Visits.__dataclass_fields__} | parts)
