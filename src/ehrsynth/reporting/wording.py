"""How numbers are written in every report, and one sentence that reads a value aloud."""

import re

from ehrsynth.evaluation.score import Score
from ehrsynth.reporting.reading import judge, own_excess, scale
from ehrsynth.words import printable

DASH, MINUS, TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
ROUNDING = 1e-12  # what is left of a zero after floating-point sums
FLOORS = {"independent": "independent columns score", "train_copy": "a copy of the training rows scores"}


def number(value: float | None, digits: int = 3) -> str:
    """Return ``value`` with so many significant digits, in raw units; a dash for None."""
    if value is None:
        return DASH
    if abs(value) < ROUNDING:
        value = 0.0
    if value and not 1e-4 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{mantissa}{TIMES}10{str(int(exponent)).translate(SUPERSCRIPT)}"
    else:
        text = f"{value:#.{digits}g}".rstrip(".") if 0 < abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", MINUS)


def interval(ci: tuple[float, float] | None) -> str:
    """Return a 95 % interval as text; a dash for None."""
    return f"{number(ci[0])} to {number(ci[1])}" if ci else DASH


def inline(text: str) -> str:
    """Return a text for Markdown, in one line and one cell of a table, that makes no tag, no link and no fence."""
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", unfenced(text.replace("\n", " ")))
    return text.replace("](", r"]\(").replace("|", r"\|")


def unfenced(text: str) -> str:
    """Return a text that may stand between the fences of Markdown and cannot leave them."""
    return printable(text).replace("```", "` ` `")


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
    ends = scale(score) if score.card.is_finding else None
    if ends is None:
        known = score.anchors.get("fresh_real")
        return "" if known is None else f" (fresh real {number(known)})"
    fresh, floor = ends
    alone = "independent visits score" if score.card.family == "temporal" else FLOORS[score.card.floor]
    bottom = f"{alone} {number(floor)}"
    if verdict.position is None:
        if verdict.level == "poor":
            return f", worse than fresh real {number(fresh)} and than the floor {number(floor)}"
        return f"; fresh real {number(fresh)} and the floor {number(floor)} do not differ enough to judge by"
    if score.card.family == "privacy":
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
    if (null := score.card.null) is None:
        return ""
    if ci[0] > null:
        return f", above {number(null)}, the value without any leak"
    if ci[1] < null:
        return f", below {number(null)}, the value without any leak"
    return f", which holds {number(null)}, the value without any leak"
