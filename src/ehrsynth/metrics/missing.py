"""Missing values, in the one way all joint metrics treat them: filled with the mean of the training rows.

The missing indicator is itself an encoded column, so a filled cell still differs from an observed one.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ehrsynth.bits import unpack
from ehrsynth.layout import Records

BLOCK = 8192  # rows made dense at a time
CELLS = 2**25  # and fewer if they are wide


def observed_means(values: Tensor) -> Tensor:
    """Return the mean [C] of the observed cells of ``values`` [n, C] in float64; 0 where a column has none."""
    return values.to(torch.float64).nanmean(0).nan_to_num(0.0)


def filled(values: Tensor, means: Tensor) -> Tensor:
    """Return ``values`` [n, C] with NaN replaced by the ``means`` [C] of their columns."""
    return torch.where(values.isnan(), means.to(values.dtype), values)


def filled_blocks(records: Records, means: Tensor) -> Iterator[Tensor]:
    """Yield the records in order as float32 [m, p], missing values filled with ``means`` [C]."""
    for part in records.blocks(min(BLOCK, max(CELLS // max(records.layout.width, 1), 1))):
        yield torch.cat([unpack(part.bits).float(), filled(part.values, means)], dim=1)
