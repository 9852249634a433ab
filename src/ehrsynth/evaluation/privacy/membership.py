"""Membership inference: by distance, and with real patients of the attacker's own by density ratio and classifier."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.privacy.closeness import DCR, dcr_share
from ehrsynth.evaluation.privacy.nearness import nearness, thinned
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics.boosting import fit_trees, risk
from ehrsynth.metrics.membership import density_scores, everybody_f1, membership_auc, membership_f1, membership_tpr
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points, nearest
from ehrsynth.seeding import derive, torch_rng

CARDS = Cards.beside(__file__)
BLOCK = 8192  # records classified at a time
RATES = {"tpr_at_1pct_fpr": 0.01, "tpr_at_01pct_fpr": 0.001}


@dataclass(kw_only=True)
class Membership(Evaluator):
    """Whether training records lie nearer to the synthetic ones than other real records do.

    Missing values are filled with R's mean, and their indicators count.

    Args:
        theta: threshold of the published F1: on the squared distance and, under a name of its own, on the distance.
        max_rows: of each of R and H, drawn at random; None takes all. S is never thinned out: the attack on a
            record rests on the very rows that resemble it.
    """

    cards = (*(CARDS[f"privacy/membership_{name}"] for name in ("f1", "f1_euclidean", "auc", *RATES)), DCR)
    uses_holdout = True
    theta: float = 5.0
    max_rows: int | None = None

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Choose the records to attack."""
        attacked = thinned(real, self.max_rows, seed)
        strength = _strength(len(attacked.train), len(attacked.holdout))
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
                "privacy/membership_f1": Value(*membership_f1(members, others, self.theta), f1),
                "privacy/membership_f1_euclidean": Value(*membership_f1(members, others, self.theta**2), f1),
                **_found("privacy/membership", members, others, strength),
                DCR.name: dcr_share(near),
            }

        return score


class DensityAttack(Evaluator):
    """Whether S is denser at training records than the population is (DOMIAS)."""

    cards = tuple(CARDS[f"privacy/membership_density_{name}"] for name in ("auc", *RATES))
    uses_holdout = True

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Measure how near R and one half of H are to the other half."""
        reference, negatives = _reference_and_negatives(real)
        means = observed_means(real.train.values)

        def measure() -> dict[str, NDArray[np.float32]]:
            known = Points.of(real.holdout[reference], means)
            attacked = {"members": real.train, "others": real.holdout[negatives]}
            return {name: nearest(Points.of(table, means), known)[0].numpy() for name, table in attacked.items()}

        to_reference = real.memory.cached({"work": "nearest of the reference half of H", "seed": real.seed}, measure)
        members, others = (torch.from_numpy(to_reference[name]) for name in ("members", "others"))
        strength = _strength(len(members), len(others), reference=len(reference))

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            near = nearness(real, synthetic)
            accused = density_scores(near.members, members), density_scores(near.others[negatives], others)
            return _found("privacy/membership_density", *accused, strength)

        return score


@dataclass(kw_only=True)
class ClassifierAttack(Evaluator):
    """Whether a classifier of synthetic against real records takes training records for synthetic ones.

    Args:
        rounds: number of boosted trees.
        max_rows: of each of S and the reference half of H to train on, drawn at random; None takes all.
    """

    cards = tuple(CARDS[f"privacy/membership_classifier_{name}"] for name in ("auc", *RATES))
    uses_holdout = True
    rounds: int = 100
    max_rows: int | None = 10_000

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Choose the records of the attacker."""
        reference, negatives = _reference_and_negatives(real)
        known = capped(real.holdout[reference], self.max_rows, seed, "classifier/reference")
        others = real.holdout[negatives]

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            drawn = capped(synthetic, min(len(known), len(synthetic)), seed, "classifier/synthetic")
            x = sparse.csr_matrix(np.vstack([drawn.dense().numpy(), known.dense().numpy()]))
            y = np.repeat([1, 0], [len(drawn), len(known)])
            trees = fit_trees(x, y, self.rounds, derive(seed, "classifier/trees") % 2**31)

            def accused(table: Records) -> Tensor:
                blocks = (sparse.csr_matrix(rows.dense().numpy()) for rows in table.blocks(BLOCK))
                return -torch.from_numpy(np.concatenate([risk(trees, block) for block in blocks]))

            strength = _strength(len(real.train), len(others), reference=len(known), synthetic=len(drawn))
            return _found("privacy/membership_classifier", accused(real.train), accused(others), strength)

        return score


def _reference_and_negatives(real: RealData) -> tuple[Tensor, Tensor]:
    """Cut the rows of H in two, the same way for every attack and synthetic table.

    Raises:
        NotApplicableError: H has fewer than four rows.
    """
    if len(real.holdout) < 4:
        raise NotApplicableError("the attack splits the held-out rows in two and needs at least four of them")
    order = torch.randperm(len(real.holdout), generator=torch_rng(real.seed, "membership", "reference"))
    return order[: len(order) // 2], order[len(order) // 2 :]


def _strength(members: int, others: int, **known: int) -> dict[tuple[str, str], Value]:
    return {("strength", name): Value(float(n)) for name, n in {"members": members, "others": others, **known}.items()}


def _found(attack: str, members: Tensor, others: Tensor, strength: dict[tuple[str, str], Value]) -> dict[str, Value]:
    """Return the area and the shares found at a low false positive rate."""
    shares = {f"{attack}_{name}": membership_tpr(members, others, rate) for name, rate in RATES.items()}
    found = {f"{attack}_auc": membership_auc(members, others), **shares}
    return {name: Value(*estimate, strength) for name, estimate in found.items()}
