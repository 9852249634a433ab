"""Membership inference by attackers who also have real patients of their own: by density ratio and by classifier."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.evaluation.privacy.distances import LOW_RATE
from ehrsynth.evaluation.privacy.nearness import nearness
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics.boosting import fit_trees, risk
from ehrsynth.metrics.membership import density_scores, membership_auc, membership_tpr
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points, nearest
from ehrsynth.seeding import derive, torch_rng

BLOCK = 8192  # records classified at a time
ROLES = "One half of H is the attacker's reference population, R and the other half of H are attacked"
RATES = {"1pct": 0.01, "01pct": 0.001}


def _cards(attack: str, scored_by: str, reading: str, paper: str) -> tuple[Card, Card, Card]:
    """Return the cards of the area and of the two shares found at a low false positive rate."""
    auc = Card(
        name=f"privacy/membership_{attack}_auc",
        direction="lower",
        low=0,
        high=1,
        definition=f"{ROLES}. Area under the ROC curve of {scored_by}; interval: DeLong.",
        reading=f"0.5: no leak to this attack on the average patient. {reading}",
        paper=paper,
    )
    low, lower = (
        Card(
            name=f"privacy/membership_{attack}_tpr_at_{label}_fpr",
            direction="lower",
            low=0,
            high=1,
            definition=f"{ROLES}. Share of R found by {scored_by} where {100 * rate:g} % of the others are wrongly"
            f" accused, {LOW_RATE}.",
            reading=f"{rate:g}: no leak. Whom an attacker could name and be nearly sure of. With fewer than"
            f" {3.7 / rate:,.0f} others (half of H) the interval starts at 0 and the value is too high. {reading}",
            paper=f"{paper}; Carlini et al., IEEE S&P 2022 (low false positive rates)",
        )
        for label, rate in RATES.items()
    )
    return auc, low, lower


class DensityAttack(Evaluator):
    """Whether S is denser at training records than the population is (DOMIAS)."""

    cards = _cards(
        "density",
        "the ratio of squared distances (d(x, reference) + 1) / (d(x, S) + 1), which stands for the density ratio"
        " p_S(x) / p(x)",
        "Unlike the plain distance it does not mistake common patients for members. It takes the nearest records as the"
        " density, so it sees memorised patients and no general overfitting.",
        "van Breugel et al., AISTATS 2023 (DOMIAS), with nearest-neighbour densities",
    )
    uses_holdout = True

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Measure how near R and one half of H are to the other half."""
        reference, negatives = _reference_and_negatives(real)
        means = observed_means(real.train.values)

        def measure() -> dict[str, NDArray[np.float32]]:
            known = Points.of(real.holdout[reference], means)
            attacked = {"members": real.train, "others": real.holdout[negatives]}
            return {name: nearest(Points.of(table, means), known)[0].numpy() for name, table in attacked.items()}

        to_reference = real.memory.recall({"work": "nearest of the reference half of H"}, measure)
        members, others = (torch.from_numpy(to_reference[name]) for name in ("members", "others"))
        strength = _strength(len(members), len(others), reference=len(reference))

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            near = nearness(real, synthetic)
            accused = density_scores(near.members, members), density_scores(near.others[negatives], others)
            return _values(self.cards, *accused, strength)

        return score


class ClassifierAttack(Evaluator):
    """Whether a classifier of synthetic against real records takes training records for synthetic ones.

    Args:
        rounds: number of boosted trees.
        max_rows: of each of S and the reference half of H to train on, drawn at random; None takes all.
    """

    cards = _cards(
        "classifier",
        "the score of boosted trees that tell S (1) from the reference (0)",
        "The trees learn where S differs from the population; a generator that is merely unlike real data gives 0.5,"
        " because R and H then look the same to them.",
        "Hayes et al., PoPETs 2019 (LOGAN), with a classifier in place of the discriminator",
    )
    uses_holdout = True

    def __init__(self, *, rounds: int = 100, max_rows: int | None = 10_000) -> None:
        self.rounds = rounds
        self.max_rows = max_rows

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
                blocks = (table.dense(slice(i, i + BLOCK)).numpy() for i in range(0, len(table), BLOCK))
                return -torch.from_numpy(np.concatenate([risk(trees, sparse.csr_matrix(block)) for block in blocks]))

            strength = _strength(len(real.train), len(others), reference=len(known), synthetic=len(drawn))
            return _values(self.cards, accused(real.train), accused(others), strength)

        return score


def _reference_and_negatives(real: RealData) -> tuple[Tensor, Tensor]:
    """Cut the rows of H in two from a fixed stream, so that what is known about the halves can be kept.

    Raises:
        NotApplicableError: H has fewer than four rows.
    """
    if len(real.holdout) < 4:
        raise NotApplicableError("the attack splits the held-out rows in two and needs at least four of them")
    order = torch.randperm(len(real.holdout), generator=torch_rng(0, "membership", "reference"))
    return order[: len(order) // 2], order[len(order) // 2 :]


def _strength(members: int, others: int, **known: int) -> dict[tuple[str, str], Value]:
    return {("strength", name): Value(float(n)) for name, n in {"members": members, "others": others, **known}.items()}


def _values(
    cards: tuple[Card, ...], members: Tensor, others: Tensor, strength: dict[tuple[str, str], Value]
) -> dict[str, Value]:
    """Return the area and the two shares."""
    found = [membership_auc(members, others), *(membership_tpr(members, others, rate) for rate in RATES.values())]
    return {card.name: Value(*estimate, strength) for card, estimate in zip(cards, found, strict=True)}
