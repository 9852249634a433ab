"""What the audits of a run found, beside what it claims, in words for report, card and privacy page."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ehrsynth.evaluation.card import card_of
from ehrsynth.evaluation.evaluator import Parts, Value
from ehrsynth.evaluation.score import Score
from ehrsynth.metrics.audit import Audit, Canary

Audience = Literal["mechanism", "release"]


@dataclass(frozen=True)
class Found:
    """One audit.

    Attributes:
        of: the ``mechanism``, by the final weights, or the ``release``, by the synthetic table.
        kind: of its canaries.
        by: what the guesses went by.
        audit: what they show.
    """

    of: Audience
    kind: Canary
    by: str
    audit: Audit

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"of": self.of, "kind": self.kind, "by": self.by, **asdict(self.audit)}


@dataclass(frozen=True)
class Audited:
    """The audits of a run.

    Attributes:
        found: of each kind of canaries, of mechanism and release.
        planted: how many canaries of each kind became training rows.
        rows: training patients beside them.
        delta: at which epsilon is asked for.
        confidence: of each bound, so that all of them hold together with 95 %.
        claimed: epsilon of what had noise, at that delta; None of a run that was not private.
        no_mechanism: why the weights were not audited; empty if they were.
    """

    found: tuple[Found, ...]
    planted: Mapping[Canary, int]
    rows: int
    delta: float
    confidence: float
    claimed: float | None = None
    no_mechanism: str = ""

    @property
    def strongest(self) -> Found:
        """The audit with the highest bound."""
        return max(self.found, key=lambda found: found.audit.epsilon)

    @property
    def contradiction(self) -> str | None:
        """Say that what is claimed is wrong; None if no audit excludes it."""
        found = self.strongest
        if self.claimed is None or found.audit.epsilon <= self.claimed:
            return None
        return (
            f"THE CLAIM IS WRONG: this run claims epsilon {self.claimed:.3f} at delta {self.delta:.3g}, and an audit of"
            f" its {found.of} excludes that: {found.audit}. Treat its weights and its table as patient data"
        )

    @property
    def intro(self) -> str:
        """Say what was planted, and what the bounds mean."""
        each = ", ".join(
            f"{planted} of {self.found[0].audit.canaries} {kind}" for kind, planted in self.planted.items()
        )
        claim = "No epsilon is claimed." if self.claimed is None else f"Claimed is epsilon {self.claimed:.3f} there."
        if self.claimed is not None and self.claimed >= max(found.audit.most for found in self.found):
            claim += " No guesses of this number could have excluded that: it takes more canaries."
        absent = f" The mechanism was not audited: {self.no_mechanism}." if self.no_mechanism else ""
        return (
            f"Records that nobody is (canaries: {each}) were planted by fair coins among the {self.rows:,} training"
            f" rows of patients, for the model alone. Right guesses about which of them it was trained on bound epsilon"
            f" from below, at delta {self.delta:.3g}, all bounds together with 95 % confidence. {claim} A low bound"
            f" proves nothing, and none can exceed what the audit could show at most.{absent}"
        )

    def __str__(self) -> str:
        """Say the highest bound beside what is claimed."""
        found = self.strongest
        claim = "nothing is claimed" if self.claimed is None else f"claimed: {self.claimed:.3f}"
        return (
            f"{found.audit}, of the {found.of}, {found.kind} canaries, by {found.by}; delta {self.delta:.3g}; {claim}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        content = {name: value for name, value in asdict(self).items() if name != "found"}
        return {
            "audits": [found.to_dict() for found in self.found],
            **content,
            "planted": dict(self.planted),
            "contradiction": self.contradiction,
        }

    def scores(self) -> list[Score]:
        """Return the highest bound of the audits of mechanism and release, those of each kind as its parts."""
        scores = []
        for of in get_args(Audience):
            bounds = {found.kind: found.audit.epsilon for found in self.found if found.of == of}
            card = card_of(f"privacy/audit_{of}")
            parts: Parts = {("canaries", kind): Value(bound) for kind, bound in bounds.items()}
            if bounds:
                scores.append(Score(card, max(bounds.values()), parts=parts))
            else:
                scores.append(Score(card, None, status="skipped", reason=self.no_mechanism))
        return scores
