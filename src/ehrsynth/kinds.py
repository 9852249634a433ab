"""What a column's kind decides, from the cells of a table to the chances that a model gives them.

    kind                encoded as                         output    drawn                likelihood
    binary              a bit                              sigmoid   Bernoulli            Bernoulli
    categorical         an indicator for each level,       softmax   one of the levels    categorical
                        and for missing
    continuous, count   a value scaled by its bounds,      sigmoid   kept, within [0, 1]  Gaussian
                        and a bit if it may be missing

Cells are encoded and decoded one column at a time. Activation, draw and likelihood are of blocks: all bits together,
the indicators of one category, all values together; ``Layout`` knows where these lie.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ehrsynth.errors import TableError
from ehrsynth.schema import Column, Unseen, as_text

FieldKind = Literal["bit", "missing", "level", "value"]

MOST_DECIMALS = 6


@dataclass(frozen=True)
class Field:
    """One encoded column: its name, the schema column it comes from, and what it encodes."""

    name: str
    column: str
    kind: FieldKind


def fields_of(column: Column) -> list[Field]:
    """Return the encoded columns, what says that a cell is missing before what holds a number."""
    gap = [f"{column.name}:missing"] if column.missing else []
    if column.kind == "categorical":
        names = [f"{column.name}={level}" for level in column.levels]
        return [Field(name, column.name, "level") for name in names + gap]
    gaps = [Field(name, column.name, "missing") for name in gap]
    return [*gaps, Field(column.name, column.name, "value" if column.numeric else "bit")]


def dtype_of(column: Column) -> type:
    """Return the type of decoded cells."""
    whole = column.kind == "count" and not column.missing
    return {"binary": np.int8, "categorical": str}.get(column.kind, np.int64 if whole else np.float64)


def encoded(column: Column, cells: pd.Series, unseen: Unseen) -> Iterator[NDArray[Any]]:
    """Yield the cells [n] of each of ``fields_of``: uint8 zeros and ones, or scaled numbers, NaN where missing.

    Raises:
        TableError: a level that the column does not have, unless ``unseen`` is ``zero``.
    """
    if column.kind == "binary":
        yield cells.to_numpy(np.uint8, copy=True)
    elif column.kind == "categorical":
        numbers = pd.Index(column.levels).get_indexer(pd.Index(as_text(cells)))
        empty = cells.isna().to_numpy()  # the text of an empty cell, nan, may be the name of a level
        chosen = np.where(empty, len(column.levels) if column.missing else -1, numbers)
        if unseen == "refuse" and (chosen < 0).any():
            row, levels = int(np.flatnonzero(chosen < 0)[0]), len(column.levels)
            raise TableError(f"column {column.name!r}, row {row}: not one of the {levels} levels of the schema")
        for level in range(len(column.levels) + column.missing):
            yield (chosen == level).astype(np.uint8)
    else:
        values = cells.to_numpy(float, na_value=np.nan)
        if column.missing:
            yield np.isnan(values).astype(np.uint8)
        yield scaled(column, values)


def decoded(column: Column, cells: NDArray[Any]) -> pd.Series:
    """Return the cells of a table from the hard indicators [n, k] of a column, or from its value [n, 1]."""
    if column.numeric:
        return pd.Series(unscaled(column, cells[:, 0]), dtype=dtype_of(column))
    if column.kind == "binary":
        return pd.Series(cells[:, 0], dtype=dtype_of(column))
    levels = np.array([*column.levels, None] if column.missing else column.levels, dtype=object)
    return pd.Series(levels[cells.argmax(1)], dtype=dtype_of(column))


def span(column: Column) -> tuple[float, float]:
    """Return the number that 0 stands for in records, and how far from it 1 is; 1 where all training rows agree."""
    assert column.bounds is not None
    low, high = column.bounds
    return low, high - low or 1.0


def scaled(column: Column, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers [n] as records hold them: 0 and 1 are the bounds of the column, NaN is missing."""
    low, width = span(column)
    return (numbers - low) / width


def unscaled(column: Column, scaled: ArrayLike | Tensor) -> NDArray[np.float64]:
    """Return scaled numbers [n] in the column's own units, NaN where missing.

    They are rounded to the decimals of the training data, since records hold float32: 45 years come back as 44.999998.
    """
    low, width = span(column)
    return np.round(np.asarray(scaled, dtype=np.float64) * width + low, decimals_of(column)) + 0.0  # no minus zero


def decimals_of(column: Column) -> int:
    """Return how many digits after the point a table shows of a number."""
    return 0 if column.kind == "count" else MOST_DECIMALS if column.decimals is None else column.decimals


def harden_bits(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw bits from their probabilities [n, k]; without a generator, those above one half are set."""
    return (x > 0.5).to(x.dtype) if generator is None else torch.bernoulli(x.clamp(0, 1), generator=generator)


def harden_levels(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw one of the levels of a category from scores [n, k], as indicators; without a generator, the largest."""
    if generator is None:
        chosen = x.argmax(-1)
    else:
        weights = x.clamp(0, 1) + torch.finfo(x.dtype).tiny  # a row of zeros becomes uniform
        # as torch.multinomial draws one, which first asks the device for the smallest and largest weight, and waits
        chosen = (weights / torch.empty_like(weights).exponential_(generator=generator)).argmax(-1)
    return torch.zeros_like(x).scatter_(-1, chosen.unsqueeze(-1), 1.0)


def bits_nll(x: Tensor, logits: Tensor) -> Tensor:
    """Return -log p [..., k] of each bit, in nats."""
    return binary_cross_entropy_with_logits(logits, x, reduction="none")


def levels_nll(x: Tensor, logits: Tensor) -> Tensor:
    """Return -log p [...] of the level that the indicators [..., k] of one category name, in nats."""
    return -(x * logits.log_softmax(-1)).sum(-1)


def values_nll(x: Tensor, logits: Tensor, std: Tensor) -> Tensor:
    """Return -log p [..., k] of each value, in nats, up to the constant of the Gaussian; ``std`` is around the mean."""
    return 0.5 * ((x - logits.sigmoid()) / std).square() + std.log()
