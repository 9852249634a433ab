"""One scored metric, as it stands in ``report.json``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ehrsynth.evaluation.evaluator import Undefined, Value

Status = Literal["ok", "failed", "skipped"]

ANCHORS = ("fresh_real", "train_copy", "independent")
"""The stand-ins for S: held-out real rows, the training rows, and each column drawn alone."""


@dataclass(frozen=True)
class Score:
    """The value of a metric, or why there is none.

    Attributes:
        metric: ``family/metric``.
        value: in raw units; None unless ``status`` is ``ok``.
        direction: ``lower`` or ``higher`` is better.
        ci: 95 % interval, or None where the metric has none.
        status: ``ok``, ``failed`` (our fault or a degenerate table) or ``skipped`` (data lack something).
        reason: why there is no value.
        seconds: time it took, shared equally among the metrics of one evaluator.
        anchors: the same metric on the three stand-ins; a missing one is None.
        parts: finer results, as in ``Value``; they go to ``report.parquet``.
    """

    metric: str
    value: float | None
    direction: str
    ci: tuple[float, float] | None = None
    status: Status = "ok"
    reason: str | None = None
    seconds: float = 0.0
    anchors: Mapping[str, float | None] = field(default_factory=dict)
    parts: Mapping[tuple[str, str], Value | Undefined] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of ``report.json``: everything but the parts."""
        content = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "parts"}
        return {**content, "ci": list(self.ci) if self.ci else None, "anchors": dict(self.anchors)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Score":
        """Inverse of ``to_dict``."""
        ci = content.get("ci")
        return cls(**{**content, "ci": (ci[0], ci[1]) if ci else None})
