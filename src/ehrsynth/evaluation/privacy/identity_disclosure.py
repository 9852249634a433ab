"""Meaningful identity disclosure: recognising a training patient in S, and learning something new of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.bits import ones
from ehrsynth.data.table_files import read_table
from ehrsynth.errors import OptionError
from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.columns import Levels
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.subsets import capped
from ehrsynth.files import require
from ehrsynth.kinds import span
from ehrsynth.layout import Records
from ehrsynth.metrics import identity_disclosure as metric
from ehrsynth.metrics.identity_disclosure import Codes, Frame, People, Ranks, centres, cluster, worst_cases
from ehrsynth.metrics.intervals import Estimate, difference, wilson
from ehrsynth.schema import Column, Schema, as_text
from ehrsynth.seeding import numpy_rng

IDENTITY = Cards.beside(__file__)["privacy/identity_disclosure"]
WIDTHS = (1, 5, 10, 20)  # of the steps of a generalised whole number; of a fiftieth of the range of another one
STEPS = 50
MAD = 1.48  # median absolute deviations that make a standard deviation


@dataclass(kw_only=True)
class IdentityDisclosure(Evaluator):
    """Whether training patients can be recognised in S, and something new learned of them.

    Args:
        identifiers: names of the quasi-identifiers; None takes the columns of that role, all demographics, and the
            most common codes.
        codes: how many codes that is.
        learned: share of the sensitive attributes that makes it something new.
        few: number of them that does in the parts of that name.
        max_nodes: largest number of generalisations to look at.
        population: table of the population with decoded values of every quasi-identifier.
        population_factor: without a table, how many times R the population is.
    """

    cards = (IDENTITY,)
    uses_holdout = True
    column_options: ClassVar = {"identifiers": "identity disclosure: identifiers"}
    identifiers: Sequence[str] | None = None
    codes: int = 7
    learned: float = 0.05
    few: int = 5
    max_nodes: int = 256
    population: str | None = None
    population_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.population_factor < 1:
            raise OptionError(f"identity disclosure: population_factor: {self.population_factor} is below 1")

    def check(self, schema: Schema) -> None:
        """Look at the identifiers, and whether the table of the population is there."""
        super().check(schema)
        if self.population:
            require(Path(self.population))

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Choose quasi-identifiers and generalisations, and cut R and H."""
        self.check(real.schema)
        adversary = Adversary(real, self.identifiers, self.codes, seed)
        size = min(len(real.train), len(real.holdout))
        drawn = numpy_rng(seed, "identity/train").permutation(len(real.train))[:size]
        holdout = capped(real.holdout, size, seed, "identity/holdout")
        patients, others = adversary.cut(real.train), adversary.cut(holdout)
        control = [Frame(others.known)]
        frames = [Frame(patients.known), Frame([[codes[drawn] for codes in column] for column in patients.known])]
        if self.population:
            table = read_table(Path(self.population), text=real.schema.text_columns)
            if len(table) < len(real.train):
                raise OptionError(f"{self.population}: a population has no fewer rows than R ({len(real.train)})")
            frames.append(Frame(adversary.population(table, self.population), complete=True))
        factor = len(table) / len(real.train) if self.population else self.population_factor
        levels = [len(column) + 1 for column in patients.known]
        nodes = metric.lattice(levels, self.max_nodes, numpy_rng(seed, "identity/nodes"))
        discount = metric.verification(len(levels))
        needed = (max(self.learned * adversary.sensitive, 1), self.few)

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            source = adversary.cut(synthetic)
            found = worst_cases(nodes, patients, source, adversary.rank(real.train, synthetic), frames, needed)
            chance = worst_cases(nodes, others, source, adversary.rank(holdout, synthetic), control, needed)[0]
            to_sample, few = (_share(risks, discount / factor) for risks in found[0])
            to_population, few_there = (
                (_share(risks, discount) for risks in found[2]) if self.population else (to_sample, few)
            )
            parts: dict[tuple[str, str], Value | Undefined] = {
                ("direction", "population_to_sample"): Value(*to_sample),
                ("direction", "sample_to_population"): Value(*to_population),
                ("few", "risk"): Value(*max(few, few_there)),
                ("count", "nodes"): Value(float(len(nodes))),
                ("count", "lattice"): Value(float(np.prod(levels, dtype=np.float64)) - 1),
                ("count", "identifiers"): Value(float(len(levels))),
            }
            for threshold, kind in enumerate(("side", "few")):
                train, unseen = (
                    _share(risks, discount / factor) for risks in (found[1, threshold][drawn], chance[threshold])
                )
                parts |= {(kind, "train"): Value(*train), (kind, "holdout"): Value(*unseen)}
                parts[kind, "excess"] = Value(*difference(train, unseen))
            return {IDENTITY.name: Value(*max(to_sample, to_population), parts=parts)}

        return score


class Adversary:
    """Cuts tables into quasi-identifiers and sensitive attributes, by the options of ``IdentityDisclosure``."""

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
        values = self._values(real.train).T
        self._reach = [_reach(real, name, x, seed) for name, x in zip(self._numbers, values, strict=True)]

    def cut(self, records: Records) -> People:
        """Return the records as an adversary sees them."""
        known = [_generalised(column, self._levels.of(records, [column.name])[:, 0]) for column in self.identifiers]
        bits = np.hstack([records.bits[:, self._ones].numpy() > 0, records.bits[:, self._zeros].numpy() == 0])
        return People(known, *np.nonzero(bits))

    def rank(self, target: Records, source: Records) -> Ranks:
        """Return which numbers of ``source`` are near enough to those of ``target``."""
        values, offered = self._values(target), self._values(source)
        reach = np.zeros_like(values)
        for i, (middles, near) in enumerate(self._reach):
            if len(middles):
                reach[:, i] = near[cluster(values[:, i], middles)]
        return metric.rank(values, reach, offered)

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


def _reach(
    real: RealData, name: str, values: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres of the clusters of a number in R [n], and 1.48 MAD / p of each."""
    seen = values[~np.isnan(values)]
    key = {"work": "identity/clusters", "column": name, "seed": seed}
    middles = real.memory.array(key, lambda: centres(seen, numpy_rng(seed, "identity/clusters", name)))
    if not len(seen):
        return middles, middles
    shares = np.bincount(cluster(seen, middles), minlength=len(middles)) / len(values)
    spread = float(np.median(np.abs(seen - np.median(seen))))
    return middles, MAD * spread / np.maximum(shares, 1 / len(values))


def _identifiers(real: RealData, names: Sequence[str] | None, codes: int) -> list[Column]:
    schema = real.schema
    if names is not None:
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


def _share(risks: NDArray[np.float64], discount: float) -> Estimate:
    total, n = float(risks.sum()), len(risks)
    low, high = wilson(total, n)
    return discount * total / n, (discount * low, discount * high)
