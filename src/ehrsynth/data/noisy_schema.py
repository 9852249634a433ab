"""A schema from noisy counts: which codes and levels there are, and where numbers end, where no public one is at hand.

Names come from patients, so nobody can list them all before. Korolova et al., Releasing search queries and clicks
privately, WWW 2009; Gopi et al., Differentially private set union, ICML 2020: count them with noise, each patient in
few, and tell those above a threshold that a name of one patient alone reaches with a small chance, which is part of
delta. Numbers have a histogram whose ranges are powers of two, known before, and then a finer one between its ends.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import floor, log10

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from ehrsynth.accounting import Gaussian, Unlikely
from ehrsynth.chunks import read_chunks
from ehrsynth.data.cleaning import OTHER
from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import OptionError
from ehrsynth.ledger import Look
from ehrsynth.schema import Column, Schema, as_text

CODES = 32  # of a patient that are counted, drawn evenly where there are more
POWERS = np.arange(-10, 31)  # of two, at which magnitudes of numbers meet
FINE = 64  # ranges between the ends of a number
CHANCE = 0.01  # that a number's ends are drawn too wide by noise alone
GAP = ""  # in place of a level
DIGITS = 3  # of a number's range that a table shows
WHOLE = {"min_count": 1, "min_prevalence": 0, "min_level": 1}  # of preprocess, at most
NEED = "prepare with preprocess=none, which keeps all codes, levels and numbers as they are"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NoisySchema:
    """What noisy counts tell of the columns.

    Attributes:
        schema: the columns.
        looks: by which it was learned.
    """

    schema: Schema
    looks: tuple[Look, ...]


def require_unchosen(matrix: Matrix) -> None:
    """Raise an ``OptionError`` if what columns a matrix has was chosen on its training rows beyond who has what."""
    options = matrix.provenance.get("preprocess", {})
    chosen = [f"{name}={options[name]}" for name, most in WHOLE.items() if options.get(name, most) > most]
    chosen += [f"max_missing={options['max_missing']}"] if options.get("max_missing", 1) < 1 else []
    chosen += [f"{name}={options[name]}" for name, plain in (("bounds", "exact"), ("impute", "none"))
               if options.get(name, plain) != plain]  # fmt: skip
    if chosen:
        raise OptionError(f"privacy.schema: the matrix was prepared with preprocess.{chosen[0]}; {NEED}")


def noisy_schema(matrix: Matrix, noise_multiplier: float, delta: float, generator: torch.Generator) -> NoisySchema:
    """Return a schema of the columns of a matrix, a row a patient, learned by two Gaussian mechanisms and a threshold.

    Names and kinds of categories, numbers and outcomes are those of the recipe, and taken as known.

    Args:
        matrix: prepared so that it has all codes, see ``require_unchosen``.
        noise_multiplier: of both mechanisms.
        delta: chance with which the threshold may tell a name of one patient alone.
        generator: of the noise, and of which codes of a patient are counted; secret.
    """
    columns = matrix.schema.columns
    codes = sorted((c for c in columns if c.kind == "binary" and c.role != "outcome"), key=lambda c: (c.domain, c.name))
    categories = [column for column in columns if column.kind == "categorical"]
    numbers = [column for column in columns if column.numeric]
    cells = [(column.name, level) for column in categories for level in (*sorted(column.levels), GAP)]
    most = (CODES + len(categories) + len(numbers)) ** 0.5
    bins = 2 * len(POWERS) + 1  # below, between and above the powers of both signs

    def counted(rows: pd.DataFrame) -> Floats:
        magnitudes = [np.bincount(_magnitude(rows[column.name]), minlength=bins + 1) for column in numbers]
        levels = {column.name: _levels(rows[column.name]).value_counts() for column in categories}
        of_level = [levels[name].get(level, 0) for name, level in cells]
        return np.concatenate([_codes_counted(rows[[c.name for c in codes]], generator), of_level, *magnitudes])

    coarse = Gaussian(noise_multiplier, sensitivity=most)
    named = len(codes) + len(cells)
    told = _noisy(matrix, counted, named + len(numbers) * (bins + 1), coarse, generator, named)
    deviation = most * noise_multiplier
    names = CODES + len(categories)  # of one patient, that may be of nobody else
    least = 1 + deviation * float(norm.isf(delta / names))
    kept = {code.name for code, rows in zip(codes, told, strict=False) if rows > least}
    by_cell = dict(zip(cells, told[len(codes) :], strict=False))
    of_numbers = told[named:].reshape(len(numbers), bins + 1)
    clear = deviation * float(norm.isf(CHANCE / (bins + 1)))
    ends = {c.name: _ends(rows[:-1], clear) for c, rows in zip(numbers, of_numbers, strict=True)}
    gaps = {c.name: bool(rows[-1] > clear) for c, rows in zip(numbers, of_numbers, strict=True)}

    fine = Gaussian(noise_multiplier, sensitivity=max(1, len(numbers)) ** 0.5)

    def placed(rows: pd.DataFrame) -> Floats:
        return np.concatenate([np.zeros(0), *(_places(rows[c.name], *ends[c.name]) for c in numbers)])

    within = _noisy(matrix, placed, FINE * len(numbers), fine, generator).reshape(len(numbers), FINE)
    clear = fine.sensitivity * noise_multiplier * float(norm.isf(CHANCE / FINE))
    bounds = {c.name: _trimmed(c, rows, *ends[c.name], clear) for c, rows in zip(numbers, within, strict=True)}
    patients = int(matrix.provenance["rows"]["train"])

    def as_told(column: Column) -> Column:
        if column.kind == "categorical":
            rows = {level: here for (name, level), here in by_cell.items() if name == column.name and here > least}
            levels = tuple(level for level in rows if level not in (OTHER, GAP))
            rest = patients - sum(here for level, here in rows.items() if level != OTHER)
            levels = (*levels, OTHER) if rest > least or not levels else levels
            return replace(column, levels=levels, missing=GAP in rows)
        if column.numeric:
            low, high = bounds[column.name]
            shown = None if column.kind == "count" else max(0, DIGITS - 1 - floor(log10(high - low)))
            return replace(column, bounds=(low, high), decimals=shown, missing=gaps[column.name])
        return column

    others = [as_told(c) for c in columns if c.kind != "binary" or c.role == "outcome"]
    why = f"in {CODES} codes of a patient, drawn evenly; told above {least:.1f} patients"
    looks = (
        Look("names and kinds of columns but codes", "public", "of the recipe"),
        Look("counts of codes and levels, magnitudes of numbers", coarse, why),
        Look("a code or level of one patient above the threshold", Unlikely(delta), f"{names} of a patient at most"),
        *([Look("ends of numbers", fine, f"{FINE} ranges of each")] if numbers else ()),
    )
    return NoisySchema(Schema((*others, *(code for code in codes if code.name in kept))), looks)


def _noisy(
    matrix: Matrix,
    counts: Callable[[pd.DataFrame], Floats],
    width: int,
    told: Gaussian,
    generator: torch.Generator,
    named: int = 0,
) -> Floats:
    """Return sums over the training rows with noise; the first ``named`` only where there is a row, else -inf."""
    total = np.zeros(width)
    for rows in read_chunks(matrix.folder / "train.parquet"):
        total += counts(rows)
    noise = torch.randn(width, generator=generator, dtype=torch.float64).numpy()
    found: Floats = total + told.sensitivity * told.noise_multiplier * noise
    found[:named][total[:named] == 0] = -np.inf  # nobody's name is no name
    return found


def _levels(cells: pd.Series) -> pd.Series:
    return as_text(cells).where(cells.notna(), GAP)


def _codes_counted(rows: pd.DataFrame, generator: torch.Generator) -> Floats:
    """Return how many rows have each code, of each row ``CODES`` at most."""
    has = torch.from_numpy(rows.to_numpy() > 0)
    rank: Tensor = torch.rand(has.shape, generator=generator).masked_fill(~has, 2.0).argsort(1).argsort(1)
    found: Floats = (has & (rank < CODES)).sum(0).double().numpy()
    return found


def _magnitude(cells: pd.Series) -> NDArray[np.int64]:
    """Return between which powers of two, of either sign, numbers lie, ascending; a gap is the last of all."""
    numbers = cells.to_numpy(float, na_value=np.nan)
    edges = np.concatenate([-(2.0 ** POWERS[::-1]), 2.0**POWERS])
    found = np.where(numbers < 0, np.searchsorted(edges, numbers, "left"), np.searchsorted(edges, numbers, "right"))
    return np.where(np.isnan(numbers), len(edges) + 1, found).astype(np.int64)


def _ends(rows: Floats, clear: float) -> tuple[float, float]:
    """Return the ends of the magnitudes that have rows for sure; those of zero if none has."""
    edges = np.concatenate([-(2.0 ** POWERS[::-1]), 2.0**POWERS])
    ends = np.concatenate([[2 * edges[0]], edges, [2 * edges[-1]]])
    some = np.flatnonzero(rows > clear)
    first, last = (some[0], some[-1]) if len(some) else (len(POWERS), len(POWERS))
    low, high = float(ends[first]), float(ends[last + 1])
    nothing = 2.0 ** POWERS[0]  # less counts as zero
    return 0.0 if low == -nothing else low, 0.0 if high == nothing and low < -nothing else high


def _places(cells: pd.Series, low: float, high: float) -> Floats:
    """Return how many numbers lie in each of even ranges between two ends, what lies beyond among the outermost."""
    numbers = cells.dropna().to_numpy(float)
    place = ((numbers - low) / (high - low) * FINE).clip(0, FINE - 1).astype(int)
    return np.bincount(place, minlength=FINE).astype(float)


def _trimmed(column: Column, rows: Floats, low: float, high: float, clear: float) -> tuple[float, float]:
    """Return the ends beyond which rows are not told from noise, taken together; of a count whole numbers."""
    noise = clear * np.sqrt(np.arange(FINE) + 1)
    first, left = (int((sums > noise).argmax()) for sums in (rows.cumsum(), rows[::-1].cumsum()))
    last = FINE - left
    if first >= last:
        first, last = 0, FINE
    low, high = low + (high - low) * first / FINE, low + (high - low) * last / FINE
    if column.kind == "count":
        return float(np.ceil(low)), float(max(np.ceil(high) - 1, np.ceil(low)))
    return float(low), float(high)
