"""Many measurements at once: the most frequent laboratory tests or vital signs."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ehrsynth.data.events import LABELS
from ehrsynth.data.features.base import TRAINING, Collected, ColumnSpec, Entries, Feature
from ehrsynth.data.features.measurements import UNIT, Aggregate, NumberKind, aggregated, require_aggregate
from ehrsynth.data.store import Store, quoted, text
from ehrsynth.data.vocabulary.base import OWN
from ehrsynth.disclosure import LEAST
from ehrsynth.errors import OptionError, TableError
from ehrsynth.schema import Role


@dataclass(kw_only=True, eq=False)
class Measurements(Feature):
    """A column for each frequent code of a domain and each aggregate.

    Which codes are frequent is counted in training rows only: the columns come after the split, and after all others.

    Attributes:
        domain: of the events, such as ``lab`` or ``vital``.
        top: how many codes, those of the most subjects first.
        aggregate: one column each; with several their names end in the aggregate's.
        prefix: of the columns' names; None takes the domain.
        role: of the columns.

    Raises:
        OptionError: an unknown or repeated aggregate, or no code wanted.
    """

    after_split = True
    in_trajectories = "visits"

    domain: str
    top: int = 50
    aggregate: Sequence[Aggregate] = ("last",)
    prefix: str | None = None
    role: Role = "feature"

    def __post_init__(self) -> None:
        where, wanted = f"feature of {self.domain}", self.aggregate
        if not isinstance(self.top, int) or self.top < 1:
            raise OptionError(f"{where}: top={self.top}: a whole number above zero was expected")
        if isinstance(wanted, str) or not wanted or len(set(wanted)) < len(wanted):
            raise OptionError(f"{where}: aggregate={wanted}: a list such as [last, min, max] expected")
        for one in wanted:
            require_aggregate(f"of {self.domain}", one)
        self.aggregate = list(wanted)
        self.prefix = f"{self.domain}_" if self.prefix is None else self.prefix

    def collect(self, store: Store) -> Collected:
        """Return the values; missing for subjects without one.

        Raises:
            TableError: one of the codes comes in several units.
        """
        codes, words = self._codes(store), self._words(store)
        wanted = ", ".join(f"{aggregated(one)} AS {one}" for one in self.aggregate)
        names = ", ".join(map(text, codes["code"])) or "NULL"
        long = store.frame(f"SELECT row, code, {wanted} FROM {self._events} AND code IN ({names}) GROUP BY ALL")
        specs, cells = dict[str, ColumnSpec](), dict[str, pd.Series]()
        by_code = dict(tuple(long.set_index("row").groupby("code")))
        for code, stem, unit in codes[["code", "name", "unit"]].itertuples(index=False):
            for one in self.aggregate:
                name = stem + (f"_{one}" if len(self.aggregate) > 1 else "")
                label = words.get(code, code) + ("" if not unit or one == "count" else f" ({unit})")
                label += f", {one}" if len(self.aggregate) > 1 else ""
                kind: NumberKind = "count" if one == "count" else "continuous"
                specs[name] = ColumnSpec(kind, self.role, self.domain, label)
                cells[name] = by_code[code][one].astype(float)
        return Collected(specs, pd.DataFrame(cells) if cells else pd.DataFrame(index=pd.RangeIndex(0)))

    def entries(self, store: Store) -> Entries:
        """Return which value was measured when, whatever the aggregates; ``Raises`` as ``collect``."""
        codes, words = self._codes(store), self._words(store)
        specs = {
            name: ColumnSpec("continuous", self.role, self.domain, words.get(code, code))
            for code, name in zip(codes["code"], codes["name"], strict=True)
        }
        mapped = f"panel_{self.prefix}"
        store.register(mapped, codes[["code"]].assign(place=range(len(codes))))
        query = f"""SELECT row, stay_id, time, place, numeric_value AS value
            FROM (FROM {self._events}) JOIN {quoted(mapped)} USING (code)"""
        return Entries(specs, query, dict(zip(codes["name"], codes["unit"], strict=True)))

    @property
    def _events(self) -> str:
        """The events that count, as SQL behind FROM."""
        return f"history WHERE domain = {text(self.domain)} AND code IS NOT NULL AND isfinite(numeric_value)"

    def _codes(self, store: Store) -> pd.DataFrame:
        """Return ``code, name, unit`` of the frequent codes, those of the most subjects first; a unit may be empty."""
        codes = store.frame(
            f"""SELECT code, count(DISTINCT t.row) AS subjects, count(DISTINCT nullif({UNIT}, '')) AS units,
            coalesce(min(nullif(trim(unit), '')) FILTER (t.row IS NOT NULL), '') AS unit,
            coalesce(bool_and(vocabulary = {text(OWN)}), false) AS own
            FROM (FROM {self._events}) h LEFT JOIN {TRAINING} t ON t.row = h.row
            GROUP BY code HAVING subjects >= {LEAST} ORDER BY subjects DESC, code LIMIT {self.top}"""
        )
        mixed = codes.loc[codes["units"] > 1, "code"].tolist()
        if mixed:
            raise TableError(
                f"feature of {self.domain}: {len(mixed)} codes come in several units, {mixed[0]!r} first; leave out the"
                " rarer units with cohort.faults.mixed_units=exclude, or make them Measurement features with units"
            )
        return codes.assign(name=codes["code"].where(codes["own"], f"{self.prefix}" + codes["code"]))

    def _words(self, store: Store) -> dict[str, str]:
        if not store.has(LABELS):
            return {}
        known = store.frame(
            f"SELECT code, min(label) AS label FROM {LABELS} WHERE domain = {text(self.domain)} GROUP BY code"
        )
        return dict(zip(known["code"], known["label"], strict=True))
