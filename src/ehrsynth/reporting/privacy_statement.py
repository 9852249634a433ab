"""What ``privacy.html`` says: one page for a privacy officer, from the scores alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ehrsynth.evaluation.nulls import null_of
from ehrsynth.evaluation.score import Score
from ehrsynth.metrics.intervals import Estimate
from ehrsynth.reporting.attacks import ATTACKS, NEVER_RUN, RESULTS, STRENGTH_WORDS, Attack
from ehrsynth.reporting.parts import of_kind
from ehrsynth.reporting.reading import UNSURE, Level, Verdict, judge, own_excess
from ehrsynth.reporting.summary import SEVERITY, Finding, leaks

STRENGTHS = ("strength", "count", "attacks")
"""Kinds of parts that say with what an attack was run; of ``attacks``, the number behind the rate itself."""


@dataclass(frozen=True)
class Line:
    """What one attack found.

    Attributes:
        attack: what was tried.
        strength: with what, in words.
        results: its scores that have a value.
        nulls: of each result, what it is without any leak; None where that is not fixed.
        excesses: of each result, how far it is above its own control; None if it carries none.
        verdict: the worst of its results.
    """

    attack: Attack
    strength: str
    results: tuple[Score, ...]
    nulls: tuple[float | None, ...]
    excesses: tuple[Estimate | None, ...]
    verdict: Verdict

    @property
    def names(self) -> tuple[str, ...]:
        """What each result is, in plain words."""
        return tuple(RESULTS[score.metric] for score in self.results)


@dataclass(frozen=True)
class Statement:
    """The content of the page.

    Attributes:
        finding: the answer in short.
        lines: attacks that were run.
        absent: attacks that were not, with the reason.
        epsilon, delta: what private training spent; None if it was not private.
    """

    finding: Finding
    lines: tuple[Line, ...]
    absent: tuple[str, ...]
    epsilon: float | None
    delta: float | None


def statement(scores: Sequence[Score], rows: Mapping[str, int]) -> Statement:
    """Sort the privacy scores by attack.

    Args:
        scores: of one synthetic table; those of other families are passed over.
        rows: numbers of ``train``, ``holdout`` and ``synthetic`` records.
    """
    by_name = {score.metric: score for score in scores}
    lines, absent = [], []
    for attack in ATTACKS:
        known = [by_name[metric] for metric in attack.metrics if metric in by_name]
        results = tuple(score for score in known if score.value is not None)
        if results:
            verdicts = sorted(map(judge, results), key=_severity)
            nulls = tuple(null_of(score.metric) for score in results)
            excesses = tuple(own_excess(score) for score in results)
            lines.append(Line(attack, _strength(attack, by_name, rows), results, nulls, excesses, verdicts[0]))
        else:
            why = f" ({known[0].reason})" if known and known[0].reason else ""
            absent.append(f"{attack.name.lower()}{why}")
    spent = [by_name.get(f"privacy/{name}") for name in ("epsilon", "delta")]
    epsilon, delta = (None if score is None else score.value for score in spent)
    return Statement(leaks(scores), tuple(lines), (*absent, *NEVER_RUN), epsilon, delta)


def _severity(verdict: Verdict) -> tuple[int, bool]:
    """What could not be told from chance is worse than what was seen to be clean."""
    level: Level = "good" if verdict.word == UNSURE else verdict.level
    return SEVERITY.index(level), verdict.word != UNSURE


def _strength(attack: Attack, scores: Mapping[str, Score], rows: Mapping[str, int]) -> str:
    """Say what the attack was given: by the parts that tell its strength, else by the numbers of rows."""
    found = [scores.get(metric) for metric in attack.metrics]
    stated = {
        name if kind != "attacks" else "attacks": part.value
        for score in found
        for kind in STRENGTHS
        for name, part in of_kind(score, kind).items()
        if kind != "attacks" or name == "rate"
    }
    known = scores.get("privacy/attribute_known_codes")
    if "privacy/attribute_f1_excess" in attack.metrics and known is not None and known.value is not None:
        stated.setdefault("known codes", known.value)
    if not stated:
        return f"{attack.knows}; up to {rows['train']:,} training and {rows['holdout']:,} held-out records"
    words = {STRENGTH_WORDS.get(name, name.replace("_", " ")): value for name, value in stated.items()}
    return f"{attack.knows}; " + ", ".join(f"{name} {value:,.6g}" for name, value in words.items())
