"""Models whose checkpoint IS patients and their visits: anchors and planted risks, which keep everything."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.models.visits.base import LooksOnce
from ehrsynth.schema import Schema
from ehrsynth.visits import UNKNOWN, Integers, Visits, VisitSchema

BLOCK = 512  # patients whose distances are held at a time
NAMES = tuple(Visits.__dataclass_fields__)


class KeptVisits(LooksOnce):
    """The training patients, kept."""

    keeps_rows = True
    static: Tensor

    def __init__(self, *, schema: Schema, visit_schema: VisitSchema, seed: int) -> None:
        super().__init__(schema=schema, visit_schema=visit_schema, seed=seed)
        self.register_buffer("static", torch.zeros(0, self.layout.width))
        for name in NAMES:
            self.register_buffer(f"visits_{name}", torch.zeros(0, dtype=torch.int64))
        self._kept: Visits | None = None

    @override
    def observe(self, static: Tensor, visits: Visits) -> None:
        super().observe(static, visits)
        self.static = static.to(self.device)
        for name in NAMES:
            setattr(self, f"visits_{name}", torch.from_numpy(getattr(visits, name).copy()).to(self.device))
        self._kept = None

    @override
    def load_state_dict(self, state_dict: object, strict: bool = True, assign: bool = False) -> object:
        """Load the patients, whose numbers have the types that they were kept in."""
        assert isinstance(state_dict, dict)
        for name in NAMES:
            if (kept := state_dict.get(f"visits_{name}")) is not None:
                setattr(self, f"visits_{name}", torch.empty_like(kept, device=self.device))
        self._kept = None
        return super().load_state_dict(state_dict, strict, assign)

    @property
    def kept(self) -> Visits:
        """The visits of the training patients."""
        if self._kept is None:
            self._kept = Visits(**{name: getattr(self, f"visits_{name}").cpu().numpy() for name in NAMES})
        return self._kept

    def nearest(self, static: Tensor, generator: torch.Generator) -> Tensor:
        """Return the training patient [n] whose row is nearest to each of ``static`` [n, s], of several any."""
        found = []
        for rows in static.split(BLOCK):
            apart = torch.cdist(rows, self.static)
            chance = torch.rand(apart.shape, generator=generator, device=apart.device)
            found.append(torch.where(apart <= apart.amin(1, keepdim=True) + 1e-5, chance, -1.0).argmax(1))
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64, device=static.device)

    def assembled(self, order: Integers, offsets: Integers, gaps: Integers, like: Integers) -> Visits:
        """Return patients of kept visits, with new dates.

        Args:
            order: the kept visit that each of theirs is like.
            offsets: of their visits.
            gaps: microseconds since the visit before of each, which count for nothing at first visits.
            like: the kept patient of each whose first date, age then, and days from the last visit's end to death they
                share.
        """
        kept = self.kept
        firsts = np.zeros(len(like), np.int64)
        held = kept.per_patient[like] > 0
        firsts[held] = kept.starts[kept.offsets[:-1][like[held]]]
        gaps = gaps.copy()
        gaps[offsets[:-1][np.diff(offsets) > 0]] = 0
        sums = np.concatenate([np.zeros(1, np.int64), gaps.cumsum()])
        patient = np.repeat(np.arange(len(like)), np.diff(offsets))
        starts = firsts[patient] + sums[1:] - sums[offsets[:-1]][patient]
        ends = np.where(kept.ends[order] == UNKNOWN, UNKNOWN, starts + (kept.ends - kept.starts)[order])
        if not bool(self.calendar.overlaps) and len(starts):
            before = np.flatnonzero(np.diff(patient) == 0)
            ends[before] = np.minimum(ends[before], starts[before + 1])
        found = kept.with_content(order, offsets, starts, ends, kept.born[like], kept.died[like])
        dead = np.flatnonzero((found.died != UNKNOWN) & held & (found.per_patient > 0))
        died, comes = found.died.copy(), starts[found.offsets[1:][dead] - 1]
        beyond = np.maximum(died[dead] - kept.left[like[dead]], 0)
        died[dead] = self.calendar.deaths_after(comes, found.left[dead], beyond)
        return replace(found, died=died)
