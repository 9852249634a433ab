"""What ``privacy.html`` says: one page for a privacy officer, from the scores alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ehrsynth.evaluation.card import Attack, catalogue
from ehrsynth.evaluation.evaluator import Value
from ehrsynth.evaluation.score import Score
from ehrsynth.metrics.intervals import Estimate, together
from ehrsynth.reporting.parts import of_kind
from ehrsynth.reporting.reading import UNSURE, Level, Verdict, beyond_chance, judge, own_excess
from ehrsynth.reporting.summary import SEVERITY, Finding, leaks, spent

NEVER_RUN = (
    "attacks with shadow models, which retrain the generator many times with and without a person",
    "attacks on the model itself beyond its likelihood (its weights or unlimited samples)",
    "linkage with outside registers, or with other releases from the same hospital",
)
"""What no suite here tries."""

STRENGTHS = ("strength", "count", "attacks")
"""Kinds of parts that say with what an attack was run; of ``attacks``, the number behind the rate itself."""


@dataclass(frozen=True)
class Line:
    """What one attack found.

    Attributes:
        attack: what was tried.
        strength: with what, in words.
        results: its scores that have a value, the most telling first.
        verdict: the worst of its results.
        together: the results with intervals that hold for all results of the page at once.
    """

    attack: Attack
    strength: str
    results: tuple[Score, ...]
    verdict: Verdict
    together: tuple[Score, ...]

    @property
    def excesses(self) -> tuple[Estimate | None, ...]:
        """Of each result, how far it is above its own control; None if it carries none."""
        return tuple(map(own_excess, self.results))

    @property
    def excesses_together(self) -> tuple[Estimate | None, ...]:
        """The same with intervals that hold for all results of the page at once."""
        return tuple(map(own_excess, self.together))

    @property
    def may_be_luck(self) -> bool:
        """Whether a result is beyond chance by itself, and none is once all results of the page are counted."""
        return any(map(beyond_chance, self.results)) and not any(map(beyond_chance, self.together))


@dataclass(frozen=True)
class Statement:
    """The content of the page.

    Attributes:
        finding: the answer in short.
        lines: attacks that were run.
        absent: attacks that were not, with the reason.
        spent: what private training spent; empty if it was not private.
        results: with an interval, of all attacks.
    """

    finding: Finding
    lines: tuple[Line, ...]
    absent: tuple[str, ...]
    spent: tuple[Score, ...]
    results: int


def statement(scores: Sequence[Score], rows: Mapping[str, int]) -> Statement:
    """Sort the privacy scores of one table by attack; ``rows`` are its numbers of records, as in ``report.json``."""
    lines, absent, attacks = [], [], _by_attack(scores)
    found = [score for _, known in attacks for score in known if score.card.is_finding and score.value is not None]
    count = sum(score.ci is not None or own_excess(score) is not None for score in found)
    for attack, known in attacks:
        asked = [score for score in known if score.card.is_finding]
        results = tuple(score for score in asked if score.value is not None)
        if results:
            verdicts = sorted(map(judge, results), key=_severity)
            at_once = tuple(_together(score, count) for score in results)
            lines.append(Line(attack, _strength(attack, known, rows), results, verdicts[0], at_once))
        else:
            why = f" ({asked[0].reason})" if asked and asked[0].reason else ""
            absent.append(f"{attack.name.lower()}{why}")
    return Statement(leaks(scores), tuple(lines), (*absent, *NEVER_RUN), tuple(spent(scores)), count)


def _together(score: Score, results: int) -> Score:
    """Return a score with intervals that hold together with those of so many results."""
    parts, card = dict(score.parts), score.card
    if (excess := own_excess(score)) is not None:
        parts["side", "excess"] = Value(excess[0], together(excess, results))
    assert score.value is not None
    ci = None if score.ci is None else together((score.value, score.ci), results, card.low, card.high)
    return replace(score, ci=ci, parts=parts)


def _by_attack(scores: Sequence[Score]) -> list[tuple[Attack, list[Score]]]:
    """Return the scores of every attack, also of those that were not run; cards of the package first, as listed."""
    by_name = {score.metric: score for score in scores}
    cards = {**catalogue(), **{name: score.card for name, score in by_name.items()}}
    found: list[tuple[Attack, list[Score]]] = []
    for attack in sorted((card.attack for card in cards.values() if card.attack), key=lambda attack: attack.place):
        if not any(attack == other for other, _ in found):
            known = [by_name[name] for name, card in cards.items() if card.attack == attack and name in by_name]
            found.append((attack, known))
    return found


def _severity(verdict: Verdict) -> tuple[int, bool]:
    """What could not be told from chance is worse than what was seen to be clean."""
    level: Level = "good" if verdict.word == UNSURE else verdict.level
    return SEVERITY.index(level), verdict.word != UNSURE


def _strength(attack: Attack, known: Sequence[Score], rows: Mapping[str, int]) -> str:
    """Say what the attack was given: by the parts that tell its strength, else by the numbers of rows."""
    stated = {
        name if kind != "attacks" else "attacks": part.value
        for score in known
        if score.card.is_finding
        for kind in STRENGTHS
        for name, part in of_kind(score, kind).items()
        if kind != "attacks" or name == "rate"
    }
    for score in known:
        if not score.card.is_finding and score.value is not None:
            stated.setdefault(score.card.result, score.value)
    if not stated:
        return f"{attack.knows}; up to {rows['train']:,} training and {rows['holdout']:,} held-out records"
    words = {attack.strengths.get(name, name.replace("_", " ")): value for name, value in stated.items()}
    return f"{attack.knows}; " + ", ".join(f"{name} {value:,.6g}" for name, value in words.items())
