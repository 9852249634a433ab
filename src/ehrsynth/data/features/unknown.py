"""Codes of which nothing is known but how they are written: a column each, as they are."""

from dataclasses import dataclass, field

from ehrsynth.data.features.base import TRAINING
from ehrsynth.data.features.codes import Codes
from ehrsynth.data.store import text
from ehrsynth.data.vocabulary.base import OWN, Vocabulary
from ehrsynth.data.vocabulary.icd import AsIs
from ehrsynth.disclosure import LEAST


@dataclass(kw_only=True, eq=False)
class UnknownCodes(Codes):
    """A column for each code that enough training rows have.

    Events with a number are for ``Measurements`` of the same domain, unless so few have one that its column would be
    mostly missing. Which codes are frequent is counted in training rows only: the columns come after the split, and
    after all others.

    Attributes:
        domain: of the events: ``other`` is what the source knows nothing of.
        least: training rows that must have a code.
        sparse: the share of training rows below which numbers count as codes too.
    """

    after_split = True

    domain: str = "other"
    vocabulary: Vocabulary = field(default_factory=AsIs)
    prefix: str = "code_"
    least: int = LEAST
    sparse: float = 0.5

    def events(self) -> str:
        """Return the events that count, as SQL behind FROM."""
        measured = "coalesce(isfinite(numeric_value), false)"
        known = f"coalesce(vocabulary = {text(OWN)}, false) AND {measured}"  # a measurement, however few have it
        mine = f"domain = {text(self.domain)} AND NOT ({known})"
        return f"""history JOIN (
            SELECT code, count(DISTINCT row) AS rows, count(DISTINCT row) FILTER (NOT {measured}) AS plain,
            count(DISTINCT row) FILTER ({measured}) < {self.sparse} * (SELECT count(*) FROM {TRAINING}) AS sparse
            FROM history SEMI JOIN {TRAINING} USING (row) WHERE {mine} AND code IS NOT NULL GROUP BY code
            ) USING (code) WHERE {mine}
            AND CASE WHEN sparse THEN rows >= {self.least} ELSE plain >= {self.least} AND NOT {measured} END"""
