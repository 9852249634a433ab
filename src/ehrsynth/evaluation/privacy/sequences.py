"""Privacy of sequences of visits: copied prefixes, rare runs, membership by distance."""

from dataclasses import dataclass

import torch

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.temporal.groups import capped
from ehrsynth.metrics.intervals import difference, share, t_mean
from ehrsynth.metrics.membership import membership_accuracy, membership_auc, membership_tpr
from ehrsynth.metrics.temporal.copied import lone_runs, longest_prefixes, runs
from ehrsynth.metrics.temporal.distances import bag_nearest, hamming_nearest
from ehrsynth.visits import Visits

CARDS = Cards.beside(__file__)
PREFIX, RUNS = CARDS["privacy/sequence_prefix_excess"], CARDS["privacy/sequence_runs_excess"]
FORMS = ("hamming", "bag")
ACCURACY = "privacy/sequence_hamming_accuracy"
RUN = 2  # visits; longer runs of real patients are hardly ever alike by chance


class CopiedVisits(VisitEvaluator):
    """Whether synthetic records repeat the visits of training patients, one after the other."""

    cards = (PREFIX, RUNS)
    uses_holdout = True

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Find what H repeats of R, which is chance, and the runs that a single patient has."""
        if len(real.holdout) < 2:
            raise NotApplicableError("copies are compared with those of two held-out patients or more")
        by_chance = longest_prefixes(real.holdout, real.train)
        chance = t_mean(by_chance, 0)
        # Of equally many patients, since who is the only one among more is rarer, and found again less often.
        n = min(len(real.train), len(real.holdout))
        lone = [lone_runs(capped(side, n, seed, "runs"), RUN) for side in (real.train, real.holdout)]

        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            if not len(synthetic):
                return self.undefined("no synthetic patient")
            found = longest_prefixes(synthetic, real.train)
            excess = difference(t_mean(found, 0), chance)
            longest = {
                ("side", "S"): Value(*t_mean(found, 0)),
                ("side", "H"): Value(*chance),
                ("strength", "longest of S"): Value(float(found.max())),
                ("strength", "longest of H"): Value(float(by_chance.max())),
            }
            scores: dict[str, Value | Undefined] = {PREFIX.name: Value(*excess, longest)}
            if not min(map(len, lone)):
                scores[RUNS.name] = Undefined(f"R or H has no run of {RUN} visits that a single patient has")
                return scores
            there = set(runs(synthetic, RUN)[0].tolist())
            rates = [share(sum(run in there for run in own.tolist()), len(own)) for own in lone]
            sides = {
                ("side", "R"): Value(*rates[0]),
                ("side", "H"): Value(*rates[1]),
                ("strength", "runs of R"): Value(float(len(lone[0]))),
            }
            scores[RUNS.name] = Value(*difference(*rates), sides)
            return scores

        return score


@dataclass(kw_only=True)
class SequenceMembership(VisitEvaluator):
    """Whether training patients lie nearer to synthetic records than other patients do.

    Args:
        attacked: patients of R, and of H, at most, drawn at random.
        max_patients: of S that are searched, drawn at random.
    """

    cards = (
        *(CARDS[f"privacy/sequence_{form}_{what}"] for form in FORMS for what in ("auc", "tpr_at_1pct_fpr")),
        CARDS[ACCURACY],
    )
    uses_holdout = True
    attacked: int = 2_000
    max_patients: int = 20_000

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Draw whom to attack."""
        n = min(len(real.train), len(real.holdout), self.attacked)
        if n < 2:
            raise NotApplicableError("an attack needs two patients of R and two of H")
        sides = [
            capped(visits, n, seed, f"membership/{name}")
            for visits, name in ((real.train, "members"), (real.holdout, "others"))
        ]
        strength = {("strength", "members"): Value(float(n)), ("strength", "others"): Value(float(n))}

        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            if not len(synthetic):
                return self.undefined("no synthetic patient")
            searched = capped(synthetic, self.max_patients, seed, "membership/synthetic")
            near = {
                "hamming": [hamming_nearest(side, searched, real.width) for side in sides],
                "bag": [bag_nearest(side, searched) for side in sides],
            }
            scores: dict[str, Value | Undefined] = {}
            for form in FORMS:
                members, others = map(torch.from_numpy, near[form])
                for what, estimate in (
                    ("auc", membership_auc(members, others)),
                    ("tpr_at_1pct_fpr", membership_tpr(members, others)),
                ):
                    scores[f"privacy/sequence_{form}_{what}"] = Value(*estimate, strength)
            scores[ACCURACY] = Value(*membership_accuracy(*map(torch.from_numpy, near["hamming"])), strength)
            return scores

        return score
