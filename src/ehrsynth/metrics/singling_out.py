"""Singling out: predicates that hold for exactly one synthetic record, tried on real ones.

Giomi et al., PoPETs 2023, section 5.1, after Cohen and Nissim, PNAS 2020.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

EQUAL, AT_LEAST, AT_MOST, MISSING = range(4)
BATCH = 1024
CELLS = 2**22  # of the random orders of columns that are held at a time


@dataclass(frozen=True)
class Columns:
    """A table by columns, as predicates see it.

    Attributes:
        levels: uint16 [a, n], the number of the level of each 0/1 or categorical column.
        values: float32 [c, n] in raw units, NaN where missing. Columns are numbered through: a + c of them.
        binary: [a], which of the levels are 0/1 columns.
    """

    levels: NDArray[np.uint16]
    values: NDArray[np.float32]
    binary: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.levels.shape[1])

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.levels) + len(self.values)


@dataclass(frozen=True)
class Predicates:
    """Conjunctions of conditions on columns, all with the same number of conditions.

    Attributes:
        columns: int64 [q, w].
        operators: int64 [q, w], one of the constants above.
        operands: float32 [q, w].
    """

    columns: NDArray[np.int64]
    operators: NDArray[np.int64]
    operands: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.columns)


def isolated(predicates: Predicates, table: Columns) -> NDArray[np.bool_]:
    """Return which predicates [q] hold for exactly one record of ``table``."""
    arrays = predicates.columns, predicates.operators, predicates.operands
    return np.asarray(_isolated(*arrays, table.levels, table.values))


def univariate(table: Columns, most: int, rng: np.random.Generator) -> Predicates:
    """Return at most ``most`` conditions on one column that hold for one record of ``table``.

    Values that occur once, at or below a smallest and at or above a largest number that occurs once, and a cell that
    is the only missing one.
    """
    found: list[tuple[int, int, float]] = []
    for column in range(table.width):
        numeric = column >= len(table.levels)
        cells = table.values[column - len(table.levels)] if numeric else table.levels[column]
        seen = cells[~np.isnan(cells)] if numeric else cells
        values, counts = np.unique(seen, return_counts=True)
        once = counts == 1
        found += [(column, EQUAL, value) for value in values[once]]
        if numeric and len(values):
            found += [(column, AT_MOST, values[0])] if once[0] else []
            found += [(column, AT_LEAST, values[-1])] if once[-1] else []
        if len(cells) - len(seen) == 1:
            found.append((column, MISSING, 0.0))
    chosen = rng.permutation(len(found))[:most]
    rows = np.array(found, dtype=np.float64).reshape(-1, 3)[chosen]
    return Predicates(rows[:, :1].astype(np.int64), rows[:, 1:2].astype(np.int64), rows[:, 2:].astype(np.float32))


def multivariate(
    table: Columns, most: int, width: int, attempts: int, absent: bool, rng: np.random.Generator
) -> Predicates:
    """Return at most ``most`` conjunctions that hold for one record of ``table``, each read off that record.

    A record and ``width`` columns are drawn at random: equality for levels, and for a number at least or at most its
    value, whichever side of the median it lies.

    Args:
        table: S.
        most: stop when there are as many.
        width: number of columns in a predicate.
        attempts: stop when as many have been tried.
        absent: whether the 0 of a 0/1 column may stand in a predicate.
        rng: draws records and columns.
    """
    medians = np.array([np.median(x[~np.isnan(x)]) if (~np.isnan(x)).any() else 0.0 for x in table.values])
    found: dict[tuple[int, ...], tuple[NDArray[np.generic], ...]] = {}
    for start in range(0, attempts, BATCH):
        rows = rng.integers(len(table), size=min(BATCH, attempts - start))
        usable = np.ones((len(rows), table.width), dtype=bool)
        if not absent:
            usable[:, : len(table.levels)] = ~table.binary | (table.levels[:, rows].T > 0)
        enough = usable.sum(1) >= width
        order = np.where(usable, rng.random(usable.shape), -1.0)[enough]
        if not len(order):
            continue
        columns = np.sort(np.argpartition(order, table.width - width, axis=1)[:, table.width - width :], axis=1)
        tried = _read_off(table, rows[enough], columns, medians)
        unique = np.flatnonzero(isolated(tried, table))
        for i in unique:
            read = columns[i], tried.operators[i], tried.operands[i]
            found.setdefault((int(rows[enough][i]), *map(int, columns[i])), read)
        if len(found) >= most:
            break
    kinds = np.int64, np.int64, np.float32
    arrays = list(zip(*list(found.values())[:most], strict=True)) or [()] * len(kinds)
    return Predicates(*(np.array(x, dtype=kind).reshape(-1, width) for x, kind in zip(arrays, kinds, strict=True)))


def random_predicates(table: Columns, n: int, width: int, rng: np.random.Generator) -> Predicates:
    """Return ``n`` conjunctions of ``width`` random columns with random values that occur in ``table``."""
    most = max(CELLS // table.width, 1)
    sizes = [min(most, n - start) for start in range(0, n, most)]
    orders = (np.argsort(rng.random((size, table.width)), axis=1)[:, :width] for size in sizes)
    columns = np.concatenate([np.empty((0, width), np.int64), *orders])
    operators, operands = np.zeros(columns.shape, dtype=np.int64), np.zeros(columns.shape, dtype=np.float32)
    sides = rng.integers(AT_LEAST, AT_MOST + 1, columns.shape)
    for column in range(table.width):
        here = columns == column
        numeric = column >= len(table.levels)
        cells = table.values[column - len(table.levels)] if numeric else table.levels[column]
        values = np.unique(cells)
        operands[here] = rng.choice(values, int(here.sum()))
        operators[here] = sides[here] if numeric else EQUAL
    operators[np.isnan(operands)] = MISSING
    return Predicates(columns, operators, operands)


def _read_off(
    table: Columns, rows: NDArray[np.intp], columns: NDArray[np.int64], medians: NDArray[np.floating]
) -> Predicates:
    a = len(table.levels)
    operands = np.empty(columns.shape, dtype=np.float32)
    operators = np.full(columns.shape, EQUAL, dtype=np.int64)
    numeric = columns >= a
    owners = np.broadcast_to(rows[:, None], columns.shape)
    operands[~numeric] = table.levels[columns[~numeric], owners[~numeric]]
    places = columns[numeric] - a
    numbers = table.values[places, owners[numeric]]
    operands[numeric] = numbers
    sides = np.where(numbers > medians[places], AT_LEAST, AT_MOST)
    operators[numeric] = np.where(np.isnan(numbers), MISSING, sides)
    return Predicates(columns, operators, operands)


@numba.njit(nogil=True, cache=True)
def _isolated(
    columns: NDArray[np.int64],
    operators: NDArray[np.int64],
    operands: NDArray[np.float32],
    levels: NDArray[np.uint16],
    values: NDArray[np.float32],
) -> NDArray[np.bool_]:
    found = np.zeros(len(columns), dtype=np.bool_)
    a, n = levels.shape
    for q in range(len(columns)):
        count = 0
        for j in range(n):
            holds = True
            for k in range(columns.shape[1]):
                column, operator, operand = columns[q, k], operators[q, k], operands[q, k]
                if column < a:
                    holds = levels[column, j] == operand
                else:
                    x = values[column - a, j]
                    if operator == EQUAL:
                        holds = x == operand
                    elif operator == AT_LEAST:
                        holds = x >= operand
                    elif operator == AT_MOST:
                        holds = x <= operand
                    else:
                        holds = np.isnan(x)
                if not holds:
                    break
            if holds:
                count += 1
                if count == 2:
                    break
        found[q] = count == 1
    return found
