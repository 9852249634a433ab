"""Record mixture: what mixing the visits of a few patients into one record would leak.

The simplest of the personalised copies, as TWIN makes them (Das et al., KDD 2023), and oversampling by neighbours for
sequences (k = 3 in PyTrial's form): a planted risk that the privacy suite has to find.
"""

import numpy as np
import torch
from torch import Tensor

from ehrsynth.models import options
from ehrsynth.models.visits.kept_visits import BLOCK, KeptVisits
from ehrsynth.schema import Schema
from ehrsynth.visits import Integers, Visits, VisitSchema


class RecordMixtureVisits(KeptVisits):
    """Each record takes every visit from one of ``neighbours`` training patients who are near to each other.

    They are a random training patient and those nearest to it, of ``candidates`` random ones, drawn anew for every
    batch: by squared distance of rows and of which codes they ever had. Visit j is that of one of them who has so many,
    at its gap from the one before; each column of the row comes from one of them. Given rows, the first patient is one
    whose row is nearest. Its checkpoint IS patients: a planted risk, never to be handed to anyone who may not see the
    training data, and what it generates hardly less so.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        seed: kept with the checkpoint; learning draws nothing.
        neighbours: patients that a record is mixed from; 1 copies.
        candidates: patients among whom the nearest are looked for.

    Raises:
        OptionError: an option is not a value that can work.
    """

    def __init__(
        self,
        *,
        schema: Schema,
        visit_schema: VisitSchema,
        seed: int = 0,
        neighbours: int = 3,
        candidates: int = 8192,
    ) -> None:
        super().__init__(schema=schema, visit_schema=visit_schema, seed=seed)
        self.save_hyperparameters(ignore=["schema", "visit_schema"])
        options.whole(1, neighbours=neighbours, candidates=candidates)
        self.neighbours, self.candidates = neighbours, candidates
        self.source = torch.tensor([schema.names.index(encoded.column) for encoded in self.layout.fields])

    def sample(self, n: int, generator: torch.Generator, static: Tensor | None = None) -> tuple[Tensor, Visits]:
        """Draw rows [n, s] and visits, each record mixed visit by visit."""
        device = self.device
        if static is None:
            first = torch.randint(len(self.static), (n,), generator=generator, device=device)
        else:
            first = self.nearest(static, generator)
        group = self._near(first, generator)
        if static is None:
            chosen = torch.randint(group.shape[1], (n, len(self.schema.names)), generator=generator, device=device)
            static = self.static[group].gather(1, chosen[:, self.source.to(device)].unsqueeze(1)).squeeze(1)
        return static, self._mixed(group, generator)

    def _near(self, first: Tensor, generator: torch.Generator) -> Tensor:
        """Return patients [n, neighbours], the ``first`` [n] and those nearest to each."""
        others = torch.randperm(len(self.static), generator=generator, device=self.device)[: self.candidates]
        points = self._points(others)
        found = []
        for rows in first.split(BLOCK):
            apart = torch.cdist(self._points(rows), points)
            apart = apart.masked_fill(rows[:, None] == others, torch.inf)  # nobody is one's own neighbour
            nearest = apart.topk(min(self.neighbours - 1, len(others)), largest=False).indices
            found.append(torch.cat([rows[:, None], others[nearest]], dim=1))
        return torch.cat(found) if found else first[:, None]

    def _points(self, patients: Tensor) -> Tensor:
        """Return rows and the codes ever had [k, s + codes] of some patients."""
        visits = self.kept.of_patients(patients.cpu().numpy())
        ever = torch.zeros(len(patients), len(self.visit_schema.codes), device=self.device)
        ever[visits.patient[visits.visit_of_code], visits.codes] = 1.0
        return torch.cat([self.static[patients], ever], dim=1)

    def _mixed(self, group: Tensor, generator: torch.Generator) -> Visits:
        """Return records as long as those of the first patients of each group [n, k], visit j from any who has one."""
        kept, members = self.kept, group.cpu().numpy()
        like = members[:, 0]
        offsets: Integers = np.concatenate([np.zeros(1, np.int64), kept.per_patient[like].cumsum()])
        record = np.repeat(np.arange(len(like)), np.diff(offsets))
        number = np.arange(offsets[-1]) - offsets[record]
        chance = torch.rand(len(record), members.shape[1], generator=generator, device=self.device).cpu().numpy()
        able = kept.per_patient[members[record]] > number[:, None]
        source = members[record, np.where(able, chance, -1.0).argmax(1)]
        order = kept.offsets[:-1][source] + number
        return self.assembled(order, offsets, np.diff(kept.starts, prepend=0)[order], like)
