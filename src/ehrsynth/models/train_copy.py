"""Train copy: what a memoriser would score."""

import torch
from torch import Tensor

from ehrsynth.models.condition import Condition
from ehrsynth.models.kept_rows import KeptRows
from ehrsynth.schema import Schema

BLOCK = 4096  # rows unpacked at a time


class TrainCopy(KeptRows):
    """The training rows themselves, in a random order, repeated when more are asked for than there are.

    Its checkpoint IS patient rows, and so is everything it generates: an anchor for the metrics, never
    to be handed to anyone who may not see the training data.

    Args:
        schema: columns to generate.
        seed: kept with the checkpoint; learning draws nothing.
    """

    sample_batch = 1_000_000  # within one call no row comes twice before each came once

    def __init__(self, *, schema: Schema, seed: int = 0) -> None:
        super().__init__(schema=schema, seed=seed)
        self.save_hyperparameters(ignore=["schema"])

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Return ``n`` training rows [n, p]: each once before any comes twice."""
        rows = len(self.packed)
        rounds = -(-n // rows)
        order = torch.cat([torch.randperm(rows, generator=generator, device=self.device) for _ in range(rounds)])[:n]
        records = self.kept
        drawn = torch.empty(n, self.layout.width, device=self.device)
        for place in range(0, n, BLOCK):
            # A missing value is filled with zero here: its indicator says that it is missing.
            drawn[place : place + BLOCK] = records.dense(order[place : place + BLOCK]).nan_to_num(0.0)
        return drawn
