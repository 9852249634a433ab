"""How to read a score: where it lies between its anchors, and what that means in a word.

A number without its anchors is not readable, so every verdict comes from a position

    t = (value - floor) / (fresh_real - floor),

which is 1 where fresh real patients would be and 0 at the floor: ``independent`` columns, or for
privacy the ``train_copy`` of a memoriser. Privacy is judged more strictly, because half of a leak
is a leak.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ehrsynth.evaluation.score import Score

Level = Literal["good", "fair", "poor", "none"]

GOOD, GOOD_PRIVACY = 0.8, 0.9
POOR, POOR_PRIVACY = 0.0, 0.5
SAME = 0.05  # anchors closer than this share of the larger one do not discriminate

RULE = (
    f"Position t = (value - floor) / (fresh real - floor). Good: t ≥ {GOOD:g}, close to fresh real patients or better."
    f" Poor: t ≤ {POOR:g}, at the floor (independent columns) or beyond it. Fair: in between. For privacy the floor is"
    f" the train copy, and the limits are stricter: good from {GOOD_PRIVACY:g}, poor up to {POOR_PRIVACY:g}. If fresh"
    f" real is not better than the floor by more than {SAME:.0%} of the larger of the two, the metric does not"
    " discriminate here and gets no verdict, unless the value is worse than both by more than all three anchors lie"
    " apart and more than that margin: then it is poor."
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


@dataclass(frozen=True)
class Finding:
    """One question of the summary, its short answer, and what it rests on."""

    question: str
    answer: str
    detail: str
    level: Level


def family(metric: str) -> str:
    """Return the part of a metric's name before the slash."""
    return metric.split("/", 1)[0]


def floor_name(metric: str) -> str:
    """Return the anchor that marks the bad end of a metric's scale."""
    return "train_copy" if family(metric) == "privacy" else "independent"


def judge(score: Score) -> Verdict:
    """Judge a score by the ``RULE``."""
    if score.value is None:
        return Verdict("none", score.status)
    fresh, floor = score.anchors.get("fresh_real"), score.anchors.get(floor_name(score.metric))
    if fresh is None or floor is None:
        return Verdict("none", "no anchors")
    sign = 1.0 if score.direction == "higher" else -1.0
    margin = SAME * max(abs(fresh), abs(floor))
    if sign * (fresh - floor) <= margin:
        known = [anchor for anchor in score.anchors.values() if anchor is not None]
        shortfall = min(sign * (fresh - score.value), sign * (floor - score.value))
        if shortfall > max(max(known) - min(known), margin):
            return Verdict("poor", "worse than both")
        return Verdict("none", "does not discriminate")

    def place(value: float) -> float:
        return (value - floor) / (fresh - floor)

    private = family(score.metric) == "privacy"
    position = place(score.value)
    ends = sorted(map(place, score.ci)) if score.ci else None
    interval = (ends[0], ends[1]) if ends else None
    if position >= (GOOD_PRIVACY if private else GOOD):
        return Verdict("good", "no leak seen" if private else "close to fresh real", position, interval)
    if position <= (POOR_PRIVACY if private else POOR):
        return Verdict("poor", "leaks" if private else "no better than the floor", position, interval)
    return Verdict("fair", "some leak" if private else "in between", position, interval)


def summarise(scores: Sequence[Score], rows: Mapping[str, int]) -> list[Finding]:
    """Answer in plain words what the data are, whether they keep what matters and leak, and what is not known.

    Kept: yes if every verdict outside privacy is good, no if more than half are poor, else in part.
    Leaking: by the worst verdict of the privacy metrics.

    Args:
        scores: of one synthetic table.
        rows: numbers of ``train``, ``holdout`` and ``synthetic`` records.
    """
    return [_nature(rows), _kept(scores), _leaks(scores), _unknown(scores)]


def _nature(rows: Mapping[str, int]) -> Finding:
    return Finding(
        "What is it?",
        f"{rows['synthetic']:,} synthetic records.",
        f"Made from {rows['train']:,} real training records, and judged against them and against {rows['holdout']:,}"
        " held-out records of real patients that were kept from the model.",
        "none",
    )


def _kept(scores: Sequence[Score]) -> Finding:
    by_level = _by_level([score for score in scores if family(score.metric) != "privacy"])
    good, fair, poor = (by_level[level] for level in ("good", "fair", "poor"))
    judged = len(good) + len(fair) + len(poor)
    question = "Does it keep what matters?"
    if not judged:
        return Finding(question, "Not measured.", "No score outside privacy could be judged.", "none")
    detail = (
        f"Of {judged} scores with a verdict {len(good)} are close to fresh real patients, {len(fair)} in between,"
        f" and {len(poor)} no better than the floor{_named(poor)}.{_prediction(scores)}"
    )
    if len(good) == judged:
        return Finding(question, "Yes.", detail, "good")
    if len(poor) * 2 > judged:
        return Finding(question, "No.", detail, "poor")
    return Finding(question, "In part.", detail, "fair")


def _leaks(scores: Sequence[Score]) -> Finding:
    by_level = _by_level([score for score in scores if family(score.metric) == "privacy"])
    good, fair, poor = (by_level[level] for level in ("good", "fair", "poor"))
    question = "Does it leak?"
    attacks = f"Judged by {len(good) + len(fair) + len(poor)} privacy metrics"
    if poor:
        return Finding(question, "Yes: treat it as patient data.", f"{attacks}; leaking{_named(poor)}.", "poor")
    if fair:
        return Finding(question, "There are signs of it.", f"{attacks}; some leak{_named(fair)}.", "fair")
    if good:
        return Finding(question, "No leak was seen.", f"{attacks}. This is evidence, not a proof.", "good")
    return Finding(question, "Not measured.", "No privacy metric could be judged.", "none")


def _unknown(scores: Sequence[Score]) -> Finding:
    absent = [score.metric for score in scores if score.value is None]
    mute = [score.metric for score in scores if score.value is not None and judge(score).level == "none"]
    question = "What is not known?"
    if not absent and not mute:
        return Finding(question, "Every metric has a verdict.", "What they cannot tell stands beside each.", "none")
    detail = f"Without a value: {len(absent)}{_named(absent)}. Without a verdict: {len(mute)}{_named(mute)}."
    return Finding(question, f"{len(absent) + len(mute)} of {len(scores)} metrics.", detail, "none")


def _by_level(scores: Sequence[Score]) -> dict[Level, list[str]]:
    found: dict[Level, list[str]] = {"good": [], "fair": [], "poor": [], "none": []}
    for score in scores:
        found[judge(score).level].append(score.metric)
    return found


def _prediction(scores: Sequence[Score]) -> str:
    values = {score.metric: score.value for score in scores if score.value is not None}
    if not {"utility/tstr_auroc", "utility/trtr_auroc"} <= set(values):
        return ""
    return (
        f" Models trained on the synthetic data predict the outcome in held-out real patients with AUROC"
        f" {values['utility/tstr_auroc']:.2f}; trained on real data, {values['utility/trtr_auroc']:.2f}."
    )


def _named(metrics: Sequence[str]) -> str:
    return f" ({', '.join(metric.split('/', 1)[1].replace('_', ' ') for metric in metrics)})" if metrics else ""
