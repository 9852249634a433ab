"""More records are drawn under a condition than are wanted, and those kept that the model finds likely without it.

A model that is told a condition at the start draws from q(x | condition), which is near p(x | condition), the
conditional distribution of what it draws when it is told nothing, and cheap. Records kept with chances that grow as
p(x) / q(x | condition) are from the latter, up to what a limited number of draws cannot have: sampling, importance
resampling (Rubin, 1987), without replacement.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil, nan
from typing import Any

import torch

from ehrsynth.chunks import windows
from ehrsynth.layout import Records
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.sampling.tilting import effective_share, inclusion, taken
from ehrsynth.seeding import numpy_rng

CANDIDATES = 4.0  # records drawn for each that is kept


@dataclass
class Weighing:
    """Records under one condition, kept by what their model says of them without it.

    Attributes:
        model: that draws them, and ``weighs``.
        condition: one row, on its device.
        pool: records drawn for each that is kept.
        effective: how many equally weighted records those drawn are worth, as a share of them; filled in.
    """

    model: SyntheticModel = field(repr=False)
    condition: Condition = field(repr=False)
    pool: float = CANDIDATES
    effective: float = nan

    def drawn(self, n: int) -> int:
        """Return how many records to draw for ``n``."""
        return sum(ceil(self.pool * size) for size in windows(n, self.model.layout.width))

    def kept(self, batches: Iterable[Records], n: int, seed: int) -> Iterator[Records]:
        """Yield ``n`` of the ``drawn(n)`` records of some batches, in their order.

        Args:
            batches: records as the model draws them under the condition.
            n: to keep.
            seed: of who is kept.
        """
        parts, rng, worth, drawn = windows(n, self.model.layout.width), numpy_rng(seed, "weighed"), 0.0, 0
        for size, pool in zip(parts, Records.even(batches, ceil(self.pool * parts[0])), strict=True):
            logs = self.model.log_weights(pool, self.condition).double().cpu().numpy()
            worth, drawn = worth + len(pool) * effective_share(logs), drawn + len(pool)
            yield pool[torch.from_numpy(taken(inclusion(logs, size), rng))]
        self.effective = worth / drawn

    def __str__(self) -> str:
        return (
            f"{self.pool:g} records drawn for each; effective sample size {self.effective:.2f} of them,"
            f" {1 / self.pool:.2f} or more is wanted" + ("" if self.enough else f": more by pool={self.wanted:g}")
        )

    @property
    def enough(self) -> bool:
        """Whether the records drawn are worth as many as are kept."""
        return self.effective * self.pool >= 1

    @property
    def wanted(self) -> int:
        """The pool that would do."""
        return ceil(1 / self.effective)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, as provenance holds them."""
        return {"pool": self.pool, "effective_share": self.effective}
