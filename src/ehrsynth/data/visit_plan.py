"""From tables of visits to arrays: what is common, plausible and bounded is learned from training patients alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.data.cleaning import OTHER, Counts, Relation
from ehrsynth.data.encoding import fit_numbers
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.visit_tables import OUTPATIENT, Concept
from ehrsynth.disclosure import LEAST, shared_bounds
from ehrsynth.schema import Column
from ehrsynth.visits import Code, Measurement, VisitSchema

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Values:
    """Measured values of visits, in the order of visits and places.

    Attributes:
        visit: of each value.
        place: of its measurement.
        value: float64.
    """

    visit: Integers
    place: NDArray[np.int32]
    value: NDArray[np.float64]

    def only(self, kept: NDArray[np.bool_]) -> "Values":
        """Return some of them."""
        return Values(self.visit[kept], self.place[kept], self.value[kept])


def fold_kinds(visits: pd.DataFrame, least: int) -> tuple[tuple[str, ...], tuple[str, ...], NDArray[np.int16], int]:
    """Return the kinds of visits, those that are ambulatory, the place of each visit's, and how many were folded.

    Kinds of fewer than ``least`` training patients become ``other``, or ``outpatient`` if they are ambulatory.

    Args:
        visits: ``part, patient, kind, ambulatory``; part 0 is for training.
        least: training patients that must have a kind.
    """
    clinics = visits["ambulatory"].to_numpy(bool)
    names = visits["kind"].to_numpy(object)
    taken = {*names[clinics], OUTPATIENT}
    names = np.where(~clinics & np.isin(names, list(taken)), names + " (stay)", names)
    training = visits["part"].to_numpy() == 0
    seen = pd.DataFrame({"kind": names, "patient": visits["patient"].to_numpy()})[training].drop_duplicates()
    common = set(seen["kind"].value_counts().loc[lambda n: n >= least].index)
    rare = ~np.isin(names, list(common))
    folded = np.where(rare, np.where(clinics, OUTPATIENT, OTHER), names)
    stays = tuple(sorted(set(folded[~clinics]), key=lambda kind: (kind == OTHER, kind)))
    ambulatory = tuple(sorted(set(folded[clinics])))
    kinds = (*stays, *ambulatory)
    places = pd.Series(range(len(kinds)), index=list(kinds), dtype=np.int16)
    lost = set(names[rare]) - {OUTPATIENT, OTHER}
    return kinds, ambulatory, np.asarray(places[folded], np.int16), len(lost)


def clean_values(
    values: Values,
    patient: Integers,
    training: int,
    concepts: Sequence[Concept],
    preprocess: Preprocess,
) -> tuple[tuple[Measurement, ...], Values, Counts]:
    """Learn the bounds of measurements from training patients, and bring all values within them.

    Bounds are of patients, not of values, so that a patient who is measured a hundred times counts once: the tenth
    smallest of the patients' smallest values, the tenth largest of their largest. Measurements that too few training
    patients have are left out.

    Args:
        values: of all patients.
        patient: of each visit; the first ones are for training.
        training: how many.
        concepts: the measurements, in their order.
        preprocess: its ``outliers``, ``bounds``, ``relations`` and what is rare.

    Returns:
        The measurements, the values that stay, and counts of what was found.
    """
    found, measurements = dict[str, int](), list[Measurement]()
    kept = np.ones(len(values.value), bool)
    value, who, numbers = values.value.copy(), patient[values.visit], values.place.copy()
    order = np.argsort(values.place, kind="stable")
    ends = np.searchsorted(values.place[order], np.arange(len(concepts) + 1))
    for place, concept in enumerate(concepts):
        mine = order[ends[place] : ends[place + 1]]
        cells = value[mine].round() if concept.spec.kind == "count" else value[mine]
        if concept.spec.plausible is not None and preprocess.outliers != "keep":
            low, high = concept.spec.plausible
            outside = (cells < low) | (cells > high)
            found[f"{concept.name}: implausible"] = int(outside.sum())
            if preprocess.outliers == "clip":
                cells = cells.clip(low, high)
            else:  # a record would go in a matrix; here the value does
                kept[mine] = ~outside
        taught = kept[mine] & (who[mine] < training)
        if len(np.unique(who[mine][taught])) < least_patients(preprocess, training):
            kept[mine] = False
            continue
        measurement = _fitted(concept, cells[taught], who[mine][taught], preprocess)
        low, high = measurement.bounds
        found[f"{concept.name}: beyond its bounds"] = int(((cells < low) | (cells > high))[kept[mine]].sum())
        value[mine], numbers[mine] = cells.clip(low, high), len(measurements)
        measurements.append(measurement)
    found["measurements of too few training patients"] = len(concepts) - len(measurements)
    cleaned = Values(values.visit, numbers, value).only(kept)
    cleaned, broken = in_order(cleaned, [measurement.name for measurement in measurements], preprocess.relations)
    return tuple(measurements), cleaned, {what: n for what, n in {**found, **broken}.items() if n}


def least_patients(preprocess: Preprocess, training: int) -> float:
    """Return how many of the training patients must have a code or a measurement."""
    return max(preprocess.min_count, preprocess.min_prevalence * training, 1)


def in_order(values: Values, names: Sequence[str], relations: Sequence[str]) -> tuple[Values, Counts]:
    """Return the values that stay, and how often each relation was broken: of such a visit both numbers go.

    Args:
        values: of measurements.
        names: of these.
        relations: such as ``diastolic < systolic``; those between other columns are passed over.
    """
    kept, found = np.ones(len(values.value), bool), dict[str, int]()
    for relation in map(Relation.read, relations):
        if {relation.one, relation.other} <= set(names):
            one, other = (np.flatnonzero(values.place == names.index(name)) for name in (relation.one, relation.other))
            _, first, second = np.intersect1d(values.visit[one], values.visit[other], return_indices=True)
            one, other = one[first], other[second]
            broken = ~relation.kept_by(values.value[one], values.value[other])
            kept[one[broken]] = kept[other[broken]] = False
            found[str(relation)] = int(broken.sum())
    return values.only(kept), found


def visit_schema(
    kinds: tuple[str, ...], ambulatory: tuple[str, ...], codes: Sequence[Concept], measurements: tuple[Measurement, ...]
) -> VisitSchema:
    """Return the schema of visits with these kinds, codes and measurements."""
    named = tuple(Code(code.name, code.spec.domain, code.spec.label) for code in codes)
    return VisitSchema(kinds, named, measurements, ambulatory)


def _fitted(concept: Concept, numbers: NDArray[np.float64], who: Integers, preprocess: Preprocess) -> Measurement:
    """Return the measurement with the bounds and decimals of training patients; ``who`` is ascending."""
    column = Column(concept.name, "continuous", bounds=(0.0, 0.0), domain=concept.spec.domain)
    if preprocess.bounds == "exact":
        column = fit_numbers(column, pd.Series(numbers))
    else:
        firsts = np.flatnonzero(np.diff(who, prepend=-1))
        smallest, largest = (
            pd.Series(extreme.reduceat(numbers, firsts)).value_counts().sort_index()
            for extreme in (np.minimum, np.maximum)
        )
        low, high = shared_bounds(smallest)[0], shared_bounds(largest)[1]
        if concept.spec.plausible is not None and preprocess.outliers != "keep":
            least, most = concept.spec.plausible
            if len(firsts) < 2 * LEAST and np.isfinite(most - least):
                low, high = least, most
            low, high = max(low, least), min(high, most)
        within = pd.Series(numbers[(numbers >= low) & (numbers <= high)])
        column = replace(fit_numbers(column, within), bounds=(low, high))
    assert column.bounds is not None
    assert column.decimals is not None
    label = concept.spec.label
    return Measurement(concept.name, concept.spec.domain, concept.unit or "", column.bounds, column.decimals, label)
