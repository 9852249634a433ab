"""Privacy by nearest-neighbour adversarial accuracy."""

import numpy as np
import torch

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.privacy.nearness import Side, nearness
from ehrsynth.layout import Records
from ehrsynth.metrics.adversarial_accuracy import Pairing, accuracy, accuracy_gain
from ehrsynth.metrics.grouped import nearest_other_by_group
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points

NNAA = Card(
    name="privacy/nnaa_risk",
    direction="lower",
    low=-1,
    high=1,
    definition="AA(H, S) - AA(R, S) with AA(T, S) = 1/2 (share of T nearer to another record of T than to any of S +"
    " share of S nearer to another record of S than to any of T); squared L2, a tie is not nearer, duplicates count as"
    " records; R, H and S drawn once to the smallest of their sizes. Interval: jackknife over 20 groups of"
    " records of all three.",
    reading="0: S can be told from unseen patients no better than from the training ones. It is an average over all"
    " patients and blind to a few copies: one copy in a hundred moves it by less than 0.01. A generator told apart from"
    " everybody with ease (AA near 1 on both sides) also scores 0, so read AA(H, S), its fidelity, beside it. Passing"
    " it does not exclude membership inference (arXiv 2505.01524).",
    paper="Yale et al., Neurocomputing 2020 (privacy loss), as in the Nature Communications 2022 benchmark",
)


class AdversarialAccuracy(Evaluator):
    """Whether S and R are harder to tell apart than S and H."""

    cards = (NNAA,)
    uses_holdout = True

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Check that a record of R and of H has another one to be near to."""
        if min(len(real.train), len(real.holdout)) < 2:
            raise NotApplicableError("nearest neighbours within R and within H need at least two records of each")
        means = observed_means(real.train.values)

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            if len(synthetic) < 2:
                return {NNAA.name: Undefined("nearest neighbours within S need at least two records")}
            near = nearness(real, synthetic)
            among = nearest_other_by_group(Points.of(synthetic[near.sample], means))
            train, holdout = (
                Pairing(side.sample_to_groups, within(name, table, side), side.sample_from_groups, among)
                for name, table, side in (("train", real.train, near.train), ("holdout", real.holdout, near.holdout))
            )
            sides = {
                ("side", "AA(H,S)"): Value(*accuracy(holdout)),
                ("side", "AA(R,S)"): Value(*accuracy(train)),
                ("strength", "records of each"): Value(float(len(among))),
            }
            return {NNAA.name: Value(*accuracy_gain(holdout, train), sides)}

        def within(name: str, table: Records, side: Side) -> torch.Tensor:
            def measure() -> dict[str, np.ndarray]:
                return {"distance": nearest_other_by_group(Points.of(table[side.sample], means)).numpy()}

            # The sample follows from its size, because its stream is fixed.
            key = {"work": "nearest other record", "table": name, "sample": len(side.sample)}
            return torch.from_numpy(real.memory.recall(key, measure)["distance"])

        return score
