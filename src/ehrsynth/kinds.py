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

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot
from typing_extensions import override

from ehrsynth.errors import TableError
from ehrsynth.schema import Column, Kind, Unseen, as_text

FieldKind = Literal["bit", "missing", "level", "value"]

MOST_DECIMALS = 6


@dataclass(frozen=True)
class Field:
    """One encoded column: its name, the schema column it comes from, and what it encodes."""

    name: str
    column: str
    kind: FieldKind


class ColumnKind(ABC):
    """How columns of one kind are encoded, decoded, activated and drawn, and how likely their cells are."""

    @abstractmethod
    def dtype(self, column: Column) -> type:
        """Return the type of decoded cells."""

    @abstractmethod
    def fields(self, column: Column) -> list[Field]:
        """Return the encoded columns, what says that a cell is missing before what holds its value."""

    @abstractmethod
    def encode(self, column: Column, cells: pd.Series, unseen: Unseen) -> Iterator[NDArray[Any]]:
        """Yield the cells [n] of each of the ``fields``: uint8 zeros and ones, or scaled numbers, NaN where missing.

        Raises:
            TableError: a level that the column does not have, unless ``unseen`` is ``zero``.
        """

    @abstractmethod
    def decode(self, column: Column, encoded: NDArray[Any]) -> NDArray[Any]:
        """Return the cells [n] of hard indicators or of the value [n, k]."""

    @abstractmethod
    def activate(self, logits: Tensor) -> Tensor:
        """Map the logits [..., k] of a block to probabilities, or to values in [0, 1]."""

    @abstractmethod
    def harden(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the hard cells of a block of probabilities [n, k]: drawn with a generator, the likeliest without."""


class Binary(ColumnKind):
    """0 or 1."""

    @override
    def dtype(self, column: Column) -> type:
        return np.int8

    @override
    def fields(self, column: Column) -> list[Field]:
        return [Field(column.name, column.name, "bit")]

    @override
    def encode(self, column: Column, cells: pd.Series, unseen: Unseen) -> Iterator[NDArray[np.uint8]]:
        yield cells.to_numpy(np.uint8, copy=True)

    @override
    def decode(self, column: Column, encoded: NDArray[Any]) -> NDArray[np.int8]:
        return encoded[:, 0].astype(np.int8)

    @override
    def activate(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    @override
    def harden(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return (x > 0.5).to(x.dtype) if generator is None else torch.bernoulli(x.clamp(0, 1), generator=generator)

    def negative_log_likelihood(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return -log p [..., k] of each bit in nats; missing indicators are bits too."""
        return binary_cross_entropy_with_logits(logits, x, reduction="none")


class Categorical(ColumnKind):
    """One of the levels; that a cell is missing is one more."""

    @override
    def dtype(self, column: Column) -> type:
        return str

    @override
    def fields(self, column: Column) -> list[Field]:
        names = [f"{column.name}={level}" for level in column.levels] + [f"{column.name}:missing"] * column.missing
        return [Field(name, column.name, "level") for name in names]

    @override
    def encode(self, column: Column, cells: pd.Series, unseen: Unseen) -> Iterator[NDArray[np.uint8]]:
        numbers = pd.Index(column.levels).get_indexer(pd.Index(as_text(cells)))
        empty = cells.isna().to_numpy()  # the text of an empty cell, nan, may be the name of a level
        chosen = np.where(empty, len(column.levels) if column.missing else -1, numbers)
        if unseen == "refuse" and (chosen < 0).any():
            row, levels = int(np.flatnonzero(chosen < 0)[0]), len(column.levels)
            raise TableError(f"column {column.name!r}, row {row}: not one of the {levels} levels of the schema")
        for level in range(len(column.levels) + column.missing):
            yield (chosen == level).astype(np.uint8)

    @override
    def decode(self, column: Column, encoded: NDArray[Any]) -> NDArray[np.object_]:
        levels = np.array([*column.levels, None] if column.missing else column.levels, dtype=object)
        return np.asarray(levels[encoded.argmax(1)])

    @override
    def activate(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)

    @override
    def harden(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            chosen = x.argmax(-1)
        else:
            weights = x.clamp(0, 1) + torch.finfo(x.dtype).tiny  # a row of zeros becomes uniform
            chosen = torch.multinomial(weights, 1, generator=generator).squeeze(-1)
        return one_hot(chosen, x.shape[-1]).to(x.dtype)

    def negative_log_likelihood(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return -log p [...] of the level that one category's indicators [..., k] name, in nats."""
        return -(x * logits.log_softmax(-1)).sum(-1)


class Number(ColumnKind):
    """A continuous or whole number."""

    @override
    def dtype(self, column: Column) -> type:
        return np.int64 if column.kind == "count" and not column.missing else np.float64

    @override
    def fields(self, column: Column) -> list[Field]:
        gap = [Field(f"{column.name}:missing", column.name, "missing")] * column.missing
        return [*gap, Field(column.name, column.name, "value")]

    @override
    def encode(self, column: Column, cells: pd.Series, unseen: Unseen) -> Iterator[NDArray[Any]]:
        numbers = cells.to_numpy(float, na_value=np.nan)
        if column.missing:
            yield np.isnan(numbers).astype(np.uint8)
        low, width = span(column)
        yield (numbers - low) / width

    @override
    def decode(self, column: Column, encoded: NDArray[Any]) -> NDArray[np.float64]:
        return unscaled(column, encoded[:, 0])

    @override
    def activate(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    @override
    def harden(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return x.clamp(0, 1)

    def negative_log_likelihood(self, x: Tensor, logits: Tensor, std: Tensor) -> Tensor:
        """Return -log p [..., k] of scaled values in nats, up to the constant of the Gaussian.

        Args:
            x: values [..., k].
            logits: of their means.
            std: of each around its mean, [k] or one for every cell.
        """
        error = (x - logits.sigmoid()) / std
        return 0.5 * error.square() + std.log()


BINARY, CATEGORICAL, NUMBER = Binary(), Categorical(), Number()
_KINDS: dict[Kind, ColumnKind] = {
    "binary": BINARY,
    "categorical": CATEGORICAL,
    "continuous": NUMBER,
    "count": NUMBER,
}


def kind_of(column: Column) -> ColumnKind:
    """Return what is known of the kind of a column."""
    return _KINDS[column.kind]


def span(column: Column) -> tuple[float, float]:
    """Return the number that 0 stands for in records, and how far from it 1 is; 1 where all training rows agree."""
    assert column.bounds is not None
    low, high = column.bounds
    return low, high - low or 1.0


def unscaled(column: Column, scaled: ArrayLike | Tensor) -> NDArray[np.float64]:
    """Return scaled numbers [n] in the column's own units, NaN where missing.

    They are rounded to the decimals of the training data, since records hold float32: 45 years come back as 44.999998.
    """
    low, width = span(column)
    decimals = 0 if column.kind == "count" else MOST_DECIMALS if column.decimals is None else column.decimals
    return np.round(np.asarray(scaled, dtype=np.float64) * width + low, decimals) + 0.0  # no minus zero
