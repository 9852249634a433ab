"""The concepts of what ``ehrsynth.data.omop_out`` writes: a vocabulary of our own, beside OMOP's."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from ehrsynth.data.trajectories_out import Integers
from ehrsynth.data.vocabulary.base import OWN
from ehrsynth.visits import VisitSchema

FIRST_CONCEPT = 2_000_000_001
DOMAINS = {  # what the CDM calls ours
    **{"diagnosis": "Condition", "procedure": "Procedure", "medication": "Drug", "code": "Observation"},
    **dict.fromkeys(("lab", "vital", "value"), "Measurement"),
}


@dataclass
class Concepts:
    """The concepts of our own: what each code, measurement, kind and column is numbered and called."""

    schema: VisitSchema
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)  # name, domain, class, code
    places: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        codes = [(code, code.domain if code.domain in DOMAINS else "code") for code in self.schema.codes]
        numbers = [(one, one.domain if one.domain in DOMAINS else "value") for one in self.schema.measurements]
        self.kinds = np.array([self.place("Visit", "kind", kind) for kind in self.schema.kinds], np.int64)
        self.codes, self.measured = (
            np.array([self.place(DOMAINS[what], what, one.name, one.label) for one, what in some], np.int64)
            for some in (codes, numbers)
        )

    def place(self, domain: str, what: str, code: str, label: str = "") -> int:
        """Return the number of a concept, a new one if it is new."""
        if (what, code) not in self.places:
            self.places[what, code] = FIRST_CONCEPT + len(self.rows)
            self.rows.append((label or code.replace("_", " "), domain, f"{OWN} {what}", code))
        return self.places[what, code]

    def words(self, domain: str, what: str, cells: pd.Series) -> Integers:
        """Return the number of the concept of each word, 0 where there is none."""
        places = {word: self.place(domain, what, word) for word in cells.dropna().unique()}
        return cells.map(places).fillna(0).to_numpy(np.int64)

    def table(self) -> pd.DataFrame:
        """Return the table ``concept`` of all that were asked for."""
        names, domains, classes, codes = zip(*self.rows, strict=True)
        return pd.DataFrame(
            {
                "concept_id": FIRST_CONCEPT + np.arange(len(self.rows)),
                "concept_name": names,
                "domain_id": domains,
                "vocabulary_id": OWN,
                "concept_class_id": classes,
                "standard_concept": None,
                "concept_code": codes,
                "valid_start_date": dates(np.zeros(len(self.rows), np.int64)),
                "valid_end_date": dates(np.full(len(self.rows), np.datetime64("2099-12-31", "us").astype(np.int64))),
                "invalid_reason": None,
            }
        )


def moment(name: str, times: Integers) -> dict[str, object]:
    """Return the columns of a moment, its day and its time."""
    return {f"{name}_date": dates(times), f"{name}_datetime": times.astype("datetime64[us]")}


def dates(times: Integers) -> pd.api.extensions.ExtensionArray:
    """Return the days of times."""
    days = pa.array(times.astype("datetime64[us]").astype("datetime64[D]"), pa.date32())
    return pd.array(days, pd.ArrowDtype(pa.date32()))
