"""The summary of a report: what the data are, what they keep, whether they leak, and what is not known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ehrsynth.evaluation.card import Card, families
from ehrsynth.evaluation.score import Score
from ehrsynth.reporting.reading import Level, alarming, judge, separation
from ehrsynth.reporting.wording import number

NAMED = 6  # metrics that a sentence names before it only counts them
LEADING = 3  # metrics of each family that lead the report
SEVERITY: tuple[Level, ...] = ("poor", "fair", "good", "none")


@dataclass(frozen=True)
class Finding:
    """One question of the summary, its short answer, and what it rests on."""

    question: str
    answer: str
    detail: str
    level: Level

    @property
    def short(self) -> str:
        """The answer up to its first colon or full stop."""
        return self.answer.split(":")[0].rstrip(".")


def summarise(scores: Sequence[Score], rows: Mapping[str, int]) -> list[Finding]:
    """Answer in plain words what the data are, whether they keep what matters and leak, and what is not known.

    Kept: yes if every verdict outside privacy is good, no if more than half are poor or there are signs of collapse,
    else in part.
    Leaking: by the worst verdict of the privacy metrics.

    Args:
        scores: of one synthetic table.
        rows: numbers of ``train``, ``holdout`` and ``synthetic`` records.
    """
    return [_nature(rows), _kept(scores), leaks(scores), _unknown(scores)]


def alarms(scores: Sequence[Score]) -> list[str]:
    """Return a warning that names what has collapsed, or none; it goes before any number of a report."""
    found = [
        f"{score.card.words} {number(score.value)} (fresh real {number(score.anchors['fresh_real'])})"
        for score in scores
        if alarming(score)
    ]
    if not found:
        return []
    return [
        f"signs of collapse, far from fresh real patients: {'; '.join(found)};"
        " scores of single codes or visits may look good all the same"
    ]


def leading(scores: Sequence[Score]) -> list[Score]:
    """Return the scores to read first: those whose anchors lie farthest apart, so that they tell most.

    At most ``LEADING`` of each family, in the order of the families; of privacy the worst come first. Scores whose
    names begin with the same word are variants of one another, and one of them is enough.
    """
    found: dict[str, dict[str, Score]] = {name: {} for name in families(score.card for score in scores)}
    for score in sorted(scores, key=_weight):
        if judge(score).level != "none":
            found[score.card.family].setdefault(score.card.stem, score)
    return [score for members in found.values() for score in list(members.values())[:LEADING]]


def _weight(score: Score) -> tuple[int, float]:
    worst_first = SEVERITY.index(judge(score).level) if score.card.family == "privacy" else 0
    return worst_first, -separation(score)


def _nature(rows: Mapping[str, int]) -> Finding:
    return Finding(
        "What is it?",
        f"{rows['synthetic']:,} synthetic records.",
        f"Made from {rows['train']:,} real training records, and judged against them and against {rows['holdout']:,}"
        " held-out records of real patients that were kept from the model.",
        "none",
    )


def _kept(scores: Sequence[Score]) -> Finding:
    by_level = _by_level([score for score in scores if score.card.family != "privacy"])
    good, fair, poor = (by_level[level] for level in ("good", "fair", "poor"))
    judged = len(good) + len(fair) + len(poor)
    question = "Does it keep what matters?"
    if not judged:
        return Finding(question, "Not measured.", "No score outside privacy could be judged.", "none")
    detail = (
        f"Of {judged} scores with a verdict {len(good)} are close to fresh real patients, {len(fair)} in between,"
        f" and {len(poor)} no better than the floor{_named(poor)}.{_sentences(scores)}"
    )
    if alarms(scores):
        return Finding(question, "No: it has collapsed.", detail, "poor")
    if len(good) == judged:
        return Finding(question, "Yes.", detail, "good")
    if len(poor) * 2 > judged:
        return Finding(question, "No.", detail, "poor")
    return Finding(question, "In part.", detail, "fair")


def leaks(scores: Sequence[Score]) -> Finding:
    """Answer whether the table leaks, by the worst verdict of its privacy scores.

    No leak seen is said only if the attack with the power to see one was asked, and its interval excludes one.
    """
    by_level = _by_level([score for score in scores if score.card.family == "privacy"])
    good, fair, poor = (by_level[level] for level in ("good", "fair", "poor"))
    question = "Does it leak?"
    attacks = f"Judged by {len(good) + len(fair) + len(poor)} privacy metrics"
    if poor:
        return Finding(question, "Yes: treat it as patient data.", f"{attacks}; leaking{_named(poor)}.", "poor")
    asked = [(score.card, score.card.power, score.ci[1]) for score in scores if score.card.power and score.ci]
    for card, (no_control, _), high in asked:
        if high < no_control:
            near = "Held-out patients are nearer to the synthetic table than training patients"
            why = "Was it made from them, or were the real tables not drawn alike? These attacks say nothing."
            detail = f"{near} ({card.words} {number(high)} or less). {why}"
            return Finding(question, "It cannot be told: the control is none.", detail, "poor")
    if fair:
        return Finding(question, "There are signs of it.", f"{attacks}; some leak{_named(fair)}.", "fair")
    for card, (_, weak), high in asked:
        if good and high >= weak:
            coin = "" if card.null is None else f", where {card.null:g} is a coin toss"
            unseen = f"these records do not exclude a {card.words} of {number(high)}{coin}"
            return Finding(question, "Too few records to tell.", f"{attacks}. None saw a leak, but {unseen}.", "none")
    if good:
        return Finding(question, "No leak was seen.", f"{attacks}. This is evidence, not a proof.", "good")
    return Finding(question, "Not measured.", "No privacy metric could be judged.", "none")


def spent(scores: Sequence[Score]) -> list[Score]:
    """Return the guarantees that private training gave; one that rests on another counts only beside that."""
    found = {score.metric: score for score in scores if score.card.role == "guarantee" and score.value is not None}
    held = [score for score in found.values() if not score.card.control or score.card.control in found]
    return sorted(held, key=lambda score: bool(score.card.control))


def _unknown(scores: Sequence[Score]) -> Finding:
    absent = [score.card for score in scores if score.value is None]
    valued = [score for score in scores if score.value is not None]
    mute = [score.card for score in valued if score.card.is_finding and judge(score).level == "none"]
    question = "What is not known?"
    if not absent and not mute:
        return Finding(question, "Every metric has a verdict.", "What they cannot tell stands beside each.", "none")
    detail = f"Without a value: {len(absent)}{_named(absent)}. Without a verdict: {len(mute)}{_named(mute)}."
    return Finding(question, f"{len(absent) + len(mute)} of {len(scores)} metrics.", detail, "none")


def _by_level(scores: Sequence[Score]) -> dict[Level, list[Card]]:
    found: dict[Level, list[Card]] = {"good": [], "fair": [], "poor": [], "none": []}
    for score in scores:
        found[judge(score).level].append(score.card)
    return found


def _sentences(scores: Sequence[Score]) -> str:
    """Return the sentences of the cards whose metric and control have a value, each after a space."""
    values = {score.metric: score.value for score in scores if score.value is not None}
    said = ""
    for card in (score.card for score in scores):
        if card.sentence and card.name in values and card.control in values:
            # No format string: a card may be a stranger's.
            sentence = card.sentence.replace("{value}", f"{values[card.name]:.2f}")
            said += " " + sentence.replace("{control}", f"{values[card.control]:.2f}")
    return said


def _named(cards: Sequence[Card]) -> str:
    if not cards:
        return ""
    more = f" and {len(cards) - NAMED} more" if len(cards) > NAMED else ""
    return f" ({', '.join(card.words for card in cards[:NAMED])}{more})"
