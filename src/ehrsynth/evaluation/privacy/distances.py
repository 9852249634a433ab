"""Privacy by distance: membership inference, closeness to training rows, and copies."""

from ehrsynth.evaluation.card import BENCHMARK, JMIR, Card
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.privacy.nearness import Nearness, nearness, thinned
from ehrsynth.layout import Records
from ehrsynth.metrics.copies import copied, excess, share
from ehrsynth.metrics.membership import closer_share, everybody_f1, membership_auc, membership_f1, membership_tpr
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points

EVERYBODY = (
    "Calling everybody a member already scores 2|R| / (2|R| + |H|), 0.82 for 50,063 training and 21,455 held-out"
    " patients, and any generator of sparse records gets there: a high number alone is no leak, and this score hardly"
    " tells generators apart. Read membership_auc and the shares at a low false positive rate."
)
LOW_RATE = (
    "on the chord of the ROC curve where scores tie; interval: Wilson for R and the binomial bound of the threshold for"
    " H, combined by MOVER"
)
MEMBERSHIP_F1 = Card(
    name="privacy/membership_f1",
    direction="lower",
    low=0,
    high=1,
    definition="F1 of calling a real record a training record when the squared L2 distance to its nearest record of S"
    " is at most theta (5); R positive, H negative; interval by the delta method.",
    reading=f"The published membership inference risk, as its code computes it. {EVERYBODY}",
    paper=f"{BENCHMARK}; {JMIR} (MIR, squared distance as in the code)",
)
MEMBERSHIP_F1_EUCLIDEAN = Card(
    name="privacy/membership_f1_euclidean",
    direction="lower",
    low=0,
    high=1,
    definition="membership_f1 with theta (5) on the Euclidean distance itself; interval by the delta method.",
    reading=f"The published membership inference risk, as its text describes it. {EVERYBODY} Here even more so: on"
    " codes this threshold is 25 differing cells.",
    paper=f"{BENCHMARK}; {JMIR} (MIR, Euclidean distance as in the text)",
)
MEMBERSHIP_AUC = Card(
    name="privacy/membership_auc",
    direction="lower",
    low=0,
    high=1,
    definition="Area under the ROC curve of the same distance, R against H, ties one half; interval: DeLong.",
    reading="0.5: training patients are no nearer to the synthetic ones than other patients are. It speaks of this"
    " attack on the average patient: if one patient in a hundred is copied it stays at 0.5. A cleverer attack, or a"
    " rare patient, may fare worse.",
    paper=f"{BENCHMARK} (membership inference), as an area",
)
MEMBERSHIP_TPR = Card(
    name="privacy/membership_tpr_at_1pct_fpr",
    direction="lower",
    low=0,
    high=1,
    definition=f"Share of R found by the same distance where 1 % of H is wrongly accused, {LOW_RATE}.",
    reading="0.01: no leak. Whom could an attacker name who wants to be nearly sure? Needs thousands of held-out rows"
    " to mean much. Simple records are near to S whether they were trained on or not, and they use up the false"
    " accusations: read the same share of the density attack, which allows for that.",
    paper="Carlini et al., IEEE S&P 2022 (low false positive rates)",
)
MEMBERSHIP_TPR_01 = Card(
    name="privacy/membership_tpr_at_01pct_fpr",
    direction="lower",
    low=0,
    high=1,
    definition=f"Share of R found by the same distance where 0.1 % of H is wrongly accused, {LOW_RATE}.",
    reading="0.001: no leak. With fewer than 3,700 held-out records the threshold cannot be known: the interval then"
    " starts at 0 and the value is too high. Otherwise as at 1 %.",
    paper="Carlini et al., IEEE S&P 2022 (low false positive rates)",
)
DCR = Card(
    name="privacy/dcr_share",
    direction="lower",
    low=0,
    high=1,
    definition="Share of S closer (squared L2) to R than to H, ties one half; R, H and S drawn once to the smallest of"
    " their sizes. Interval: jackknife over 20 groups of records of all three.",
    reading="0.5: synthetic patients are as near to patients never seen as to the training ones. A collapsed generator"
    " that repeats a few simple records also gives 0.5, and so does one that copies a few patients among thousands;"
    " data that pass this test have been shown open to membership inference (The DCR delusion, arXiv 2505.01524). It"
    " is no evidence of privacy: read the membership scores and isolated_copies.",
    paper="Platzer and Reutterer, Frontiers in Big Data 2021",
)
COPIES = Card(
    name="privacy/exact_copies",
    direction="lower",
    low=0,
    high=1,
    definition="Share of S equal in every cell to some record of R; Wilson interval.",
    reading="Simple records coincide by chance: compare with exact_copies_holdout, the share of real unseen records"
    " that equal a training record (19.7 % for the codes of 71,518 real patients). Only what exceeds it is copying:"
    " read copies_excess.",
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
COPIES_EXCESS = Card(
    name="privacy/copies_excess",
    direction="lower",
    low=-1,
    high=1,
    definition="exact_copies minus exact_copies_holdout; interval: Newcombe's for a difference of shares.",
    reading="At most 0: S repeats training records no more often than unseen patients do by chance. A generator of too"
    " simple records is above 0 without copying anybody, and one that changes a single cell of each copy is not seen:"
    " read near_copies_excess and isolated_copies too.",
    paper="Meehan et al., AISTATS 2020 (three-sample test), on shares of identical records",
)


class Membership(Evaluator):
    """Whether training records lie nearer to the synthetic ones than other real records do.

    Missing values are filled with R's mean, and their indicators count.

    Args:
        theta: threshold of the published F1: on the squared distance and, under a name of its own, on the distance.
        max_rows: of each of R and H, drawn at random; None takes all. S is never thinned out: the attack on a
            record rests on the very rows that resemble it.
    """

    cards = (MEMBERSHIP_F1, MEMBERSHIP_F1_EUCLIDEAN, MEMBERSHIP_AUC, MEMBERSHIP_TPR, MEMBERSHIP_TPR_01, DCR)
    uses_holdout = True

    def __init__(self, *, theta: float = 5.0, max_rows: int | None = None) -> None:
        self.theta = theta
        self.max_rows = max_rows

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Choose the records to attack."""
        attacked = thinned(real, self.max_rows, seed)
        strength = {
            ("strength", "members"): Value(float(len(attacked.train))),
            ("strength", "others"): Value(float(len(attacked.holdout))),
        }
        everybody = everybody_f1(len(attacked.train), len(attacked.holdout))
        f1 = {
            **strength,
            ("strength", "threshold"): Value(self.theta),
            ("null", "everybody a member"): Value(everybody),
        }

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            near = nearness(attacked, synthetic)
            members, others = near.members, near.others
            return {
                MEMBERSHIP_F1.name: Value(*membership_f1(members, others, self.theta), f1),
                MEMBERSHIP_F1_EUCLIDEAN.name: Value(*membership_f1(members, others, self.theta**2), f1),
                MEMBERSHIP_AUC.name: Value(*membership_auc(members, others), strength),
                MEMBERSHIP_TPR.name: Value(*membership_tpr(members, others, 0.01), strength),
                MEMBERSHIP_TPR_01.name: Value(*membership_tpr(members, others, 0.001), strength),
                DCR.name: _closeness(near),
            }

        return score


def _closeness(near: Nearness) -> Value | Undefined:
    if len(near.sample) < 2:
        return Undefined("closeness to R and H needs at least two records of R, of H and of S")
    strength = {("strength", "records of each"): Value(float(len(near.sample)))}
    return Value(*closer_share(near.train.sample_from_groups, near.holdout.sample_from_groups), strength)


class ExactCopies(Evaluator):
    """Whether synthetic records repeat training records."""

    cards = (COPIES, COPIES_HOLDOUT, COPIES_EXCESS)
    uses_holdout = True

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the copies in H, which are chance."""
        means = observed_means(real.train.values)
        train = Points.of(real.train, means)
        chance = share(copied(Points.of(real.holdout, means), train), len(real.holdout))

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            found = share(copied(Points.of(synthetic, means), train), len(synthetic))
            return {
                COPIES.name: Value(*found),
                COPIES_HOLDOUT.name: Value(*chance),
                COPIES_EXCESS.name: Value(*excess(found, chance)),
            }

        return score
