"""What an adversary knows of a patient, and what there is to learn: records cut for identity disclosure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.bits import ones
from ehrsynth.errors import OptionError
from ehrsynth.evaluation.columns import Levels
from ehrsynth.evaluation.evaluator import NotApplicableError, RealData
from ehrsynth.kinds import span
from ehrsynth.layout import Records
from ehrsynth.metrics.clusters import centres, cluster
from ehrsynth.metrics.identity import Codes, People, Ranks, rank
from ehrsynth.schema import Column, as_text
from ehrsynth.seeding import numpy_rng

WIDTHS = (1, 5, 10, 20)  # of the steps of a generalised whole number; of a fiftieth of the range of another one
STEPS = 50
MAD = 1.48  # median absolute deviations that make a standard deviation


class Adversary:
    """Cuts tables into quasi-identifiers and sensitive attributes.

    Args:
        real: the real side; R says what is common.
        identifiers: names of the quasi-identifiers; None takes the columns of that role, all demographics, and the
            most common codes.
        codes: how many codes that is.
        seed: of the clusters.
    """

    def __init__(self, real: RealData, identifiers: Sequence[str] | None, codes: int, seed: int) -> None:
        self._levels = Levels(real.schema)
        self.identifiers = _identifiers(real, identifiers, codes)
        named = {column.name for column in self.identifiers}
        sensitive = [column for column in real.schema.columns if column.name not in named]
        if not named or not sensitive:
            raise NotApplicableError("identity disclosure needs both quasi-identifiers and sensitive columns")
        self.sensitive = len(sensitive)
        fields = real.layout.fields[real.layout.binary]
        wanted = {column.name for column in sensitive if not column.numeric}
        nominal = [
            i for i, field in enumerate(fields) if field.column in wanted and field.name != f"{field.column}:missing"
        ]
        share = ones(real.train.bits)[nominal].double().numpy() / len(real.train)
        rare = share < 0.5
        common = (share > 0.5) & np.array([fields[i].kind == "bit" for i in nominal], dtype=bool)
        self._ones = [nominal[i] for i in np.flatnonzero(rare)]
        self._zeros = [nominal[i] for i in np.flatnonzero(common)]
        self._numbers = [column.name for column in sensitive if column.numeric]
        self._reach = self._of_clusters(real, seed)

    def cut(self, records: Records) -> People:
        """Return the records as an adversary sees them."""
        known = []
        for column in self.identifiers:
            cells = self._levels.of(records, [column.name])[:, 0]
            known.append(_generalised(column, cells))
        bits = np.hstack([records.bits[:, self._ones].numpy() > 0, records.bits[:, self._zeros].numpy() == 0])
        return People(known, *np.nonzero(bits))

    def rank(self, target: Records, source: Records) -> Ranks:
        """Return which numbers of ``source`` are near enough to those of ``target``."""
        values, offered = self._values(target), self._values(source)
        reach = np.zeros_like(values)
        for i, (middles, near) in enumerate(self._reach):
            if len(middles):
                reach[:, i] = near[cluster(values[:, i], middles)]
        return rank(values, reach, offered)

    def population(self, frame: pd.DataFrame, path: str) -> list[list[Codes]]:
        """Return the quasi-identifiers of a table of decoded values.

        Raises:
            OptionError: the table lacks one of them.
        """
        known = []
        for column in self.identifiers:
            if column.name not in frame:
                raise OptionError(f"{path}: no column {column.name!r}; a population needs every quasi-identifier")
            cells = frame[column.name]
            if column.kind == "categorical":
                places = pd.Index(column.levels).get_indexer(pd.Index(as_text(cells)))
                numbers = np.where(places < 0, len(column.levels), places).astype(float)
            else:
                numbers = pd.to_numeric(cells, errors="coerce").to_numpy(float, na_value=np.nan)
            known.append(_generalised(column, numbers))
        return known

    def _values(self, records: Records) -> NDArray[np.float64]:
        return self._levels.of(records, self._numbers) if self._numbers else np.empty((len(records), 0))

    def _of_clusters(self, real: RealData, seed: int) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return for each number the centres of its clusters, and 1.48 MAD / p of each."""
        values = self._values(real.train)
        found = []
        for i, name in enumerate(self._numbers):
            column = values[:, i]
            column = column[~np.isnan(column)]

            def work(column: NDArray[np.float64] = column, name: str = name) -> dict[str, NDArray[np.float64]]:
                return {"centres": centres(column, numpy_rng(seed, "identity/clusters", name))}

            key = {"work": "identity/clusters", "column": name, "seed": seed}
            middles = np.asarray(real.memory.recall(key, work)["centres"])
            if not len(column):
                found.append((middles, middles))
                continue
            shares = np.bincount(cluster(column, middles), minlength=len(middles)) / len(values)
            spread = float(np.median(np.abs(column - np.median(column))))
            found.append((middles, MAD * spread / np.maximum(shares, 1 / len(values))))
        return found


def _identifiers(real: RealData, names: Sequence[str] | None, codes: int) -> list[Column]:
    schema = real.schema
    if names is not None:
        if unknown := sorted(set(names) - set(schema.names)):
            raise OptionError(f"identity disclosure: identifiers: the schema has no column {unknown[0]!r}")
        return [schema.by_name[name] for name in names]
    known = [c for c in schema.columns if c.role in ("quasi_identifier", "demographic") or c.domain == "demographics"]
    counts = {
        field.column: int(count)
        for field, count in zip(real.layout.fields, ones(real.train.bits).tolist(), strict=False)
        if field.kind == "bit" and schema.by_name[field.column].is_code
    }
    common = sorted(counts, key=lambda name: (-counts[name], name))[:codes]
    return [*known, *(schema.by_name[name] for name in common if schema.by_name[name] not in known)]


def _generalised(column: Column, cells: NDArray[np.float64]) -> list[Codes]:
    """Return the codes of [n] levels or numbers, exact and in wider and wider steps; 0 where missing."""
    if not column.numeric:
        return [cells.astype(np.int32)]
    low, whole = span(column)
    step = 1.0 if column.kind == "count" else max(whole / STEPS, np.finfo(float).tiny)
    found: list[Codes] = []
    for width in WIDTHS:
        if len(found) and width * step > whole:
            break
        start = np.floor(low / (width * step))
        places = np.clip(np.floor(cells / (width * step)) - start, 0, whole // (width * step) + 1) + 1
        found.append(np.where(np.isnan(cells), 0, places).astype(np.int32))
    return found
