"""Privacy by closeness: are synthetic records nearer to R than to H, and harder to tell from R than from H?"""

import torch

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.privacy.nearness import Nearness, Side, nearness
from ehrsynth.layout import Records
from ehrsynth.metrics.closeness import Pairing, accuracy, accuracy_gain, closer_share
from ehrsynth.metrics.grouped import nearest_other_by_group
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points

CARDS = Cards.beside(__file__)
DCR, NNAA = CARDS["privacy/dcr_share"], CARDS["privacy/nnaa_risk"]


def dcr_share(near: Nearness) -> Value | Undefined:
    """Return the share of S closer to R than to H; ``Membership`` gives it, which has measured the same distances."""
    if len(near.sample) < 2:
        return Undefined("closeness to R and H needs at least two records of R, of H and of S")
    strength = {("strength", "records of each"): Value(float(len(near.sample)))}
    return Value(*closer_share(near.train.sample_from_groups, near.holdout.sample_from_groups), strength)


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
            # The sample follows from its size and the seed.
            key = {"work": "nearest other record", "table": name, "sample": len(side.sample), "seed": real.seed}
            distances = real.memory.array(
                key, lambda: nearest_other_by_group(Points.of(table[side.sample], means)).numpy()
            )
            return torch.from_numpy(distances)

        return score
