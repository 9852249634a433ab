"""Patients some at a time against all of them at once."""

from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data.encoding import Encoder
from ehrsynth.models.visits.markov import Markov
from ehrsynth.sampling.patients import Patients, drawn_patients
from ehrsynth.study.patients_out import FORMATS, write_patients
from ehrsynth.visits import Visits
from tests.visits import SCHEMA, simulated, visit_schema

MADE = visit_schema(12)


@pytest.fixture(scope="module")
def model() -> Markov:
    fitted = Markov(schema=SCHEMA, visit_schema=MADE, seed=0)
    fitted.observe(*simulated(200, 0, 12))
    fitted.sample_batch = 16
    return fitted.eval()


def same(one: Patients, other: Patients) -> None:
    for name in Visits.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one.visits, name), getattr(other.visits, name))
    np.testing.assert_array_equal(one.static.dense(), other.static.dense())


@pytest.mark.parametrize("size", [1, 7, 16, 50, 200])
def test_pools_are_the_same_patients_whatever_their_size(model: Markov, size: int) -> None:
    whole = Patients.joined(drawn_patients(model, 50, 3))
    pools = list(Patients.pooled(drawn_patients(model, 50, 3), repeat(size)))
    assert [len(pool.visits) for pool in pools] == [min(size, 50 - start) for start in range(0, 50, size)]
    same(Patients.joined(pools), whole)


def test_pools_are_drawn_when_they_are_asked_for(model: Markov) -> None:
    done: list[int] = []
    pools = Patients.pooled(drawn_patients(model, 64, 3, progress=done.append), [20, 20, 24])
    next(pools)
    assert done == [16, 32]
    assert [len(pool.visits) for pool in pools] == [20, 24]


@pytest.mark.parametrize("form", list(FORMATS))
def test_what_is_written_in_portions_is_what_is_written_at_once(model: Markov, tmp_path: Path, form: str) -> None:
    decode = Encoder(SCHEMA).decode
    for name, size in (("one", 50), ("several", 11)):
        pools = Patients.pooled(drawn_patients(model, 50, 3), repeat(size))
        portions = ((pool.visits, decode(pool.static)) for pool in pools)
        write_patients(form, portions, MADE, tmp_path / name, keeps_rows=False)
    if form == "fhir":
        for file in (tmp_path / "one").iterdir():
            lines = [(tmp_path / name / file.name).read_text().splitlines() for name in ("one", "several")]
            if file.name == "Observation.ndjson":  # what is said once comes portion by portion, and is numbered so
                lines = [sorted(line.partition(', "meta"')[2] for line in each) for each in lines]
            assert lines[0] == lines[1]
        return
    folder = "data" if form == "meds" else "."
    for file in {each.stem for each in (tmp_path / "one" / folder).iterdir()}:
        names = ("*.parquet", "*.parquet") if form == "meds" else (f"{file}.parquet",) * 2
        tables = [
            pd.concat([pd.read_parquet(each) for each in sorted((tmp_path / name / folder).glob(pattern))])
            for name, pattern in zip(("one", "several"), names, strict=True)
        ]
        if file == "observation":
            by = ["person_id", "observation_source_value"]
            tables = [table.drop(columns="observation_id").sort_values(by) for table in tables]
        one, several = (table.reset_index(drop=True) for table in tables)
        pd.testing.assert_frame_equal(one, several)
