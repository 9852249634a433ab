"""Which patients are at which site: each site sees its own rows of a matrix, and no others."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from typing_extensions import override

from ehrsynth.data.matrix import Matrix
from ehrsynth.disclosure import LEAST
from ehrsynth.errors import FileError, OptionError, expect
from ehrsynth.study.spec import Spec
from ehrsynth.study.watch import NOBODY

SITES = "sites"  # of the provenance of a matrix that was put together: rows of each part, by site
Rows = NDArray[np.intp]


class SiteMatrix(Matrix):
    """The rows of one site, under the columns of all.

    Args:
        whole: the matrix of all sites.
        site: the name of this one.
        number: that stands for the name in names of files.
        rows: which are its own, by part.
    """

    def __init__(self, whole: Matrix, site: str, number: int, rows: Mapping[str, Rows]) -> None:
        self.folder, self.parts, self.schema, self.constraints = (
            whole.folder,
            whole.parts,
            whole.schema,
            whole.constraints,
        )
        self.provenance = {**whole.provenance, "rows": {part: len(own) for part, own in rows.items()}}
        self.site, self.number, self._whole, self._rows = site, number, whole, rows
        self._records = {}

    @property
    @override
    def name(self) -> str:
        return f"{self._whole.name}-site{self.number}"

    @property
    @override
    def fingerprint(self) -> str:
        own = {part: hashlib.sha256(rows.tobytes()).hexdigest() for part, rows in self._rows.items()}
        return hashlib.sha256(f"{self._whole.fingerprint} {self.site} {own}".encode()).hexdigest()

    @cached_property
    @override
    def train(self) -> pd.DataFrame:
        return self._whole.train.iloc[self._rows["train"]]

    @cached_property
    @override
    def validation(self) -> pd.DataFrame:
        return self._whole.validation.iloc[self._rows["validation"]]

    @cached_property
    @override
    def holdout(self) -> pd.DataFrame:
        return self._whole.holdout.iloc[self._rows["holdout"]]

    @override
    def _encode(self, part: str) -> pd.Series:
        self._records[part] = self._whole.records(part)[torch.from_numpy(self._rows[part])]
        return pd.Series(dtype=object)  # subjects were compared when the whole was opened


@dataclass(frozen=True)
class Site:
    """A hospital that keeps its rows.

    Attributes:
        name: as people call it.
        number: from 1, in the order of the names; it stands for the name in names of files.
        matrix: its rows.
    """

    name: str
    number: int
    matrix: Matrix

    @property
    def patients(self) -> int:
        """Rows that it trains on."""
        return int(self.matrix.provenance["rows"]["train"])


def sites_of(matrix: Matrix, by: str | None, say: Callable[[str], None] = NOBODY.say) -> list[Site]:
    """Return the sites whose rows are in a matrix.

    Sites of fewer than ten training patients, or fewer than two to judge by, are left out, and said by name; so are
    rows without a value in the column.

    Args:
        matrix: of all.
        by: the column whose levels are sites; None for a matrix that was put together from sites.
        say: takes a line about what is left out.

    Raises:
        OptionError: there is no such column, or it holds numbers; no site is left.
        FileError: the matrix does not tell its sites.
    """
    rows = _by_origin(matrix) if by is None else _by_level(matrix, by)
    enough = [name for name, own in rows.items() if len(own["train"]) >= LEAST and min(map(len, own.values())) >= 2]
    if few := [name for name in rows if name not in enough]:
        say(f"left out, too few patients ({LEAST} to train on, 2 to judge by): sites {', '.join(few)}")
    if not enough:
        raise OptionError(f"by={by}: no site has {LEAST} training patients; use a column of larger groups")
    return [Site(name, k, SiteMatrix(matrix, name, k, rows[name])) for k, name in enumerate(enough, start=1)]


def _by_level(matrix: Matrix, by: str) -> dict[str, dict[str, Rows]]:
    column = matrix.schema.by_name.get(by)
    known = [column.name for column in matrix.schema.columns if column.kind == "categorical"]
    expect(
        column is not None and not column.numeric, "by", by, f"a column with levels, such as {', '.join(known[:5])},"
    )
    levels = {part: getattr(matrix, part)[by] for part in matrix.parts}
    names = sorted(levels["train"].dropna().unique(), key=str)
    return {str(name): {part: np.flatnonzero(cells == name) for part, cells in levels.items()} for name in names}


def _by_origin(matrix: Matrix) -> dict[str, dict[str, Rows]]:
    told = matrix.provenance.get(SITES)
    if not isinstance(told, Mapping):
        raise OptionError(
            f"by=null sites=null: who are the sites? by=COLUMN splits {matrix.name} by the levels of a column, and"
            " sites=[A,B,C] takes folders, one a site"
        )
    starts, found = dict.fromkeys(matrix.parts, 0), dict[str, dict[str, Rows]]()
    try:
        for name, counts in told.items():
            found[name] = {part: np.arange(starts[part], starts[part] + counts[part]) for part in matrix.parts}
            starts = {part: starts[part] + counts[part] for part in matrix.parts}
    except (KeyError, TypeError):
        raise FileError(f"{matrix.folder / 'provenance.json'}: {SITES}: rows of each part, by site, expected") from None
    return found


def seen_at_site(spec: Spec, matrix: Matrix) -> Matrix:
    """Return what a run sees of a matrix: the rows of its site, if it is of one alone.

    Raises:
        OptionError: there is no site of this name, or what ``sites_of`` raises.
    """
    if spec.federation is None or "site" not in spec.federation:
        return matrix
    found = {site.name: site for site in sites_of(matrix, spec.federation["by"])}
    expect((name := spec.federation["site"]) in found, "federation.site", name, f"one of {', '.join(found)}")
    return found[name].matrix
