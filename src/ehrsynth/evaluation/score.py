"""One scored metric, as it stands in ``report.json``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ehrsynth.evaluation.card import Card, Direction, card_of
from ehrsynth.evaluation.evaluator import Parts

Status = Literal["ok", "failed", "skipped"]

ANCHORS = ("fresh_real", "train_copy", "independent")
"""The stand-ins for S: held-out real rows, the training rows, and each column, or each visit, drawn alone."""

ORDER_SHUFFLED = "order_shuffled"
"""One more for trajectories: held-out real patients, what their visits hold permuted within each of them."""


@dataclass(frozen=True)
class Score:
    """The value of a metric, or why there is none.

    Attributes:
        card: of the metric.
        value: in raw units; None unless ``status`` is ``ok``.
        ci: 95 % interval, or None where the metric has none.
        status: ``ok``, ``failed`` (our fault or a degenerate table) or ``skipped`` (data lack something).
        reason: why there is no value.
        seconds: time it took, shared equally among the metrics of one evaluator.
        anchors: the same metric on the stand-ins; a missing one is None.
        parts: finer results, as in ``Value``; they go to ``report.parquet``.
    """

    card: Card
    value: float | None
    ci: tuple[float, float] | None = None
    status: Status = "ok"
    reason: str | None = None
    seconds: float = 0.0
    anchors: Mapping[str, float | None] = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """``family/metric``."""
        return self.card.name

    @property
    def direction(self) -> Direction:
        """Whether ``lower`` or ``higher`` is better."""
        return self.card.direction

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of ``report.json``: everything but the parts and the card."""
        return {
            "metric": self.metric,
            "value": self.value,
            "direction": self.direction,
            "ci": list(self.ci) if self.ci else None,
            "status": self.status,
            "reason": self.reason,
            "seconds": self.seconds,
            "anchors": dict(self.anchors),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], own: Mapping[str, Card] | None = None) -> "Score":
        """Inverse of ``to_dict``.

        Args:
            content: the entry of ``report.json``.
            own: cards of metrics that the package does not have, by name.
        """
        given = {key: value for key, value in content.items() if key not in ("metric", "direction")}
        ci, card = given.get("ci"), card_of(content["metric"], content["direction"], own)
        return cls(**{**given, "card": card, "ci": (ci[0], ci[1]) if ci else None})


def anchors_of(scores: Iterable[Score]) -> tuple[str, ...]:
    """Return the stand-ins that scores are read beside: three, or four where the order of visits was asked about."""
    return (*ANCHORS, ORDER_SHUFFLED) if any(ORDER_SHUFFLED in score.anchors for score in scores) else ANCHORS
