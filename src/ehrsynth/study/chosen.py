"""Which checkpoint of a run is handed over, and why."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from ehrsynth.evaluation.card import Direction
from ehrsynth.evaluation.ranking import Profile, order_checkpoints
from ehrsynth.models.base import SeededModel


class Chosen(NamedTuple):
    """A checkpoint.

    Attributes:
        epoch: of the training.
        why: in a few words.
        told: in a sentence.
        order: the epochs of all checkpoints, the best first.
    """

    epoch: int
    why: str
    told: str
    order: list[int]


def chosen_checkpoint(
    checkpoints: pd.DataFrame,
    directions: Mapping[str, Direction],
    profile: Profile,
    model_class: type[SeededModel],
    cohort: Mapping[str, Any],
    private: bool = False,
) -> Chosen:
    """Choose by the scores of validation rows, if these say which is best.

    Args:
        checkpoints: scores by epoch.
        directions: of the scores.
        profile: the use case.
        model_class: what was trained; one that keeps its best weights knows better.
        cohort: what training rows had to be; scores ask about everybody, so of a cohort's model they say nothing.
        private: whether its epsilon is told; scores of real rows have no noise, so they may not choose.
    """
    latest_first = sorted(checkpoints.index.tolist(), reverse=True)
    last, of = latest_first[0], f"Of {len(checkpoints)} checkpoints the one of epoch"
    if cohort:
        return Chosen(
            last,
            "the last, for it saw a cohort only",
            f"{of} {last} is the last; the model saw a cohort only.",
            latest_first,
        )
    if private:
        return Chosen(
            last,
            "the last, for scores of real rows may not choose a private one",
            f"{of} {last} is the last; a choice by scores of real rows would cost privacy.",
            latest_first,
        )
    if model_class.keeps_best:
        return Chosen(
            last,
            "the last, which has the weights under which validation rows were likeliest",
            f"{of} {last} is the last; it has the weights under which the validation rows were likeliest.",
            latest_first,
        )
    order = order_checkpoints(checkpoints, directions, profile)
    return Chosen(
        epoch := order[0],
        f"chosen for {profile.name}",
        f"{of} {epoch} has the lowest weighted rank for {profile.name} on the validation rows.",
        order,
    )
