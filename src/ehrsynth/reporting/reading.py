"""How to read a score: where it lies between its anchors, and what that means in a word.

A number without its anchors is not readable, so every verdict comes from a position

    t = (value - floor) / (fresh_real - floor),

which is 1 where fresh real patients would be and 0 at the floor: ``independent`` columns, or for
privacy the ``train_copy`` of a memoriser. Privacy is judged more strictly, because half of a leak
is a leak; but only an attack that finds more than chance and more than in fresh real patients, beyond
its interval, has found one, and then it is a leak whatever its position.
"""

from dataclasses import dataclass, replace
from typing import Literal

from ehrsynth.evaluation.evaluator import Value
from ehrsynth.evaluation.score import Score
from ehrsynth.metrics.intervals import Estimate

Level = Literal["good", "fair", "poor", "none"]

GOOD, GOOD_PRIVACY = 0.8, 0.9
POOR, POOR_PRIVACY = 0.0, 0.5
SAME = 0.05  # anchors closer than this share of the larger one do not discriminate

UNSURE = "not beyond chance"

RULE = (
    f"Position t = (value - floor) / (fresh real - floor). Good: t ≥ {GOOD:g}, close to fresh real patients or better."
    f" Poor: t ≤ {POOR:g}, at the floor (independent columns) or beyond it. Fair: in between. For privacy the floor is"
    f" the train copy, and the limits are stricter: good from {GOOD_PRIVACY:g}, poor up to {POOR_PRIVACY:g}. If fresh"
    f" real is not better than the floor by more than {SAME:.0%} of the larger of the two, the metric does not"
    " discriminate here and gets no verdict, unless the value is worse than both by more than all three anchors lie"
    " apart and more than that margin: then it is poor. A privacy metric that has a value without any leak (0.5 for an"
    " area, 0.01 or 0.001 for a rate, 0 for an excess) is a leak only if its interval lies above both that value and"
    " fresh real; then it is at least fair, small but beyond chance, whatever its position. It is poor at any position"
    " where records are copied beyond chance, and where a rate is beyond 3 times both. What describes"
    " an attack, what the same attack finds among patients who are no members, what has no control in it, and what"
    " real data alone decide (trtr) gets no verdict."
)


@dataclass(frozen=True)
class Verdict:
    """What a score means.

    Attributes:
        level: ``good``, ``fair``, ``poor``, or ``none`` where nothing can be said.
        word: the same in plain words.
        position: t of the value, None where there is no scale.
        interval: t of the ends of its 95 % interval, in ascending order.
    """

    level: Level
    word: str
    position: float | None = None
    interval: tuple[float, float] | None = None


def scale(score: Score) -> tuple[float, float] | None:
    """Return fresh real and the floor, between which a score is placed; None without both."""
    fresh, floor = score.anchors.get("fresh_real"), score.anchors.get(score.card.floor)
    return None if fresh is None or floor is None else (fresh, floor)


def separation(score: Score) -> float:
    """Return how far fresh real is better than the floor, as a share of the larger; 0 without both anchors."""
    if (ends := scale(score)) is None:
        return 0.0
    fresh, floor = ends
    gap = fresh - floor if score.direction == "higher" else floor - fresh
    return gap / max(abs(fresh), abs(floor), 1e-12)


def judge(score: Score) -> Verdict:
    """Judge a score by the ``RULE``."""
    if score.value is None:
        return Verdict("none", score.status)
    if not score.card.is_finding:
        return Verdict("none", score.card.aside or score.card.role)
    if score.card.aside and ("side", "excess") not in score.parts:
        return Verdict("none", score.card.aside)  # report.json has no parts, and its control is one of them
    verdict = _placed(score, score.value)
    beyond = beyond_chance(score)
    if beyond is None:
        return verdict
    if not beyond:
        return verdict if verdict.level in ("good", "none") else replace(verdict, level="none", word=UNSURE)
    if score.card.grave is not None and beyond_chance(score, score.card.grave):
        return replace(verdict, level="poor", word="leaks")
    if verdict.level in ("good", "none"):
        return replace(verdict, level="fair", word="small but beyond chance")
    return verdict


def beyond_chance(score: Score, times: float = 1.0) -> bool | None:
    """Whether an attack is beyond chance: its interval lies above so many times its null and fresh real.

    Returns:
        None where that cannot be told: no attack, no null, or no interval. A score that carries the difference from
        its own control as part ``side, excess`` is judged by that.
    """
    if score.card.role != "attack":
        return None
    if excess := own_excess(score):
        return excess[1][0] > 0
    null, fresh = score.card.null, score.anchors.get("fresh_real")
    if null is None or score.ci is None:
        return None
    return score.ci[0] > times * max(null, null if fresh is None else fresh)


def alarming(score: Score) -> bool:
    """Whether a score is so much worse than fresh real, interval and all, that the generator may have collapsed."""
    fresh = score.anchors.get("fresh_real")
    if score.card.alarm is None or score.value is None or fresh is None:
        return False
    low, high = score.ci or (score.value, score.value)
    shortfall = fresh - high if score.direction == "higher" else low - fresh
    return shortfall > score.card.alarm


def own_excess(score: Score) -> Estimate | None:
    """Return the difference from a score's own control with its interval, None if it carries none."""
    part = score.parts.get(("side", "excess"))
    if score.card.family != "privacy" or not isinstance(part, Value) or part.ci is None:
        return None
    return part.value, part.ci


def _placed(score: Score, value: float) -> Verdict:
    if (ends := scale(score)) is None:
        return Verdict("none", "no anchors")
    fresh, floor = ends
    sign = 1.0 if score.direction == "higher" else -1.0
    if separation(score) <= SAME:
        known = [anchor for anchor in score.anchors.values() if anchor is not None]
        shortfall = min(sign * (fresh - value), sign * (floor - value))
        if shortfall > max(max(known) - min(known), SAME * max(abs(fresh), abs(floor))):
            return Verdict("poor", "worse than both")
        return Verdict("none", "does not discriminate")

    def place(value: float) -> float:
        return (value - floor) / (fresh - floor)

    private = score.card.family == "privacy"
    position = place(value)
    placed = sorted(map(place, score.ci)) if score.ci else None
    interval = (placed[0], placed[1]) if placed else None
    if position >= (GOOD_PRIVACY if private else GOOD):
        return Verdict("good", "no leak seen" if private else "close to fresh real", position, interval)
    if position <= (POOR_PRIVACY if private else POOR):
        return Verdict("poor", "leaks" if private else "no better than the floor", position, interval)
    return Verdict("fair", "some leak" if private else "in between", position, interval)
