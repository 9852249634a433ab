"""Codes of which nothing is known but how they are written: a column each, as they are."""

from dataclasses import dataclass, field

from ehrsynth.data.features.base import TRAINING
from ehrsynth.data.features.codes import LEAST_SUBJECTS, Codes
from ehrsynth.data.store import text
from ehrsynth.data.vocabulary.base import Vocabulary
from ehrsynth.data.vocabulary.icd import AsIs


@dataclass(kw_only=True, eq=False)
class OwnCodes(Codes):
    """A column for each code that enough training rows have, of events without a number.

    Those with a number are for ``Measurements`` of the same domain. Which codes are frequent is counted in training
    rows only: the columns come after the split, and after all others.

    Attributes:
        domain: of the events: ``other`` is what the source knows nothing of.
        least: training rows that must have a code.
    """

    after_split = True

    domain: str = "other"
    vocabulary: Vocabulary = field(default_factory=AsIs)
    prefix: str = "code_"
    least: int = LEAST_SUBJECTS

    def events(self) -> str:
        """Return the events that count, as SQL behind FROM."""
        mine = f"domain = {text(self.domain)} AND code IS NOT NULL AND NOT coalesce(isfinite(numeric_value), false)"
        return f"""history WHERE {mine} AND code IN (SELECT code FROM history SEMI JOIN {TRAINING} USING (row)
            WHERE {mine} GROUP BY code HAVING count(DISTINCT row) >= {self.least})"""
