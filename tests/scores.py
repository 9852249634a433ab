"""Scores by the name of their metric, for tests."""

from typing import Any

from ehrsynth.evaluation.card import Direction, card_of
from ehrsynth.evaluation.score import Score


def score_of(
    metric: str, value: float | None, direction: Direction = "lower", ci: tuple[float, float] | None = None, **rest: Any
) -> Score:
    """Return a score with the card of its metric, or a bare card if the package has none of that name."""
    return Score(card_of(metric, direction), value, ci, **rest)
