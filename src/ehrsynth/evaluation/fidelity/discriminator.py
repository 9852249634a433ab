"""Can a classifier tell synthetic records from real ones?"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Undefined, Value
from ehrsynth.layout import Records
from ehrsynth.metrics.boosting import KEEN, fit_trees, risk
from ehrsynth.metrics.classification import auroc
from ehrsynth.metrics.intervals import normal
from ehrsynth.seeding import derive, torch_rng

LEARNING_RATE = 0.05
LEAST = 20  # records of each side, so that the test part has a few of both
TRAINED = 0.7  # share of each side that the classifier is trained on

DISCRIMINATOR = Card(
    name="fidelity/discriminator_auc",
    direction="lower",
    low=0,
    high=1,
    definition="AUROC of boosted trees (LightGBM) that tell S from R, on the 30 % of each side that they were not"
    " trained on; equally many records of R and of S, drawn at random, at most max_rows. Interval: DeLong.",
    reading="0.5: the classifier cannot tell synthetic from real patients; 1: it always can. It finds whatever flaw is"
    " easiest, even one that no one would mind (a rounding, one impossible pair), and says nothing of how much is wrong"
    " beyond it. Below 0.5 is no better than 0.5: copies of training rows fall there, since they stand on both sides"
    " of the split with opposite labels.",
    paper="Lopez-Paz and Oquab, ICLR 2017 (classifier two-sample test)",
)


class Discriminator(Evaluator):
    """Whether trees can tell synthetic records from real ones.

    Args:
        rounds: number of trees.
        max_rows: of each side, drawn at random.
    """

    cards = (DISCRIMINATOR,)

    def __init__(self, *, rounds: int = 100, max_rows: int = 20_000) -> None:
        self.rounds = rounds
        self.max_rows = max_rows

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


def _drawn(records: Records, n: int, seed: int, name: str) -> NDArray[np.float32]:
    """Return ``n`` records in random order, float32 [n, p] with NaN where missing."""
    rows = torch.randperm(len(records), generator=torch_rng(seed, "discriminator", name))[:n]
    dense: NDArray[np.float32] = records.dense(rows).numpy()
    return dense
