"""The numbers that other tools' MEDS holds, placed in visits and brought within what training patients share."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.visit_plan import Values, clean_values
from ehrsynth.data.visit_tables import Concept
from ehrsynth.visits import Measurement, Visits


def measured(rows: pd.DataFrame, least: int) -> list[str]:
    """Return the codes of a long table that are measurements: most of their rows have a ``value``.

    Args:
        rows: ``id, visit_codes`` and perhaps ``value``.
        least: patients that must have one.
    """
    if "value" not in rows:
        return []
    found = rows.assign(number=rows["value"].notna()).groupby("visit_codes")["number"].mean()
    numbers = rows.dropna(subset="value").drop_duplicates(["id", "visit_codes"])["visit_codes"].value_counts()
    return sorted(name for name in found.index[found > 0.5] if numbers[name] >= least)


def with_values(
    made: Mapping[str, Visits],
    rows: Mapping[str, pd.DataFrame],
    people: Mapping[str, pd.Series],
    domains: Mapping[str, str],
    least: int,
) -> tuple[dict[str, Visits], tuple[Measurement, ...]]:
    """Return the visits with their values, the last of each measurement in a visit, and the measurements.

    Args:
        made: the visits of each role without values; those of training come first.
        rows: ``id, time, visit_codes, value`` of the same roles.
        people: the ``id`` of each patient.
        domains: of the measurements, by their names.
        least: training patients that must have a measurement.
    """
    names = list(domains)
    concepts = [
        Concept(
            name, ColumnSpec("continuous", domain=domain if domain in ("lab", "vital") else "other", label=name), ""
        )
        for name, domain in domains.items()
    ]
    everyone = Visits.joined(made.values())
    first = dict(zip(made, np.cumsum([0, *(visits.count for visits in made.values())]).tolist(), strict=False))
    parts = []
    for role, visits in made.items():
        beside = rows[role].dropna(subset="value")
        beside = beside.assign(place=beside["visit_codes"].map({name: at for at, name in enumerate(names)}))
        starts = pd.DataFrame({"id": people[role].to_numpy()[visits.patient], "time": visits.starts})
        starts["visit"] = first[role] + np.arange(visits.count)
        when = beside["time"].astype("datetime64[us]").astype(np.int64)
        parts.append(beside.dropna(subset="place").assign(time=when).merge(starts, on=["id", "time"]))
    found = pd.concat(parts, ignore_index=True).drop_duplicates(["visit", "place"], keep="last")
    found = found.sort_values(["visit", "place"])
    values = Values(
        found["visit"].to_numpy(np.int64), found["place"].to_numpy(np.int32), found["value"].to_numpy(float)
    )
    training = len(next(iter(made.values())))
    preprocess = Preprocess(min_count=least, min_prevalence=0)
    measurements, clean, _ = clean_values(values, everyone.patient, training, concepts, preprocess)
    return {role: _placed(visits, clean, first[role]) for role, visits in made.items()}, measurements


def _placed(visits: Visits, values: Values, first: int) -> Visits:
    """Return visits with the values that are theirs; they are numbered from ``first``."""
    mine = slice(*np.searchsorted(values.visit, [first, first + visits.count]))
    counts = np.bincount(values.visit[mine] - first, minlength=visits.count)
    return replace(
        visits,
        value_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        measured=values.place[mine].astype(np.int32),
        values=values.value[mine].astype(np.float32),
    )
