"""Privacy by distance: membership inference, closeness to training rows, and copies."""

import torch

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Value
from ehrsynth.evaluation.fidelity import BENCHMARK, JMIR
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics.classification import wilson
from ehrsynth.metrics.copies import copied
from ehrsynth.metrics.membership import closer_share, membership_auc, membership_f1, membership_tpr
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points, nearest
from ehrsynth.seeding import torch_rng

MEMBERSHIP_F1 = Card(
    name="privacy/membership_f1",
    direction="lower",
    low=0,
    high=1,
    definition="F1 of calling a real record a training record when the squared L2 distance to its nearest record of S"
    " is at most theta (5); R positive, H negative; interval by the delta method.",
    reading="The published membership inference risk. Calling everybody a member already scores 2|R| / (2|R| + |H|),"
    " so a high number alone is no leak: read membership_auc.",
    paper=f"{BENCHMARK}; {JMIR} (MIR, squared distance as in the code)",
)
MEMBERSHIP_AUC = Card(
    name="privacy/membership_auc",
    direction="lower",
    low=0,
    high=1,
    definition="Area under the ROC curve of the same distance, R against H, ties one half; interval: DeLong.",
    reading="0.5: training patients are no nearer to the synthetic ones than other patients are. It speaks of this"
    " attack on the average patient; a cleverer attack, or a rare patient, may fare worse.",
    paper=f"{BENCHMARK} (membership inference), as an area",
)
MEMBERSHIP_TPR = Card(
    name="privacy/membership_tpr_at_1pct_fpr",
    direction="lower",
    low=0,
    high=1,
    definition="Share of R found by the same distance where 1 % of H is wrongly accused, on the chord of the ROC"
    " curve where distances tie; Wilson interval at a fixed threshold.",
    reading="0.01: no leak. Whom could an attacker name who wants to be nearly sure? Needs thousands of held-out rows"
    " to mean much.",
    paper="Carlini et al., IEEE S&P 2022 (low false positive rates)",
)
DCR = Card(
    name="privacy/dcr_share",
    direction="lower",
    low=0,
    high=1,
    definition="Share of S closer (squared L2) to R than to H, ties one half; the larger of R and H drawn down to the"
    " size of the other; normal interval.",
    reading="0.5: synthetic patients are as near to patients never seen as to the training ones. A collapsed"
    " generator also gives 0.5, and passing this test does not exclude membership inference.",
    paper="Platzer and Reutterer, Frontiers in Big Data 2021",
)
COPIES = Card(
    name="privacy/exact_copies",
    direction="lower",
    low=0,
    high=1,
    definition="Share of S equal in every cell to some record of R; Wilson interval.",
    reading="Simple records coincide by chance: compare with exact_copies_holdout, the share of real unseen records"
    " that equal a training record. Only what exceeds it is copying.",
    paper="Standard identical-match share",
)
COPIES_HOLDOUT = Card(
    name="privacy/exact_copies_holdout",
    direction="lower",
    low=0,
    high=1,
    definition="Share of H equal in every cell to some record of R; Wilson interval.",
    reading="The null for exact_copies. A property of the real data, the same for every synthetic table.",
    paper="Standard identical-match share",
)


class Membership(Evaluator):
    """Whether training records lie nearer to the synthetic ones than other real records do.

    One pass of nearest neighbours over S x R and S x H serves all four scores. Missing values are
    filled with R's mean, and their indicators count.

    Args:
        theta: threshold on the squared distance for the published F1.
        max_rows: of each of R and H, drawn at random; None takes all. S is never thinned out: the attack on a
            record rests on the very rows that resemble it.
    """

    cards = (MEMBERSHIP_F1, MEMBERSHIP_AUC, MEMBERSHIP_TPR, DCR)
    uses_holdout = True

    def __init__(self, *, theta: float = 5.0, max_rows: int | None = None) -> None:
        self.theta = theta
        self.max_rows = max_rows

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Split R and H into an equal-sized part, for the closeness of S, and the rest."""
        means = observed_means(real.train.values)
        train, holdout = (
            Points.of(capped(table, self.max_rows, seed, name), means)
            for table, name in ((real.train, "membership/train"), (real.holdout, "membership/holdout"))
        )
        size = min(len(train), len(holdout))
        train, holdout = (
            points[torch.randperm(len(points), generator=torch_rng(seed, "dcr", side))]
            for side, points in enumerate((train, holdout))
        )

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            points = Points.of(synthetic, means)
            found = {}
            for name, table in (("train", train), ("holdout", holdout)):
                to_table, from_equal = nearest(points, table[:size])
                found[name] = (to_table, torch.cat([from_equal, nearest(points, table[size:])[1]]))
            members, others = found["train"][1], found["holdout"][1]
            return {
                MEMBERSHIP_F1.name: Value(*membership_f1(members, others, self.theta)),
                MEMBERSHIP_AUC.name: Value(*membership_auc(members, others)),
                MEMBERSHIP_TPR.name: Value(*membership_tpr(members, others)),
                DCR.name: Value(*closer_share(found["train"][0], found["holdout"][0])),
            }

        return score


class ExactCopies(Evaluator):
    """Whether synthetic records repeat training records."""

    cards = (COPIES, COPIES_HOLDOUT)
    uses_holdout = True

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the copies in H, which are chance."""
        means = observed_means(real.train.values)
        train = Points.of(real.train, means)
        chance = _share(copied(Points.of(real.holdout, means), train), len(real.holdout))

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            copies = copied(Points.of(synthetic, means), train)
            return {COPIES.name: _share(copies, len(synthetic)), COPIES_HOLDOUT.name: chance}

        return score


def _share(count: int, n: int) -> Value:
    return Value(count / n, wilson(count, n))
