"""Membership by the likelihood of a model: are training patients likelier to it than patients it never saw?"""

import torch
from torch import Tensor

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Value
from ehrsynth.evaluation.score import Score
from ehrsynth.metrics.membership import membership_auc, membership_tpr
from ehrsynth.seeding import torch_rng

CARDS = Cards.beside(__file__)
FEWEST = 4  # of each side, so that half of the others can stand in for members


def likelihood_membership(members: Tensor, others: Tensor, seed: int) -> list[Score]:
    """Return the scores of the attack, with the anchors that an attack on a model can have.

    ``fresh_real`` is the attack on half of the other patients, as if they were members, against the other half;
    ``train_copy`` is 1, for to a memoriser its training patients are likelier than anybody.

    Args:
        members: [n] nats a visit of training patients, fewer for a likelier one.
        others: [m] of patients that the model never saw.
        seed: of the halves.
    """
    if min(len(members), len(others)) < FEWEST:
        return without_likelihood(f"fewer than {FEWEST} patients of R or of H")
    halves = others[torch.randperm(len(others), generator=torch_rng(seed, "likelihood halves"))].tensor_split(2)
    strength = {
        ("strength", name): Value(float(len(side))) for name, side in zip(SIDES, (members, others), strict=True)
    }
    return [
        Score(
            card,
            *attack(members, others),
            anchors={"fresh_real": attack(*halves)[0], "train_copy": 1.0, "independent": None},
            parts=strength,
        )
        for card, attack in zip(CARDS.values(), (membership_auc, membership_tpr), strict=True)
    ]


def without_likelihood(reason: str) -> list[Score]:
    """Return the same scores, skipped for a reason."""
    return [Score(card, None, status="skipped", reason=reason) for card in CARDS.values()]


SIDES = ("members", "others")
