"""Can a classifier tell synthetic records from real ones?"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Undefined, Value
from ehrsynth.layout import Records
from ehrsynth.metrics.boosting import KEEN, fit_trees, risk
from ehrsynth.metrics.classification import auroc
from ehrsynth.metrics.intervals import normal
from ehrsynth.seeding import derive, torch_rng

LEARNING_RATE = 0.05
LEAST = 20  # records of each side, so that the test part has a few of both
TRAINED = 0.7  # share of each side that the classifier is trained on

DISCRIMINATOR = Cards.beside(__file__)["fidelity/discriminator_auc"]


@dataclass(kw_only=True)
class Discriminator(Evaluator):
    """Whether trees can tell synthetic records from real ones.

    Args:
        rounds: number of trees.
        max_rows: of each side, drawn at random.
    """

    cards = (DISCRIMINATOR,)
    rounds: int = 100
    max_rows: int = 20_000

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Do nothing: what is drawn of R depends on the number of synthetic records."""

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            n = min(len(real.train), len(synthetic), self.max_rows)
            if n < LEAST:
                return {DISCRIMINATOR.name: Undefined(f"{n} records of each side; at least {LEAST} are needed")}
            sides = _drawn(real.train, n, seed, "real"), _drawn(synthetic, n, seed, "synthetic")
            trained = round(TRAINED * n)
            x, unseen = (
                sparse.csr_matrix(np.vstack([side[part] for side in sides]))
                for part in (slice(trained), slice(trained, None))
            )
            labels = np.repeat([0, 1], trained), np.repeat([0, 1], n - trained)
            model = fit_trees(x, labels[0], self.rounds, derive(seed, "trees") % 2**31, LEARNING_RATE, KEEN)
            return {DISCRIMINATOR.name: Value(*normal(*auroc(labels[1], risk(model, unseen))))}

        return score

    def peak_memory(self, real: RealData, rows: int) -> int:
        """Both sides are made dense to be put together."""
        n = min(len(real.train), rows, self.max_rows)
        return 2 * 2 * n * real.layout.width * 4


def _drawn(records: Records, n: int, seed: int, name: str) -> NDArray[np.float32]:
    """Return ``n`` records in random order, float32 [n, p] with NaN where missing."""
    rows = torch.randperm(len(records), generator=torch_rng(seed, "discriminator", name))[:n]
    dense: NDArray[np.float32] = records.dense(rows).numpy()
    return dense
