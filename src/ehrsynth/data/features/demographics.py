"""Who the patient is: age, and whatever else the provider writes once or now and then."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ehrsynth.data.coverage import Coverage
from ehrsynth.data.features.base import TRAINING, Collected, ColumnSpec, Feature
from ehrsynth.data.store import Store, text
from ehrsynth.disclosure import LEAST
from ehrsynth.errors import expect
from ehrsynth.schema import Role
from ehrsynth.words import quoted

OTHERWISE = "otherwise"
MOST_WORDS = 8  # that a message names


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

    Where most training rows have words that mean none of the levels, the provider speaks of something else: its own
    words are then the levels, and preprocessing makes rare ones ``other``.

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
        level = f"coalesce({self._level('word')}, {text(self._otherwise)})" if self._otherwise else self._level("word")
        return self._column(store, level if self.levels else "word", tuple(self.levels or ()))

    def reconsidered(self, store: Store) -> tuple[Collected | None, Sequence[Coverage]]:
        """Return the provider's own words if most training rows have words that no level begins with."""
        if not self.levels:
            return None, ()
        strange = f"{self._level('word')} IS NULL"
        if self._otherwise:  # a word of that name is none
            strange += f" AND NOT starts_with(upper(word), {text(self._otherwise.upper())})"
        rows, lost = store.frame(f"SELECT count(*), count(*) FILTER ({strange}) FROM {self._words}").iloc[0].map(int)
        if not lost:
            return None, ()
        seen = f"{self._words} SEMI JOIN {TRAINING} USING (row)"
        words = store.frame(
            f"""SELECT word, {strange} AS strange, count(*) AS n FROM {seen} GROUP BY ALL ORDER BY n DESC, word"""
        )
        frequent = words.loc[words["strange"] & (words["n"] >= LEAST), "word"].to_list()
        own = bool(frequent) and 2 * words.loc[words["strange"], "n"].sum() > words["n"].sum()
        became = "are levels" if own else f"became {self._otherwise!r}" if self._otherwise else "became missing"
        named = f", such as {', '.join(map(repr, frequent[:MOST_WORDS]))}" if frequent else ""
        means = f"words that no level begins with {became}{named}"
        line = Coverage(f"subjects' {self.name}", means, lost, rows, self._option(frequent[:MOST_WORDS]), people=True)
        return self._column(store, "word", ()) if own else None, [line]

    @property
    def _words(self) -> str:
        """The word of each row that has one, in SQL."""
        best = "arg_max" if self.which == "last" else "arg_min"
        word = f"{best}(code, (coalesce(time, TIMESTAMP '1500-01-01'), coalesce(stay_id, 0), code))"
        mine = f"history WHERE domain = {text(self.domain)} AND code IS NOT NULL GROUP BY row"
        return f"(SELECT row, {word} AS word FROM {mine})"

    @property
    def _otherwise(self) -> str:
        """The level of every word that no other level begins with; empty if there is none."""
        return next((level for level, starts in (self.levels or {}).items() if OTHERWISE in starts), "")

    def _column(self, store: Store, cell: str, levels: tuple[str, ...]) -> Collected:
        spec = ColumnSpec("categorical", self.role, "demographics", self.label, levels)
        return Collected.column_of(store, self.name, spec, cell, self._words)

    def _level(self, word: str) -> str:
        """Return the SQL that turns a provider's word into the level that begins with it, else NULL."""
        cases = []
        for level, beginnings in (self.levels or {}).items():
            hits = [f"starts_with(upper({word}), {text(start.upper())})" for start in beginnings if start != OTHERWISE]
            if hits:
                cases.append(f"WHEN {' OR '.join(hits)} THEN {text(level)}")
        return f"CASE {' '.join(cases)} ELSE NULL END" if cases else "NULL"

    def _option(self, words: Sequence[str]) -> str:
        """Return the option that makes levels of words, ready to be pasted."""
        names = (re.sub(r"\W+", "_", word.lower()).strip("_") for word in words)
        levels = ", ".join(f"{name}: [{quoted(word)}]" for name, word in zip(names, words, strict=True))
        return shlex.quote(f"+features.{self.name}.levels={{{levels}}}") if words else ""
