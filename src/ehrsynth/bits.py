"""Zeros and ones packed eight to a byte, read like the tensor that they stand for."""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

FEW = 255  # rows whose ones a byte can count
BLOCK = 8192  # rows unpacked at a time


class Bits:
    """0/1 cells [n, B] at an eighth of a byte each.

    It is read like a uint8 tensor: rows give the same cells of these rows, rows and columns the tensor itself, of
    these columns only, and ``ones`` counts without unpacking more than a few rows at a time.

    Args:
        packed: uint8 [n, ceil(B / 8)], the first column of eight in the highest bit; the last byte ends in zeros.
        width: number of columns, B.
    """

    def __init__(self, packed: Tensor, width: int) -> None:
        self.packed = packed
        self.width = width

    @classmethod
    def of(cls, cells: Tensor) -> "Bits":
        """Pack uint8 0/1 ``cells`` [n, B] on the CPU."""
        return cls(torch.from_numpy(np.packbits(cells.numpy(), axis=1)), cells.shape[1])

    @classmethod
    def empty(cls, n: int, width: int) -> "Bits":
        """Return zeros for ``put``, which is quick because each column lies together in memory; see ``by_rows``."""
        return cls(torch.zeros(-(-width // 8), n, dtype=torch.uint8).T, width)

    def put(self, column: int, cells: Tensor) -> None:
        """Set a column that is still zero to uint8 0/1 ``cells`` [n]."""
        self.packed[:, column // 8] |= cells << 7 - column % 8

    def by_rows(self) -> "Bits":
        """Return the same cells with each row together in memory, as reading wants them."""
        return Bits(self.packed.contiguous(), self.width)

    @property
    def shape(self) -> torch.Size:
        """Rows and columns, unpacked."""
        return torch.Size((len(self.packed), self.width))

    def __len__(self) -> int:
        return len(self.packed)

    def to(self, device: torch.device | None) -> "Bits":
        """Return the same cells on a device."""
        return Bits(self.packed.to(device), self.width)

    def unpack(self) -> Tensor:
        """Return all cells as a uint8 tensor [n, B]."""
        if self.packed.device.type == "cpu":
            return torch.from_numpy(np.unpackbits(self.packed.numpy(), axis=1, count=self.width))
        return by_shifts(self.packed)[:, : self.width]

    def ones(self) -> Tensor:
        """Return how many rows have each column, int64 [B]."""
        total = np.zeros(self.width, np.int64)
        packed = self.packed.cpu().numpy()
        for start in range(0, len(packed), FEW):
            cells = np.unpackbits(packed[start : start + FEW], axis=1, count=self.width)
            total += cells.sum(0, dtype=np.uint8)
        return torch.from_numpy(total).to(self.packed.device)

    @overload
    def __getitem__(self, key: tuple[Any, Any]) -> Tensor: ...

    @overload
    def __getitem__(self, key: Tensor | slice) -> "Bits": ...

    def __getitem__(self, key: Any) -> "Tensor | Bits":
        if not isinstance(key, tuple):
            return Bits(self._rows(key), self.width)
        rows, columns = key
        device = self.packed.device
        places = torch.arange(self.width)[columns].to(device)
        if isinstance(columns, slice) and columns.step in (None, 1) and len(places):
            first, last = int(places[0]), int(places[-1])
            few = Bits(self._rows(rows)[:, first // 8 : last // 8 + 1], last + 1 - first // 8 * 8)
            return few.unpack()[:, first % 8 :]
        cells = self._rows(rows)[:, places // 8]
        return (cells >> (7 - places % 8).to(torch.uint8)) & 1

    def _rows(self, rows: Tensor | slice) -> Tensor:
        if isinstance(rows, Tensor) and rows.dtype == torch.int64:
            return self.packed.index_select(0, rows)  # several times faster than indexing
        return self.packed[rows]


Cells = Tensor | Bits  # uint8 0/1 [n, B]: a tensor for what is small or still written to, packed for what may be large


def by_shifts(packed: Tensor) -> Tensor:
    """Unpack uint8 [n, b] to [n, 8 b] on whatever device it lies; NumPy is quicker on a CPU."""
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=packed.device)
    return ((packed[:, :, None] >> places) & 1).flatten(1)


def pack(cells: Cells) -> Bits:
    """Return the cells packed, without a copy if they are."""
    return cells if isinstance(cells, Bits) else Bits.of(cells)


def unpack(cells: Cells) -> Tensor:
    """Return the cells as a uint8 tensor, without a copy if they are one; meant for a block of rows."""
    return cells.unpack() if isinstance(cells, Bits) else cells


def ones(cells: Cells) -> Tensor:
    """Return how many rows have each column, int64 [B]."""
    if isinstance(cells, Bits):
        return cells.ones()
    return torch.from_numpy(cells.numpy().sum(0, dtype=np.int64))  # torch sums 30 times slower


def chosen(cells: Cells, columns: Sequence[int]) -> Bits:
    """Return some of the columns, packed, a block of rows at a time."""
    blocks = [Bits.of(cells[start : start + BLOCK, columns]).packed for start in range(0, len(cells), BLOCK)]
    return Bits(torch.cat(blocks), len(columns))


def as_sparse(cells: Cells, columns: Sequence[int] | slice) -> sparse.csr_array:
    """Return some of the columns as a sparse uint8 table [n, k], a block of rows at a time."""
    blocks = [sparse.csr_array(cells[start : start + BLOCK, columns].numpy()) for start in range(0, len(cells), BLOCK)]
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))
