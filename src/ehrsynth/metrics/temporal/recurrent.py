"""A small recurrent classifier of records: what it is shown of each visit, and how it is trained."""

import copy
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot
from torch.nn.utils.rnn import pack_padded_sequence

from ehrsynth.metrics.temporal.reshaped import first_visits
from ehrsynth.metrics.temporal.tasks import Scale
from ehrsynth.visit_batch import batch_of, in_blocks
from ehrsynth.visits import Integers, Visits, VisitSchema

HIDDEN, BATCH, EVERY = 32, 64, 30
LEARNING_RATE = 1e-2
CHOOSING = 8  # one record in so many says which weights are kept
LONGEST = 50  # visits of a record that are looked at, its first ones


class RecurrentClassifier(nn.Module):
    """A GRU over visits, and a linear layer on what it knows after the last.

    A visit is shown by its kind, the codes that are asked for, log(1 + codes), log(1 + days since the one before), 0 at
    the first, and each measurement in standard deviations with whether it is there.

    Args:
        schema: of the visits.
        codes: places of those that are looked at.
        scale: of the measurements.
        generator: draws the weights.
    """

    def __init__(self, schema: VisitSchema, codes: Integers, scale: Scale, generator: torch.Generator) -> None:
        super().__init__()
        self.schema, self.codes, self.scale = schema, torch.from_numpy(codes), scale
        width = len(codes) + len(schema.kinds) + 2 + 2 * len(schema.measurements)
        # Without weights at first, for theirs would come from the generator of the whole process.
        self.gru = nn.GRU(width, HIDDEN, batch_first=True, device="meta").to_empty(device="cpu")
        self.head = nn.Linear(HIDDEN, 1, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            for weights in self.parameters():
                weights.uniform_(-1 / math.sqrt(HIDDEN), 1 / math.sqrt(HIDDEN), generator=generator)

    def forward(self, visits: Visits, rows: Integers) -> Tensor:
        """Return the log odds [b] of some records, each of at least one visit."""
        batch = batch_of(visits, torch.zeros(len(visits), 0), len(self.schema.measurements), rows)
        hot = batch.multi_hot(len(self.schema.codes))
        z = (batch.values - torch.from_numpy(self.scale.centre)) / torch.from_numpy(self.scale.spread)
        shown = torch.cat(
            [
                hot[:, :, self.codes],
                one_hot(batch.kinds, len(self.schema.kinds)),
                hot.sum(2, keepdim=True).log1p(),
                batch.log_gaps[:, :, None],
                z.nan_to_num(),
                batch.values.isfinite(),
            ],
            dim=2,
        ).float()
        packed = pack_padded_sequence(shown, batch.lengths, batch_first=True, enforce_sorted=False)
        odds: Tensor = self.head(self.gru(packed)[1][0])
        return odds.squeeze(1)

    @torch.no_grad()
    def log_odds(self, visits: Visits) -> NDArray[np.float64]:
        """Return the log odds [n] of records; those without a visit are told by the intercept alone."""
        some = np.flatnonzero(visits.per_patient > 0)
        found = np.full(len(visits), float(self.head.bias))
        shown = first_visits(visits.of_patients(some), np.full(len(some), LONGEST))
        found[some] = in_blocks(shown, BATCH, lambda rows: self(shown, rows)).double().numpy()
        return found

    def learn(self, visits: Visits, labels: NDArray[np.integer], steps: int, generator: torch.Generator) -> None:
        """Train on records [n] (Adam), and keep the weights with least loss on one record in eight.

        Args:
            visits: of n records.
            labels: [n], 0 or 1.
            steps: batches.
            generator: draws the batches.
        """
        some = torch.from_numpy(np.flatnonzero(visits.per_patient > 0))
        shown = first_visits(visits, np.full(len(visits), LONGEST))
        order = some[torch.randperm(len(some), generator=generator)]
        choosing, training = order[::CHOOSING], order[torch.arange(len(order)) % CHOOSING > 0]
        truth = torch.from_numpy(labels).float()
        optimizer = torch.optim.Adam(self.parameters(), LEARNING_RATE)
        best, kept = math.inf, copy.deepcopy(self.state_dict())
        epoch: list[Tensor] = []
        for step in range(1, steps + 1):
            epoch = epoch or list(training[torch.randperm(len(training), generator=generator)].split(BATCH))
            rows = epoch.pop()
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(self(shown, rows.numpy()), truth[rows]).backward()
            optimizer.step()
            if step % EVERY == 0 or step == steps:
                with torch.no_grad():
                    found = float(binary_cross_entropy_with_logits(self(shown, choosing.numpy()), truth[choosing]))
                if found < best:
                    best, kept = found, copy.deepcopy(self.state_dict())
        self.load_state_dict(kept)
