"""Trajectories seen through schemas that were known without their patients, so that no name or bound tells of them."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from ehrsynth import constraints as rules
from ehrsynth.constraints.over_time import load_over_time
from ehrsynth.data.cleaning import OTHER
from ehrsynth.data.encoding import Encoder, as_decoded
from ehrsynth.data.public_matrix import DECLARED, brought_under, unfit
from ehrsynth.data.trajectories import VISITS_JSON, Trajectories, load_visit_schema
from ehrsynth.errors import SchemaError
from ehrsynth.files import require
from ehrsynth.layout import Records
from ehrsynth.schema import SUBJECT, Schema
from ehrsynth.visits import Integers, Visits, VisitSchema

Places = NDArray[np.int64]


class PublicTrajectories(Trajectories):
    """The same patients in the columns and the visits of public schemas, each patient alone.

    Rows are as ``PublicMatrix`` has them. Codes and measurements that the schema of visits does not have are left out,
    values are clipped to its bounds, kinds that it does not have become its ``other``. Rules are kept if they were
    declared.

    Args:
        data: opened.
        file: the public ``schema.json``, beside which lies the public ``visits.json``.

    Raises:
        FileError: a schema is missing.
        SchemaError: the patients cannot be brought under it; the message says what does not fit.
    """

    def __init__(self, data: Trajectories, file: Path) -> None:
        self.folder, self.parts, self.provenance = data.folder, data.parts, data.provenance
        self.schema = Schema.load(require(file))
        self.visit_schema = load_visit_schema(require(file.with_name(VISITS_JSON)))
        self._of_patients, self._own, self._records, self._visits = data.fingerprint, data, {}, {}
        for column in self.schema.columns:
            if (why := unfit(column, data.schema.by_name.get(column.name))) is not None:
                raise SchemaError(f"privacy.public={file}: column {column.name!r}: {why}")
        if (why := _strange(self.visit_schema, data.visit_schema)) is not None:
            raise SchemaError(f"privacy.public={file}: {VISITS_JSON} beside it: {why}")
        declared, own = data.provenance.get("constraints") == DECLARED, data.folder / "constraints.json"
        self.constraints = rules.load(own, self.schema) if declared else ()
        self.over_time = load_over_time(own, self.visit_schema) if declared else ()

    @property
    @override
    def fingerprint(self) -> str:
        public = json.dumps([self.schema.to_dict(), self.visit_schema.to_dict()], sort_keys=True)
        return hashlib.sha256(f"{self._of_patients} {public}".encode()).hexdigest()

    @override
    def static(self, part: str) -> pd.DataFrame:
        rows = self._own.static(part)
        cells = {column.name: brought_under(column, rows) for column in self.schema.columns}
        return pd.concat([as_decoded(pd.DataFrame(cells), self.schema), rows[[SUBJECT]]], axis=1)

    @override
    def records(self, part: str) -> Records:
        if part not in self._records:
            self._records[part] = Encoder(self.schema).encode(self.static(part))
        return self._records[part]

    @override
    def visits(self, part: str) -> Visits:
        if part not in self._visits:
            self._visits[part] = seen_by(self.visit_schema, self._own.visits(part), self._own.visit_schema)
        return self._visits[part]


def seen_by(public: VisitSchema, visits: Visits, own: VisitSchema) -> Visits:
    """Return visits of one schema as visits of another, which ``_strange`` has nothing against."""
    rest = public.kinds.index(OTHER) if OTHER in public.kinds else -1
    kinds = _places(own.kinds, public.kinds, rest)
    codes = _places([code.name for code in own.codes], [code.name for code in public.codes])
    names = [[measurement.name for measurement in schema.measurements] for schema in (own, public)]
    measured = _places(names[0], names[1])
    code, of_code, _ = _ordered(codes[visits.codes], visits.visit_of_code)
    place, of_value, kept = _ordered(measured[visits.measured], visits.visit_of_value)
    low, high = np.array([measurement.bounds for measurement in public.measurements]).reshape(-1, 2).T
    return replace(
        visits,
        kinds=kinds[visits.kinds].astype(np.int16),
        codes=code.astype(np.int32),
        code_offsets=_offsets(of_code, visits.count),
        measured=place.astype(np.int32),
        values=visits.values[kept].clip(low[place], high[place]).astype(np.float32),
        value_offsets=_offsets(of_value, visits.count),
    )


def _strange(public: VisitSchema, own: VisitSchema) -> str | None:
    """Return why visits cannot be those of a public schema; None if they can."""
    unknown = set(own.kinds) - set(public.kinds)
    if unknown and OTHER not in public.kinds:
        return f"it lacks {len(unknown)} kinds of these visits; a kind {OTHER!r} takes them"
    units = {measurement.name: measurement.unit for measurement in own.measurements}
    for measurement in public.measurements:
        if (unit := units.get(measurement.name, measurement.unit)) != measurement.unit:
            return f"measurement {measurement.name!r} is in {measurement.unit!r}, and in these visits in {unit!r}"
    return None


def _places(names: "tuple[str, ...] | list[str]", public: "tuple[str, ...] | list[str]", rest: int = -1) -> Places:
    """Return where each name stands among the public ones; ``rest`` if it does not."""
    where = {name: place for place, name in enumerate(public)}
    return np.array([where.get(name, rest) for name in names], np.int64)


def _ordered(places: Places, visit: Integers) -> tuple[Places, Integers, Integers]:
    """Return the entries that have a place, rising within each visit: places, visits, and which they were."""
    kept = np.flatnonzero(places >= 0)
    kept = kept[np.lexsort((places[kept], visit[kept]))]
    return places[kept], visit[kept], kept


def _offsets(visit: Integers, count: int) -> Integers:
    return np.concatenate([np.zeros(1, np.int64), np.bincount(visit, minlength=count).cumsum()])
