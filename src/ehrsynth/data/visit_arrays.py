"""From a store with a chosen cohort to the visits of each part of its patients."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.data.events import EVENTS
from ehrsynth.data.features.base import Feature
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.store import Store
from ehrsynth.data.visit_faults import Policy, settle_visits
from ehrsynth.data.visit_plan import Values, clean_values, fold_kinds, least_patients, visit_schema
from ehrsynth.data.visit_tables import (
    ORDERED,
    ROWS,
    Concept,
    collect_entries,
    entries_of_visits,
    order_visits,
    patients_with,
    place_entries,
)
from ehrsynth.data.wide import Wide
from ehrsynth.errors import TableError
from ehrsynth.visits import UNKNOWN, Visits, VisitSchema

Integers = NDArray[np.int64]
Counts = dict[str, Any]


def made_visits(
    store: Store,
    features: Sequence[Feature],
    parts: Mapping[str, Wide],
    codes: Sequence[str],
    preprocess: Preprocess,
    faults: Mapping[str, Policy],
) -> tuple[VisitSchema, dict[str, Visits], Counts]:
    """Return what visits are made of, those of each part, and counts of what was found.

    Args:
        store: with ``cohort`` and ``visit_list``.
        features: that are told visit by visit.
        parts: the patients, in their order; those of training come first.
        codes: that enough training patients have.
        preprocess: what is rare, implausible, bounded.
        faults: what becomes of faults in visits, by their names.

    Raises:
        TableError: no visit is left, or a fault is refused.
    """
    rows = np.concatenate([part.cells.index.to_numpy(np.int64) for part in parts.values()])
    sizes = [len(part) for part in parts.values()]
    part = np.repeat(np.arange(len(sizes)), sizes)
    store.register(ROWS, pd.DataFrame({"row": rows, "part": part, "patient": np.arange(len(rows))}))
    concepts = collect_entries(store, features)
    kept = _kept(concepts, set(codes), patients_with(store), least_patients(preprocess, sizes[0]))
    chosen = [concepts[place] for place in kept]
    if not kept:
        raise TableError(
            f"form=trajectories: none of {len(concepts)} codes and measurements is left, so visits would be empty; the"
            " features ask for other domains than the source has, or preprocess.min_count=1 keeps what is rare"
        )
    place_entries(store, kept)
    found = settle_visits(store, faults)
    order_visits(store)
    visits = store.frame(
        f"""SELECT part, patient, kind, ambulatory, epoch_us(started) AS starts,
        coalesce(epoch_us(ended), {UNKNOWN}) AS ends FROM {ORDERED} ORDER BY v"""
    )
    if visits.empty:
        raise TableError("form=trajectories: no visit of the cohort is left; see the counts of its faults")
    kinds, ambulatory, kind, folded = fold_kinds(visits, preprocess.min_level)
    patient = visits["patient"].to_numpy(np.int64)
    coded = [concept for concept in chosen if concept.unit is None]
    measured = [concept for concept in chosen if concept.unit is not None]
    of_codes = entries_of_visits(store, range(len(coded)))
    of_values = entries_of_visits(store, range(len(coded), len(chosen)))
    values = Values(
        of_values["v"].to_numpy(np.int64), of_values["place"].to_numpy(np.int32), of_values["value"].to_numpy(float)
    )
    measurements, values, mended = clean_values(values, patient, sizes[0], measured, preprocess)
    life = store.frame(
        f"""SELECT coalesce(epoch_us(c.birth), {UNKNOWN}) AS born, coalesce(epoch_us(coalesce(s.died_at, c.death)),
        {UNKNOWN}) AS died FROM {ROWS} r JOIN cohort c USING (row) LEFT JOIN (
        SELECT subject_id, max(discharged) AS died_at FROM stays WHERE died GROUP BY ALL) s
        ON c.subject_id = s.subject_id ORDER BY r.patient"""
    )
    everyone = Visits(
        _offsets(patient, len(rows)),
        visits["starts"].to_numpy(np.int64),
        visits["ends"].to_numpy(np.int64),
        kind,
        _offsets(of_codes["v"].to_numpy(np.int64), len(visits)),
        of_codes["place"].to_numpy(np.int32),
        _offsets(values.visit, len(visits)),
        values.place,
        values.value.astype(np.float32),
        life["born"].to_numpy(np.int64),
        life["died"].to_numpy(np.int64),
    )
    schema = visit_schema(kinds, ambulatory, coded, measurements)
    ends = np.cumsum([0, *sizes])
    split = {name: everyone.of_patients(np.arange(*ends[i : i + 2])) for i, name in enumerate(parts)}
    return schema, split, {**found, **({"rare kinds of visits": folded} if folded else {}), **mended}


def require_times(store: Store, source: str) -> None:
    """Raise a ``TableError`` if the source dates no visit and no event, so that nothing is known of any order."""
    dated = (
        "SELECT 1 FROM visit_list WHERE started IS NOT NULL LIMIT 1",
        f"SELECT 1 FROM {EVENTS} WHERE time IS NOT NULL AND domain NOT IN ('birth', 'death') LIMIT 1",
    )
    if not any(store.value(query) for query in dated):
        raise TableError(
            f"source={source}: it has no times, so there are no trajectories of it; mimic_iii, mimic_iv, omop, meds,"
            " long tables (source=flat with source.columns.time), demo, demo_visits and diabetes130 with"
            " source.ordered=true have; form=matrix needs none"
        )


def _kept(concepts: Sequence[Concept], codes: set[str], patients: Mapping[int, int], least: float) -> list[int]:
    """Return the places that stay: codes, those of a domain beside each other, and then measurements."""
    domains = list(dict.fromkeys(concept.spec.domain for concept in concepts))
    coded = [i for i, concept in enumerate(concepts) if concept.unit is None and concept.name in codes]
    measured = [i for i, c in enumerate(concepts) if c.unit is not None and patients.get(i, 0) >= least]
    return [*sorted(coded, key=lambda place: domains.index(concepts[place].spec.domain)), *measured]


def _offsets(owners: Integers, n: int) -> Integers:
    """Return where the entries of each of ``n`` owners begin; they are in the order of their owners."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(owners, minlength=n), dtype=np.int64)])
