"""Codes that are too rare to train on: how often each occurs, by demographic group, to be brought back at generation.

Yan et al., JMIR AI 2024, leave such codes out and bring them back afterwards, independent of everything. Here they may
also depend on demographics: P(code | group of each column) is taken as the product of how much likelier the code is in
each of them (naive Bayes), which keeps a diagnosis of one sex with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.data.plan import RareCode, rare_codes
from ehrsynth.data.wide import Wide
from ehrsynth.disclosure import LEAST
from ehrsynth.errors import FileError, SchemaError
from ehrsynth.files import read_object, write_json
from ehrsynth.schema import Schema

LOW_PREVALENCE = "low_prevalence.json"
DEMOGRAPHICS = "demographics"  # the domain
BANDS = 4  # of a number: quarters of the training rows
EXPECTED = 5  # of a code in a group where it never occurs, for that to be taken for a fact and not for chance

Groups = Mapping[str, list[Any]]  # the levels of a column, or the ends between its bands


@dataclass(frozen=True)
class Rare:
    """A rare code and how it depends on demographics.

    Attributes:
        code: the column, and its share of the training rows.
        base: factor such that the training rows have the code as often as they have, when it depends on demographics.
        likelier: by column, for each of its groups in order: how much likelier the code is there than anywhere.
    """

    code: RareCode
    base: float = 1.0
    likelier: Mapping[str, Sequence[float]] | None = None

    def chances(self, frame: pd.DataFrame, groups: Groups | None = None) -> NDArray[np.float64]:
        """Return the chance of each row of ``frame`` to have the code: by its groups, or the same for all."""
        chances = np.full(len(frame), self.code.prevalence)
        if groups is not None and self.likelier is not None:
            chances *= self.base
            for name, factors in self.likelier.items():
                chances *= np.asarray(factors)[group_of(frame[name], groups[name])]
        return chances.clip(max=1.0)


def group_of(cells: pd.Series, ends: Sequence[Any]) -> NDArray[np.intp]:
    """Return the group of each cell: its level, or its band; what is missing or unknown is a group of its own."""
    if isinstance(ends[0], str):
        found = pd.Index(ends).get_indexer(pd.Index(cells.astype(object)))
        return np.where(found < 0, len(ends), found)
    numbers = cells.to_numpy(float)
    return np.where(np.isnan(numbers), len(ends) + 1, np.searchsorted(np.asarray(ends, float), numbers, side="right"))


def _number(ends: Sequence[Any]) -> int:
    return len(ends) + (1 if isinstance(ends[0], str) else 2)


def demographic_groups(schema: Schema, train: Wide) -> dict[str, list[Any]]:
    """Return the groups of every demographic column: levels, or ends between quarters of the training rows."""
    groups: dict[str, list[Any]] = {}
    for column in schema.columns:
        if column.domain != DEMOGRAPHICS or column.kind == "binary":
            continue
        if column.kind == "categorical":
            groups[column.name] = list(column.levels)
        elif len(cells := train.cells[column.name].dropna()):
            quarters = np.quantile(cells.to_numpy(float), np.arange(1, BANDS) / BANDS, method="nearest")
            groups[column.name] = sorted(set(quarters.tolist()))
    return groups


def by_group(codes: Sequence[RareCode], raw: Wide, train: Wide, groups: Groups) -> list[Rare]:
    """Count rare codes in each demographic group of the training rows.

    A group's number of patients with a code is not told where it is from one to nine: such groups are told together.

    Args:
        codes: to count.
        raw: training rows that still have them.
        train: the same rows in the schema, as many of them as are left.
        groups: of ``demographic_groups``.
    """
    if not codes:
        return []
    there = pd.Index(raw.subjects).get_indexer(pd.Index(train.subjects))
    having = raw.having([code.column.name for code in codes])[there]
    n, total = len(there), np.asarray(having.sum(0)).ravel()
    product = np.ones((n, len(codes)))
    factors: dict[str, NDArray[np.float64]] = {}
    for name, ends in groups.items():
        group = group_of(train.cells[name], ends)
        indicator = np.eye(_number(ends))[group]
        counts, sizes = (having.T @ indicator), indicator.sum(0)
        factors[name] = np.stack([_likelier(c, sizes, t / n) for c, t in zip(counts, total, strict=True)])
        product *= factors[name][:, group].T
    return [
        Rare(code, 1 / max(product[:, i].mean(), 1e-12), {name: f[i].round(6).tolist() for name, f in factors.items()})
        for i, code in enumerate(codes)
    ]


def _likelier(counts: NDArray[np.float64], sizes: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return how much likelier a code of a given share is in each group, none of 1 to 9 patients told alone."""
    counts, expected = counts.copy(), sizes * share
    told = (counts == 0) | (counts >= LEAST)
    while not told.all() and counts[~told].sum() < LEAST and (told & (counts > 0)).any():
        told[np.where(told & (counts > 0), counts, np.inf).argmin()] = False
    if not told.all():
        counts[~told] = counts[~told].sum() * expected[~told] / expected[~told].sum()
    unsure = np.where((counts == 0) & (expected >= EXPECTED), 0.0, 1.0)  # one more patient, spread as all are
    return np.divide(counts + unsure, expected + unsure, out=np.ones_like(counts), where=expected + unsure > 0)


def save_rare(path: Path, rare: Sequence[Rare], groups: Groups) -> None:
    """Write ``low_prevalence.json``."""
    codes = [{**asdict(one.code), "base": one.base, "likelier": one.likelier} for one in rare]
    write_json(path, {"version": 1, "codes": codes, **({"groups": groups} if codes else {})})


def read_rare(folder: Path) -> tuple[tuple[Rare, ...], Groups | None]:
    """Read the codes that were too rare to train on, from a matrix folder, and the groups that they depend on, if any.

    Raises:
        FileError: the file is missing or malformed.
    """
    path = folder / LOW_PREVALENCE
    content = read_object(path, codes=list)
    try:
        codes = rare_codes(content["codes"])
        rare = tuple(
            Rare(code, float(entry.get("base", 1.0)), entry.get("likelier"))
            for code, entry in zip(codes, content["codes"], strict=True)
        )
        groups = {str(name): list(ends) for name, ends in content["groups"].items()} if "groups" in content else None
        for one in rare:
            for name, factors in (one.likelier or {}).items():
                if groups is None or len(factors) != _number(groups[name]):
                    raise ValueError(name)
    except (SchemaError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path}: not a list of columns with their prevalence ({type(error).__name__})") from None
    return rare, groups
