"""One sentence that reads this value of a metric aloud."""

from ehrsynth.evaluation.nulls import null_of
from ehrsynth.evaluation.score import Score
from ehrsynth.reporting.numbers import interval, number
from ehrsynth.reporting.reading import described, family, floor_name, judge, own_excess

FLOORS = {"independent": "independent columns", "train_copy": "a copy of the training rows"}


def sentence(score: Score) -> str:
    """Return value, where it lies between its anchors, and its interval, in plain words."""
    if score.value is None:
        return f"No value: {score.reason or score.status}."
    said = f"{number(score.value)}{_place(score, score.value)}"
    if score.ci:
        said += f"; 95% interval {number(score.ci[0])} to {number(score.ci[1])}{_against_null(score, score.ci)}"
    return f"{said}."


def _place(score: Score, value: float) -> str:
    verdict = judge(score)
    fresh, floor = score.anchors.get("fresh_real"), score.anchors.get(floor_name(score.metric))
    if described(score.metric) or fresh is None or floor is None:
        return "" if fresh is None else f" (fresh real {number(fresh)})"
    bottom = f"{FLOORS[floor_name(score.metric)]} score {number(floor)}"
    if floor_name(score.metric) == "train_copy":
        bottom = bottom.replace(" score ", " scores ")
    if verdict.position is None:
        if verdict.level == "poor":
            return f", worse than fresh real {number(fresh)} and than the floor {number(floor)}"
        return f"; fresh real {number(fresh)} and the floor {number(floor)} do not differ enough to judge by"
    if family(score.metric) == "privacy":
        compared = "above" if value > fresh else "not above"
        return f", {compared} fresh real {number(fresh)}; {bottom}"
    if verdict.position > 1:
        return f", at or beyond fresh real {number(fresh)}, which is no merit in itself; {bottom}"
    if verdict.level == "good":
        return f", close to fresh real {number(fresh)}; {bottom}"
    if verdict.level == "poor":
        return f", no better than the floor: {bottom}, fresh real {number(fresh)}"
    return f", {verdict.position:.0%} of the way from the floor to fresh real {number(fresh)}; {bottom}"


def _against_null(score: Score, ci: tuple[float, float]) -> str:
    if excess := own_excess(score):
        return f"; above unseen patients by {number(excess[0])} ({interval(excess[1])})"
    null = null_of(score.metric)
    if null is None:
        return ""
    if ci[0] > null:
        return f", above {number(null)}, the value without any leak"
    if ci[1] < null:
        return f", below {number(null)}, the value without any leak"
    return f", which holds {number(null)}, the value without any leak"
