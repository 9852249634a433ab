"""What a search maximises: how far a trial comes from the floor to fresh real patients, on validation rows.

Ranks need all runs, and a trial must be judged before the next begins; so every metric is placed between its anchors,
and a weighted mean of these places is an objective.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.anchors import Anchors
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.ranking import Profile
from ehrsynth.evaluation.score import ANCHORS, Score
from ehrsynth.reporting.reading import SAME, separation

UTILITY, PRIVACY = "utility", "privacy"
LOWEST = -1.0  # as far below the floor as fresh real patients are above it: one lost metric must not hide all others
# Few validation patients are a mark that good and better models both pass; so some of what lies beyond it counts.
BEYOND = 0.1
DEFINITION = (
    "A metric counts as 1 where fresh real patients score and as 0 at the floor (independent columns or visits, for"
    " privacy a copy of the training rows), in between in proportion, and at least"
    f" {LOWEST:g}. Beyond fresh real patients up to {BEYOND:g} is added, all of it where the training rows themselves"
    " score; nothing for privacy. Where the floor is no worse than fresh real patients, as of prevalences, the worse of"
    " the two is 1, and 0 is as much worse again as the three anchors lie apart. An objective is the weighted mean of"
    " its metrics, and the score of a trial the weighted mean of its objectives."
)


class Scale(NamedTuple):
    """Values of a metric that mark its scale.

    Attributes:
        bad, good: what counts as 0 and as 1.
        best: beyond which nothing more counts; that of the training rows, or ``good``.
    """

    bad: float
    good: float
    best: float

    def share(self, value: object) -> float:
        """Return what a value counts as; what is no number has failed."""
        if not isinstance(value, float | int) or value != value:
            return LOWEST
        beyond = 0.0 if self.best == self.good else (value - self.good) / (self.best - self.good)
        share = (value - self.bad) / (self.good - self.bad)
        return min(max(share, LOWEST), 1.0) + BEYOND * min(max(beyond, 0.0), 1.0)


@dataclass(frozen=True)
class Objectives:
    """What is maximised.

    Attributes:
        parts: objective -> metric -> weight, which sum to one.
        weights: objective -> weight in the one score that prunes and chooses, which sum to one.
        scales: of the metrics.
        left_out: metrics of the profile that say nothing at the checkpoints, with the reason.
    """

    parts: Mapping[str, Mapping[str, float]]
    weights: Mapping[str, float]
    scales: Mapping[str, Scale]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def of(self, scores: Mapping[str, object]) -> dict[str, float]:
        """Return the objectives of a checkpoint; a metric without a value has failed there.

        Args:
            scores: metric -> value; whatever else stands among them is ignored.
        """
        return {
            name: sum(weight * self.scales[metric].share(scores.get(metric)) for metric, weight in part.items())
            for name, part in self.parts.items()
        }

    def score(self, objectives: Mapping[str, float]) -> float:
        """Return the weighted mean."""
        return sum(weight * objectives[name] for name, weight in self.weights.items())


def objectives_of(asked: Sequence[str], profile: Profile, cards: Mapping[str, Card], anchors: Anchors) -> Objectives:
    """Return the objectives of a search.

    Args:
        asked: ``utility`` (the metrics of the profile but those of privacy), ``privacy`` (these), or metrics by name.
            The first two weigh in the score as in the profile; where a metric is among them, all weigh alike.
        profile: the use case.
        cards: of what is measured at the checkpoints.
        anchors: on the training and validation rows.

    Raises:
        OptionError: a name is unknown, or nothing in an objective tells good from bad here.
    """
    check_names(asked, cards)
    scales, left_out, parts = {}, {}, {}
    for name in asked:
        wanted = _metrics(name, profile)
        for metric in wanted:
            if metric not in cards:
                left_out[metric] = "not measured at the checkpoints"
            elif (found := scale_of(cards[metric], anchors)) is None:
                left_out[metric] = "its anchors do not lie apart"
            else:
                scales[metric] = found
        kept = {metric: weight for metric, weight in wanted.items() if metric in scales}
        if not kept:
            reasons = ", ".join(f"{metric} ({left_out[metric]})" for metric in wanted) or f"{profile.name} has none"
            raise OptionError(f"search.objectives: {name} has no metric that tells good from bad here: {reasons}")
        parts[name] = {metric: weight / sum(kept.values()) for metric, weight in kept.items()}
    known = set(asked) <= {UTILITY, PRIVACY}
    heavy = {name: sum(_metrics(name, profile).values()) if known else 1.0 for name in asked}
    return Objectives(parts, {name: each / sum(heavy.values()) for name, each in heavy.items()}, scales, left_out)


def check_names(asked: Sequence[str], cards: Mapping[str, Card]) -> None:
    """Raise an ``OptionError`` for an objective that is unknown, or stands there twice."""
    if not asked or len(set(asked)) < len(asked):
        raise OptionError(f"search.objectives=[{','.join(asked)}]: one or more, each once, were expected")
    for name in asked:
        if name not in (UTILITY, PRIVACY, *cards):
            raise OptionError(
                f"search.objectives: {name} is not measured at the checkpoints; use utility, privacy, or one of"
                f" {', '.join(cards)}"
            )


def _metrics(name: str, profile: Profile) -> dict[str, float]:
    if name not in (UTILITY, PRIVACY):
        return {name: 1.0}
    return {
        metric: weight
        for metric, weight in profile.weights.items()
        if weight > 0 and metric.startswith("privacy/") == (name == PRIVACY)
    }


def scale_of(card: Card, anchors: Anchors) -> Scale | None:
    """Return the scale of a metric; None if the anchors do not lie apart."""
    known = {name: value for name in ANCHORS if (value := anchors[name].get(card.name)) is not None}
    if len(known) < len(ANCHORS):
        return None
    good, bad = known["fresh_real"], known[card.floor]
    worst, best = (min, max) if card.direction == "higher" else (max, min)
    if separation(Score(card, None, anchors=known)) <= SAME:
        apart = max(max(known.values()) - min(known.values()), SAME * max(abs(good), abs(bad)))
        good = worst(good, bad)
        bad = good - apart if card.direction == "higher" else good + apart
    if bad == good:
        return None
    return Scale(bad, good, good if card.family == "privacy" else best(good, known["train_copy"]))
