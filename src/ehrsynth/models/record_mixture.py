"""Record mixture: what mixing a few patients into one would leak.

Each record takes its columns from training rows that are near to each other, as oversampling by neighbours does (Chawla
et al., SMOTE, JAIR 2002). It looks new, and gives its sources away: a planted risk that the privacy suite has to find.
"""

import torch
from torch import Tensor

from ehrsynth.layout import Records
from ehrsynth.metrics.neighbours import Points, References
from ehrsynth.models import options
from ehrsynth.models.condition import Condition
from ehrsynth.models.kept_rows import KeptRows
from ehrsynth.schema import Schema

BLOCK = 512  # records whose distances are held at a time


class RecordMixture(KeptRows):
    """Each record takes every schema column from one of ``neighbours`` training rows that are near to each other.

    They are a random training row and those nearest to it, by squared distance, of ``candidates`` random ones, drawn
    anew for every batch. Its checkpoint IS patient rows: a planted risk, never to be handed to anyone who may not see
    the training data, and what it generates hardly less so.

    Args:
        schema: columns to generate.
        seed: kept with the checkpoint; learning draws nothing.
        neighbours: training rows that a record is mixed from; 1 copies.
        candidates: training rows among which the nearest are looked for.

    Raises:
        OptionError: an option is not a value that can work.
    """

    def __init__(self, *, schema: Schema, seed: int = 0, neighbours: int = 3, candidates: int = 8192) -> None:
        super().__init__(schema=schema, seed=seed)
        self.save_hyperparameters(ignore=["schema"])
        options.whole(1, neighbours=neighbours, candidates=candidates)
        self.neighbours, self.candidates = neighbours, candidates
        self.source = torch.tensor([schema.names.index(encoded.column) for encoded in self.layout.fields])

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw records [n, p], each mixed column by column."""
        kept, device = self.kept, self.device
        first = torch.randint(len(kept), (n,), generator=generator, device=device)
        others = torch.randperm(len(kept), generator=generator, device=device)[: self.candidates]
        references = References(_points(kept[others]), None if device.type == "cpu" else device)
        drawn = torch.empty(n, self.layout.width, device=device)
        for rows in torch.arange(n, device=device).split(BLOCK):
            own = first[rows]
            distances = references.squared_distances(_points(kept[own])).to(device)
            distances.masked_fill_(own[:, None] == others, torch.inf)  # a row is not its own neighbour
            nearest = distances.topk(min(self.neighbours - 1, len(others)), largest=False).indices
            group = torch.cat([own[:, None], others[nearest]], dim=1)
            shape = (len(rows), len(self.schema.names))
            chosen = torch.randint(group.shape[1], shape, generator=generator, device=device)
            sources = kept.dense(group.flatten()).nan_to_num(0.0).unflatten(0, group.shape)
            drawn[rows] = sources.gather(1, chosen[:, self.source.to(device)].unsqueeze(1)).squeeze(1)
        return drawn


def _points(records: Records) -> Points:
    return Points(records.bits, records.values.nan_to_num(0.0))
