"""More records are drawn than are wanted, and those kept that together have the shares of the training rows.

What is kept is as the model drew it: no record is altered, and none is there twice. What is matched are the counts of
``targets``, by the weights of ``tilting``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, tee
from math import ceil, nan
from typing import Any

import numpy as np
import torch

from ehrsynth.chunks import ROWS, windows
from ehrsynth.errors import OptionError
from ehrsynth.layout import Records
from ehrsynth.sampling.features import Floats, Indices, Sparse
from ehrsynth.sampling.targets import Targets
from ehrsynth.sampling.tilting import effective_share, inclusion, taken, tilt
from ehrsynth.schema import in_words
from ehrsynth.seeding import numpy_rng

POOL = 1.5  # records drawn for each that is kept
PER_TARGET = 10  # records that weights are found from, for each target at least
FARTHEST = 5  # features that a refusal names
MOST_HELPFUL = 20  # pool that is worth a try
LEAST_WORTH = 0.75  # of the records wanted: what those drawn for them must be worth


@dataclass
class Calibration:
    """What records are calibrated to, and how that went; the latter is filled in while they are drawn.

    Attributes:
        targets: counts of training rows.
        pool: records drawn for each that is kept.
        held: records that are kept at a time, at most.
        required: whether it is an error if the model is too far from the targets; else its records come as it draws
            them, and ``refused`` says why.
        effective: effective sample size of the records drawn, if they are weighted so that they have all shares, as a
            share of them: 1 for a model that has them already.
        refused: why nothing was calibrated.
        before: of each target, its share in the records drawn less that in the training rows.
        after: likewise in those kept.
    """

    targets: Targets
    pool: float = POOL
    held: int = ROWS
    required: bool = True
    effective: float = nan
    refused: str | None = None
    before: Floats | None = field(default=None, repr=False)
    after: Floats | None = field(default=None, repr=False)

    def drawn(self, n: int) -> int:
        """Return how many records to draw for ``n``."""
        return sum(self.pools(n))

    def kept(self, batches: Iterable[Records], n: int, seed: int) -> Iterator[Records]:
        """Yield ``n`` of the ``drawn(n)`` records of some batches, in their order.

        Args:
            batches: records as the model draws them.
            n: to keep.
            seed: of who is kept.

        Raises:
            OptionError: this is ``required``, and the first of the records are worth too little.
        """
        pools, looked_at = tee(Records.even(batches, self.pools(n)[0]))
        for rows, pool in zip(self.chosen(looked_at, n, seed), pools, strict=False):
            yield pool[torch.from_numpy(rows)]

    def pools(self, n: int) -> list[int]:
        """Return the sizes of the pools that the records drawn for ``n`` are taken from."""
        return [self._pool(part) for part in self._windows(n)]

    def chosen(self, pools: Iterable[Records], n: int, seed: int) -> Iterator[Indices]:
        """Yield which records of each pool are kept, in their order; see ``kept``.

        Args:
            pools: the records as they are looked at, in pools of the sizes that ``pools(n)`` says.
            n: to keep.
            seed: of who is kept.
        """
        shares, parts, rng = self.targets.shares, self._windows(n), numpy_rng(seed, "calibrated")
        drawn, had, have = 0, np.zeros(len(shares)), np.zeros(len(shares))
        rest = iter(pools)
        for size, pool in zip(parts, rest, strict=False):
            features = self.targets.features.of(pool)
            drawn, had = drawn + len(pool), had + features.sum(0)
            self.before = had / drawn - shares
            if drawn == len(pool) and not self._worth_it(features):
                yield from _first(chain([pool], rest), n)
                return
            theta = tilt(features, shares, self.targets.rows, len(pool) / size)
            rows = taken(inclusion(features @ theta, size), rng)
            have += features[rows].sum(0)
            yield rows
        self.after = have / n - shares

    def _windows(self, n: int) -> list[int]:
        """Return how many records to keep at a time, so that a million need little memory."""
        return windows(n, self.targets.features.states.layout.width, self.held)

    def _pool(self, n: int) -> int:
        return max(ceil(self.pool * n), PER_TARGET * len(self.targets))

    def _worth_it(self, features: Sparse) -> bool:
        """Say what records are worth if they are weighted without a limit, and whether that is enough."""
        if not len(self.targets):
            return self._refused("there is nothing that enough training rows share")
        theta = tilt(features, self.targets.shares, self.targets.rows)
        logs, needed = features @ theta, LEAST_WORTH / self.pool
        self.effective = effective_share(logs)
        if self.effective >= needed:
            return True
        weights = np.exp(logs - logs.max())
        # what each feature adds to the divergence between weighted and unweighted records, in both directions
        added = theta * (features.T @ weights / weights.sum() - features.mean(0))
        names = dict.fromkeys(self.targets.features.name(place) for place in np.argsort(-added))
        enough = ceil(10 * LEAST_WORTH / self.effective) / 10
        return self._refused(
            "weighted so that they have the shares of the training rows, the records of this model are worth"
            f" {self.effective:.2f} of their number, {needed:.2f} is needed at pool={self.pool:g}; farthest off:"
            f" {in_words(list(names)[:FARTHEST])}",
            f"train longer, {f'use pool={enough:g}, ' if enough <= MOST_HELPFUL else ''}or leave out calibrate",
        )

    def _refused(self, why: str, remedy: str = "leave out calibrate") -> bool:
        if self.required:
            raise OptionError(f"calibrate=true: {why}; {remedy}")
        self.refused = why
        return False

    def __str__(self) -> str:
        if self.refused is not None:
            return f"not calibrated: {self.refused}"
        off = ", ".join(f"{100 * size:.2f} {when} ({name})" for when, (name, size) in self.worst.items())
        return (
            f"{len(self.targets):,} shares of the training rows; effective sample size {self.effective:.2f} of the"
            f" records drawn; largest deviation in percentage points {off}"
        )

    @property
    def worst(self) -> dict[str, tuple[str, float]]:
        """The largest deviation before and after, with the target that it is of."""
        found = {}
        for when, off in (("before", self.before), ("after", self.after)):
            if off is not None and len(off):
                place = int(np.abs(off).argmax())
                found[when] = (self.targets.features.name(place), float(abs(off[place])))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and texts, as provenance holds them."""
        return {
            "targets": len(self.targets),
            "pool": self.pool,
            "effective_share": self.effective,
            "largest_deviation": {when: {"target": name, "share": size} for when, (name, size) in self.worst.items()},
            "refused": self.refused,
        }


def _first(pools: Iterable[Records], n: int) -> Iterator[Indices]:
    for pool in pools:
        yield np.arange(min(n, len(pool)))
        n -= min(n, len(pool))
        if not n:
            return
