"""How the columns of a schema lie in a tensor.

    [ bits | one-hot groups | values ]
      codes, missing          categorical    continuous and count columns,
      indicators              columns        min-max scaled by the training rows

The part left of the values is binary, so ``Records`` keeps it as bits or bytes. What a block is activated and drawn by
is for ``kinds`` to say.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ehrsynth.bits import Bits, Cells, pack, unpack
from ehrsynth.errors import TrainingError
from ehrsynth.kinds import Field, FieldKind, fields_of, harden_bits, harden_levels
from ehrsynth.schema import Schema

BLOCKS: tuple[FieldKind, ...] = ("bit", "missing", "level", "value")  # in this order
DIGESTED = 65_536  # rows hashed at a time


def refuse_nan(x: Tensor) -> None:
    """Raise a ``TrainingError`` if what a network says about records to be drawn is not all numbers."""
    if x.isnan().any():
        raise TrainingError(
            "the model draws NaN, so its training diverged; lower the learning rate, or check the training table"
            " for extreme values"
        )


@dataclass(frozen=True)
class Layout:
    """The order of the encoded columns and the blocks they form."""

    fields: tuple[Field, ...]

    @classmethod
    def of(cls, schema: Schema) -> "Layout":
        """Lay out a schema.

        A categorical column that may be missing gets one more level, named ``COLUMN:missing``; a
        numeric one gets a bit of that name after the codes, so that missingness is generated too.
        """
        fields = [field for column in schema.columns for field in fields_of(column)]
        return cls(tuple(sorted(fields, key=lambda field: BLOCKS.index(field.kind))))

    @cached_property
    def names(self) -> list[str]:
        """Encoded column names in order."""
        return [field.name for field in self.fields]

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """The encoded columns of each schema column, by its name, in order: a bit, the levels, or gap and value."""
        found: dict[str, list[int]] = {}
        for place, encoded in enumerate(self.fields):
            found.setdefault(encoded.column, []).append(place)
        return found

    @property
    def width(self) -> int:
        """Number of encoded columns, p in the definitions of the metrics."""
        return len(self.fields)

    @cached_property
    def bits(self) -> slice:
        """Independent 0/1 columns: codes, then missing indicators."""
        return slice(0, sum(field.kind in ("bit", "missing") for field in self.fields))

    @cached_property
    def groups(self) -> dict[str, slice]:
        """One slice per categorical column, by its name."""
        found = self.places.items()
        return {name: slice(at[0], at[-1] + 1) for name, at in found if self.fields[at[0]].kind == "level"}

    @cached_property
    def binary(self) -> slice:
        """All 0/1 columns, one-hot indicators included: B in the definitions of the metrics."""
        return slice(0, sum(field.kind != "value" for field in self.fields))

    @cached_property
    def values(self) -> slice:
        """Min-max scaled columns: C in the definitions of the metrics."""
        return slice(self.binary.stop, self.width)

    def missing_bits(self) -> list[tuple[int, int]]:
        """Pairs (encoded column of the indicator, position within the value block) of what may be missing."""
        found = self.places.values()
        return [(at[0], at[1] - self.values.start) for at in found if self.fields[at[0]].kind == "missing"]

    def gaps(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return ``missing_bits`` as indices that stay on a device: lists are sent there each time, and waited for."""
        if device not in self._gaps:
            with torch.inference_mode(False):  # else training could not use them after the first draw
                bits, values = torch.tensor(self.missing_bits(), dtype=torch.int64).reshape(-1, 2).to(device).unbind(1)
            self._gaps[device] = bits, values
        return self._gaps[device]

    @cached_property
    def _gaps(self) -> dict[torch.device, tuple[Tensor, Tensor]]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is kept on devices."""
        return {"fields": self.fields}

    def activate(self, logits: Tensor) -> Tensor:
        """Map logits [..., p] to probabilities: sigmoid for bits and values, softmax per group."""
        parts = [logits[..., self.bits].sigmoid()]
        parts += [logits[..., group].softmax(-1) for group in self.groups.values()]
        return torch.cat([*parts, logits[..., self.values].sigmoid()], dim=-1)

    def harden(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Turn probabilities [n, p] into hard records [n, p] of 0/1 bits and one-hot groups.

        Args:
            x: per-column probabilities or scores; values are clipped to [0, 1] and kept.
            generator: draw bits (Bernoulli) and levels (categorical) with it; without one, bits are
                thresholded at 0.5 and each group takes its largest entry.

        Raises:
            TrainingError: some are NaN, for the weights have left what numbers can hold, though no loss had.
        """
        refuse_nan(x)
        return self.drawn(x, generator)

    def drawn(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return what ``harden`` does, of what is known to be numbers: to ask a GPU for that in each step waits."""
        parts = [harden_bits(x[:, self.bits], generator)]
        parts += [harden_levels(x[:, group], generator) for group in self.groups.values()]
        return torch.cat([*parts, x[:, self.values].clamp(0, 1)], dim=1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dictionaries, as a checkpoint holds them."""
        return {"fields": [asdict(field) for field in self.fields]}


@dataclass(frozen=True, eq=False)
class Records:
    """Encoded records in compact form: bits or bytes for what is binary, float32 for the rest.

    Attributes:
        layout: the meaning of the columns.
        bits: uint8 [n, B], bits and one-hot indicators: a tensor, or packed eight to a byte.
        values: float32 [n, C], scaled by the training minimum and maximum; NaN where missing.
    """

    layout: Layout
    bits: Cells = field(repr=False)  # patients are not for printing
    values: Tensor = field(repr=False)

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, rows: Tensor | slice) -> "Records":
        return Records(self.layout, self.bits[rows], self.values[rows])

    def blocks(self, rows: int) -> Iterator["Records"]:
        """Yield the records in order, at most so many at a time."""
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def to(self, device: torch.device) -> "Records":
        """Return the same records on a device."""
        return Records(self.layout, self.bits.to(device), self.values.to(device))

    def dense(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Return the chosen rows as float32 [m, p]; missing values stay NaN."""
        return torch.cat([unpack(self.bits[rows]).to(torch.float32), self.values[rows]], dim=1)

    def with_gaps(self) -> "Records":
        """Return the same records with NaN under every set missing indicator, where batches have a value filled in."""
        values = self.values.clone()
        for bit, value in self.layout.missing_bits():
            values[self.bits[:, bit].bool(), value] = torch.nan
        return Records(self.layout, self.bits, values)

    def packed(self) -> "Records":
        """Return the same records in an eighth of the memory."""
        return Records(self.layout, pack(self.bits), self.values)

    def digest(self) -> bytes:
        """Return the SHA-256 of shape and cells, packed or not."""
        found = hashlib.sha256(str((*self.bits.shape, *self.values.shape)).encode())
        for part in self.blocks(DIGESTED):
            found.update(pack(part.bits).packed.numpy().tobytes())
        found.update(self.values.contiguous().numpy().data)
        return found.digest()

    @classmethod
    def joined(cls, parts: Iterable["Records"]) -> "Records":
        """Return the rows of one or more tables of one layout, packed, one table after the other."""
        tables = [part.packed() for part in parts]
        layout = tables[0].layout
        packed = torch.cat([pack(table.bits).packed for table in tables])
        return cls(layout, Bits(packed, layout.binary.stop), torch.cat([table.values for table in tables]))

    @classmethod
    def collected(cls, layout: Layout, n: int, parts: Iterable["Records"]) -> "Records":
        """Return the rows of tables that come one after another, ``n`` in all, packed; none of the tables is kept."""
        bits, values = Bits.empty(n, layout.binary.stop).by_rows(), torch.empty(n, layout.width - layout.values.start)
        start = 0
        for part in parts:
            rows = slice(start, start + len(part))
            bits.packed[rows], values[rows] = pack(part.bits).packed, part.values
            start = rows.stop
        return cls(layout, bits, values)

    @classmethod
    def of_dense(cls, layout: Layout, x: Tensor) -> "Records":
        """Compact hard records [n, p]; values under a set missing indicator become NaN."""
        bits, values = (x[:, layout.binary] > 0.5).to(torch.uint8), x[:, layout.values].to(torch.float32)
        return cls(layout, bits, values).with_gaps()

    @classmethod
    def even(cls, parts: Iterable["Records"], rows: int) -> Iterator["Records"]:
        """Yield the rows of all parts in tables of so many rows; the last may have less."""
        waiting: list[Records] = []
        for part in parts:
            waiting.append(part)
            if sum(map(len, waiting)) >= rows:
                *full, rest = cls.joined(waiting).blocks(rows)
                yield from full
                if len(rest) == rows:
                    yield rest
                waiting = [rest] if len(rest) < rows else []
        if waiting:
            yield cls.joined(waiting)
