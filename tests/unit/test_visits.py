"""Ragged visits against lists of lists."""

import dataclasses

import numpy as np
import pytest

from ehrsynth.errors import SchemaError, TableError
from ehrsynth.visits import DAY, UNKNOWN, Code, Measurement, Visits, VisitSchema, ragged

SCHEMA = VisitSchema(
    kinds=("ward", "clinic"),
    codes=(Code("dx_a", "diagnosis"), Code("dx_b", "diagnosis"), Code("rx_c", "medication")),
    measurements=(Measurement("glucose", "lab", "mg/dL", (20.0, 900.0), 0),),
)


def three() -> Visits:
    """A patient of two visits, one of none, one of one."""
    code_offsets, codes = ragged([[0, 2], [], [1]])
    value_offsets, measured = ragged([[], [0], [0]])
    return Visits(
        offsets=np.array([0, 2, 2, 3]),
        starts=np.array([0, 30, 5]) * DAY,
        ends=np.array([DAY, UNKNOWN, 6 * DAY]),
        kinds=np.array([0, 1, 0], np.int16),
        code_offsets=code_offsets,
        codes=codes,
        value_offsets=value_offsets,
        measured=measured,
        values=np.array([100.0, 140.0], np.float32),
        born=np.array([UNKNOWN, 0, 1]),
        died=np.array([UNKNOWN, UNKNOWN, 7 * DAY]),
    )


def as_lists(visits: Visits) -> list[list[tuple]]:
    """The same, written out."""
    told = []
    for i in range(len(visits)):
        mine = []
        for v in range(visits.offsets[i], visits.offsets[i + 1]):
            codes = visits.codes[visits.code_offsets[v] : visits.code_offsets[v + 1]]
            values = slice(visits.value_offsets[v], visits.value_offsets[v + 1])
            numbers = dict(zip(visits.measured[values].tolist(), visits.values[values].tolist(), strict=True))
            mine.append((int(visits.starts[v]), int(visits.ends[v]), int(visits.kinds[v]), codes.tolist(), numbers))
        told.append(mine)
    return told


def test_what_is_counted() -> None:
    visits = three()
    visits.check(SCHEMA, "here")
    assert (len(visits), visits.count) == (3, 3)
    assert visits.per_patient.tolist() == [2, 0, 1]
    assert visits.codes_per_visit.tolist() == [2, 0, 1]
    assert visits.patient.tolist() == [0, 0, 2]
    assert visits.number.tolist() == [0, 1, 0]
    assert visits.visit_of_code.tolist() == [0, 0, 2]
    assert visits.visit_of_value.tolist() == [1, 2]
    np.testing.assert_array_equal(visits.gaps, [np.nan, 30.0, np.nan])


@pytest.mark.parametrize("rows", [[2, 0], [1], [0, 0, 1, 2], []])
def test_some_patients(rows: list[int]) -> None:
    visits = three()
    some = visits.of_patients(np.array(rows, np.int64))
    some.check(SCHEMA, "here")
    assert as_lists(some) == [as_lists(visits)[row] for row in rows]
    assert some.died.tolist() == [visits.died[row] for row in rows]


def test_moved_visits_keep_their_dates() -> None:
    moved = three().with_visits_moved(np.array([1, 0, 2]))
    first, second = as_lists(moved)[0]
    assert first == (0, DAY, 1, [], {0: 100.0})
    assert second == (30 * DAY, UNKNOWN, 0, [0, 2], {})


def test_joined() -> None:
    visits = three()
    both = Visits.joined([visits, visits.of_patients(np.array([2]))])
    both.check(SCHEMA, "here")
    assert as_lists(both) == [*as_lists(visits), as_lists(visits)[2]]
    assert both.offsets.dtype == np.int64
    assert both.codes.dtype == np.int32


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"offsets": np.array([0, 2, 3])}, "born has 3 entries; 2"),
        ({"offsets": np.array([0, 2, 1, 3])}, "offsets must rise from 0 to 3"),
        ({"code_offsets": np.array([0, 2, 2, 2])}, "code_offsets must rise from 0 to 3"),
        ({"starts": np.array([30, 0, 5]) * DAY}, "order of time"),
        ({"starts": np.array([UNKNOWN, 0, 5])}, "without a start"),
        ({"ends": np.array([0, 0])}, "ends has 2 entries; 3"),
        ({"kinds": np.array([0, 2, 0], np.int16)}, "kinds must be places among the 2"),
        ({"codes": np.array([2, 0, 1], np.int32)}, "codes must rise within a visit"),
        ({"codes": np.array([0, 0, 1], np.int32)}, "codes must rise within a visit"),
        ({"codes": np.array([0, 3, 1], np.int32)}, "codes must be places among the 3"),
        ({"values": np.array([1.0, np.nan], np.float32)}, "not finite"),
    ],
)
def test_what_does_not_fit(change: dict, said: str) -> None:
    with pytest.raises(TableError, match=f"^here: .*{said}"):
        dataclasses.replace(three(), **change).check(SCHEMA, "here")


def test_domains() -> None:
    assert SCHEMA.domains == {"diagnosis": slice(0, 2), "medication": slice(2, 3)}
    mixed = dataclasses.replace(SCHEMA, codes=(SCHEMA.codes[0], SCHEMA.codes[2], SCHEMA.codes[1]))
    with pytest.raises(SchemaError, match="mixes the codes"):
        _ = mixed.domains
    with pytest.raises(SchemaError, match="a code twice"):
        VisitSchema(("ward",), (SCHEMA.codes[0], SCHEMA.codes[0]))
