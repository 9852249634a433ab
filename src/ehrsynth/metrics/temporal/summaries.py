"""One row of numbers for each record of visits, from which a classifier may tell synthetic from real ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehrsynth.metrics.temporal.content import first_seen, has_next, repeated
from ehrsynth.visits import DAY, UNKNOWN, Integers, Visits, VisitSchema


def summaries(visits: Visits, schema: VisitSchema, codes: Integers) -> tuple[list[str], NDArray[np.float32]]:
    """Return the names of F features, and their values [n, F]; NaN where a record has nothing to say.

    Numbers of visits, codes and gaps; shares of codes carried from visit to visit; kinds; for each of ``codes`` how
    often it occurs and whether at the first and at the last visit; the mean and the last minus the first of each
    measurement.
    """
    width, n = len(schema.codes), len(visits)
    patient, of_code = visits.patient, visits.patient[visits.visit_of_code]
    gaps, later = np.log1p(visits.gaps), visits.number > 0
    first, last = ~later, ~has_next(visits)
    again, fresh = repeated(visits, width), first_seen(visits, width)
    later_code = later[visits.visit_of_code]

    def total(values: NDArray[Any], where: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        owner = patient if where is None else patient[where]
        return np.bincount(owner, values if where is None else values[where], minlength=n).astype(np.float64)

    def ratio(top: NDArray[Any], bottom: NDArray[Any]) -> NDArray[np.float64]:
        return np.where(bottom > 0, top / np.maximum(bottom, 1), np.nan)

    gap_count, code_count = total(later), total(visits.codes_per_visit)
    visit_count = visits.per_patient.astype(float)
    mean_gap, mean_codes = ratio(total(gaps, later), gap_count), ratio(code_count, visit_count)
    smallest, largest = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(smallest, patient[later], gaps[later])
    np.maximum.at(largest, patient[later], gaps[later])
    born = visits.born
    begin = visits.starts[np.minimum(visits.offsets[:-1], max(visits.count - 1, 0))] if visits.count else born
    dated = (born != UNKNOWN) & (visits.per_patient > 0)
    columns = {
        "number of visits": visit_count,
        "years of age at the first visit": np.where(dated, (begin - np.where(dated, born, 0)) / (365.25 * DAY), np.nan),
        "log days from first to last visit": np.log1p(total(visits.gaps, later)),
        "mean log gap": mean_gap,
        "spread of log gaps": np.sqrt(ratio(total((gaps - mean_gap[patient]) ** 2, later), gap_count)),
        "smallest log gap": np.where(np.isfinite(smallest), smallest, np.nan),
        "largest log gap": np.where(np.isfinite(largest), largest, np.nan),
        "codes per visit": mean_codes,
        "spread of codes per visit": np.sqrt(
            ratio(total((visits.codes_per_visit - mean_codes[patient]) ** 2), visit_count)
        ),
        "codes of the first visit": total(visits.codes_per_visit, first),
        "codes of the last visit": total(visits.codes_per_visit, last),
        "share of codes the visit before had": ratio(_count(of_code, again, n), _count(of_code, later_code, n)),
        "share of codes no visit before had": ratio(
            _count(of_code, fresh & later_code, n), _count(of_code, later_code, n)
        ),
    }
    for i, kind in enumerate(schema.kinds):
        columns[f"visits: {kind}"] = total(visits.kinds == i)
    for code in codes.tolist():
        here, name = visits.codes == code, schema.codes[code].name
        columns[f"times: {name}"] = _count(of_code, here, n)
        columns[f"at the first visit: {name}"] = _count(of_code, here & first[visits.visit_of_code], n)
        columns[f"at the last visit: {name}"] = _count(of_code, here & last[visits.visit_of_code], n)
    for i, measurement in enumerate(schema.measurements):
        here = visits.measured == i
        owner, values = patient[visits.visit_of_value[here]], visits.values[here].astype(np.float64)
        count = np.bincount(owner, minlength=n)
        columns[f"mean of {measurement.name}"] = ratio(np.bincount(owner, values, minlength=n), count)
        change = np.full(n, np.nan)
        known, begins = np.unique(owner, return_index=True)
        ends = np.append(begins, len(owner))[1:] - 1
        change[known] = values[ends] - values[begins]
        columns[f"change of {measurement.name}"] = np.where(count > 1, change, np.nan)
    return list(columns), np.column_stack(list(columns.values())).astype(np.float32)


def _count(owner: Integers, where: NDArray[np.bool_], n: int) -> NDArray[np.float64]:
    return np.bincount(owner[where], minlength=n).astype(np.float64)
