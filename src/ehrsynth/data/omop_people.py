"""The tables of patients through time in the OMOP CDM 5.4, some patients at a time."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.data.omop_concepts import Concepts, dates, moment
from ehrsynth.data.trajectories_out import Shard
from ehrsynth.visits import UNKNOWN, VisitSchema

EHR = 32817  # where a record is from
INPATIENT, EMERGENCY_AND_INPATIENT, OUTPATIENT = 9201, 262, 9202
EMERGENCY = ("EW", "EMER")  # in the names of kinds of stays
DIED = 4216643
SEXES = {"F": 8532, "M": 8507}
RACES = {"white": 8527, "black": 8516, "asian": 8515}
HISPANIC, NOT_HISPANIC = 38003563, 38003564
CODED = {  # table and beginnings of the names of its columns, of each domain; all others are observations
    "diagnosis": ("condition_occurrence", "condition", "condition_start"),
    "procedure": ("procedure_occurrence", "procedure", "procedure"),
    "medication": ("drug_exposure", "drug", "drug_exposure_start"),
    "code": ("observation", "observation", "observation"),
}
APART = ("sex", "race", "ethnicity", "insurance")  # of what is said once; all else is an observation


def person(shard: Shard, concepts: Concepts) -> pd.DataFrame:
    """Return a row for each patient."""
    visits, n = shard.visits, len(shard.visits)
    born = pd.Series(visits.born.astype("datetime64[us]"))
    sex, race, ethnicity = (_words(shard, name) for name in ("sex", "race", "ethnicity"))
    group = race.str.lower()
    is_hispanic = (group == "hispanic").fillna(False) | ethnicity.str.lower().str.startswith("hispanic", na=False)
    return pd.DataFrame(
        {
            "person_id": shard.people,
            "gender_concept_id": sex.map(SEXES).fillna(0).astype(np.int64),
            "year_of_birth": born.dt.year.astype("Int64"),
            "month_of_birth": born.dt.month.astype("Int64"),
            "day_of_birth": born.dt.day.astype("Int64"),
            "birth_datetime": born,
            "race_concept_id": group.map(RACES).fillna(0).astype(np.int64),
            "ethnicity_concept_id": np.where(is_hispanic, HISPANIC, np.where(ethnicity.isna(), 0, NOT_HISPANIC)),
            "person_source_value": shard.people.astype(str),
            "gender_source_value": sex,
            "gender_source_concept_id": np.zeros(n, np.int64),
            "race_source_value": race,
            "race_source_concept_id": concepts.words("Race", "race", race),
            "ethnicity_source_value": ethnicity,
            "ethnicity_source_concept_id": concepts.words("Ethnicity", "ethnicity", ethnicity),
        }
    )


def death(shard: Shard, _: Concepts) -> pd.DataFrame:
    """Return a row for each patient who died."""
    known = shard.visits.died != UNKNOWN
    when = shard.visits.died[known]
    return pd.DataFrame({"person_id": shard.people[known], **moment("death", when), "death_type_concept_id": EHR})


def observation_period(shard: Shard, _: Concepts) -> pd.DataFrame:
    """Return from the first beginning to the last end of a visit of each person that has one."""
    visits = shard.visits
    has = np.flatnonzero(visits.per_patient)
    first = visits.offsets[has]
    latest = np.maximum(visits.starts, visits.ends)  # an unknown end is the least of all times
    last = np.maximum.reduceat(latest, first) if len(has) else latest
    return pd.DataFrame(
        {
            "person_id": shard.people[has],
            "observation_period_start_date": dates(visits.starts[first]),
            "observation_period_end_date": dates(last),
            "period_type_concept_id": EHR,
        }
    )


def payer_plan_period(shard: Shard, concepts: Concepts) -> pd.DataFrame:
    """Return who paid, over all visits of a person."""
    seen = observation_period(shard, concepts)
    paid = _words(shard, "insurance").iloc[seen["person_id"].to_numpy() - shard.first].reset_index(drop=True)
    known = paid.notna()
    return pd.DataFrame(
        {
            "person_id": seen["person_id"],
            "payer_plan_period_start_date": seen["observation_period_start_date"],
            "payer_plan_period_end_date": seen["observation_period_end_date"],
            "payer_concept_id": 0,
            "payer_source_value": paid,
        }
    )[known]


def visit_occurrence(shard: Shard, concepts: Concepts) -> pd.DataFrame:
    """Return a row for each visit."""
    visits, schema = shard.visits, shard.schema
    kinds = np.array(schema.kinds, object)
    urgent = [any(word in EMERGENCY for word in kind.upper().replace(".", " ").split()) for kind in schema.kinds]
    stays = np.where(np.array(urgent)[visits.kinds], EMERGENCY_AND_INPATIENT, INPATIENT)
    told = (visits.ends != UNKNOWN) & ~shard.ambulatory
    ended = np.where(visits.ends == UNKNOWN, visits.starts, visits.ends)  # the CDM wants a day; the clock stays empty
    return pd.DataFrame(
        {
            "visit_occurrence_id": shard.visit,
            "person_id": shard.person,
            "visit_concept_id": np.where(shard.ambulatory, OUTPATIENT, stays),
            **moment("visit_start", visits.starts),
            "visit_end_date": dates(ended),
            "visit_end_datetime": visits.ends.astype("datetime64[us]"),
            "visit_type_concept_id": EHR,
            "visit_source_value": kinds[visits.kinds],
            "visit_source_concept_id": concepts.kinds[visits.kinds],
            "discharged_to_concept_id": np.where(told & shard.died, DIED, 0),
            "discharged_to_source_value": pd.Series(np.where(shard.died, "DIED", "UNKNOWN"), dtype="string").where(
                told
            ),
        }
    )


def coded(domain: str) -> Callable[[Shard, Concepts], pd.DataFrame]:
    """Return what makes the table of the codes of a domain."""
    table, prefix, start = CODED[domain]

    def make(shard: Shard, concepts: Concepts) -> pd.DataFrame:
        visits = shard.visits
        places = np.flatnonzero(of_domain(shard.schema, domain)[visits.codes])
        owner, codes = visits.visit_of_code[places], visits.codes[places]
        when = shard.times_of_content[owner]
        names = np.array([code.name for code in shard.schema.codes], object)
        end = {} if table != "drug_exposure" else moment("drug_exposure_end", when)
        return pd.DataFrame(
            {
                "person_id": shard.person[owner],
                f"{prefix}_concept_id": 0,
                **moment(start, when),
                **end,
                f"{prefix}_type_concept_id": EHR,
                "visit_occurrence_id": shard.visit[owner],
                f"{prefix}_source_value": names[codes],
                f"{prefix}_source_concept_id": concepts.codes[codes],
            }
        )

    return make


def measurement(shard: Shard, concepts: Concepts) -> pd.DataFrame:
    """Return a row for each value."""
    visits, owner = shard.visits, shard.visits.visit_of_value
    names, units = (
        np.array([getattr(one, what) or None for one in shard.schema.measurements], object) for what in ("name", "unit")
    )
    return pd.DataFrame(
        {
            "person_id": shard.person[owner],
            "measurement_concept_id": 0,
            **moment("measurement", shard.times_of_content[owner]),
            "measurement_type_concept_id": EHR,
            # the shortest decimal that is this float32, as people would write it
            "value_as_number": visits.values.astype(str).astype(float),
            "unit_concept_id": 0,
            "visit_occurrence_id": shard.visit[owner],
            "measurement_source_value": names[visits.measured],
            "measurement_source_concept_id": concepts.measured[visits.measured],
            "unit_source_value": units[visits.measured],
        }
    )


def observation(shard: Shard, concepts: Concepts) -> pd.DataFrame:
    """Return codes that are of no other table, and what is said of a person once, dated at the first visit."""
    visits = shard.visits
    codes = coded("code")(shard, concepts).assign(value_as_number=np.nan, value_as_string=None)
    has = visits.per_patient > 0
    seen = np.full(len(visits), UNKNOWN)
    seen[has] = visits.starts[visits.offsets[:-1][has]]
    parts = [codes]
    for name in (str(name) for name in shard.static if name not in APART):
        cells = shard.static[name]
        known = np.flatnonzero(cells.notna())
        number = pd.api.types.is_numeric_dtype(cells)
        told = cells.iloc[known]
        parts.append(
            pd.DataFrame(
                {
                    "person_id": shard.people[known],
                    "observation_concept_id": 0,
                    **moment("observation", seen[known]),
                    "observation_type_concept_id": EHR,
                    "visit_occurrence_id": pd.array([pd.NA] * len(known), "Int64"),
                    "observation_source_value": name,
                    "observation_source_concept_id": concepts.place("Observation", "static", name),
                    "value_as_number": told.to_numpy(float) if number else np.nan,
                    "value_as_string": None if number else told.astype(str).to_numpy(object),
                }
            )
        )
    return pd.concat([part.astype({"visit_occurrence_id": "Int64"}) for part in parts], ignore_index=True)


def of_domain(schema: VisitSchema, domain: str) -> NDArray[np.bool_]:
    """Return which codes go to the table of a domain."""
    return np.array([(code.domain if code.domain in CODED else "code") == domain for code in schema.codes], bool)


def _words(shard: Shard, name: str) -> pd.Series:
    """Return a column of what is said once as texts; empty if it is not there."""
    if name not in shard.static:
        return pd.Series([None] * len(shard.static), dtype="string")
    return shard.static[name].astype("string")
