"""The tables given to ``evaluate`` are read alike, and their levels survive a CSV file."""

from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.cli.evaluate import check_subjects, read_tables
from ehrsynth.data.encoding import Encoder
from ehrsynth.errors import TableError
from ehrsynth.files import write_table
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("grade", "categorical", ("1", "2"), missing=True),
        Column("ward", "categorical", ("01", "02")),
        Column("smoker", "categorical", ("NA", "None", "yes")),
        Column("age", "count", bounds=(0, 1)),
    )
)
PATIENTS = pd.DataFrame(
    {
        "grade": pd.Series(["1", None, "2"], dtype=str),
        "ward": ["01", "02", "02"],
        "smoker": ["None", "yes", "NA"],
        "age": [20, 30, 70],
    }
)


def written(folder: Path, suffix: str, **tables: pd.DataFrame) -> dict[str, Path]:
    files = {name: folder / f"{name}{suffix}" for name in tables}
    for name, table in tables.items():
        write_table(files[name], table)
    return files


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_levels_survive_a_file(tmp_path: Path, suffix: str) -> None:
    SCHEMA.save(tmp_path / "schema.json")
    files = written(tmp_path, suffix, train=PATIENTS, holdout=PATIENTS, synthetic=PATIENTS[::-1])
    schema, frames = read_tables(files, tmp_path / "schema.json")
    assert schema.by_name["age"].bounds == (20, 70)
    encoder = Encoder(schema)
    decoded = encoder.decode(encoder.encode(schema.validate(frames["synthetic"], "synthetic")))
    pd.testing.assert_frame_equal(decoded, PATIENTS[::-1].reset_index(drop=True))


def test_an_inferred_schema_reads_all_tables_alike(tmp_path: Path) -> None:
    other = PATIENTS.assign(smoker=["NA", "NA", "NA"])
    files = written(tmp_path, ".csv", train=PATIENTS, holdout=other, synthetic=other)
    schema, frames = read_tables(files, None)
    smoker = schema.by_name["smoker"]
    assert (smoker.levels, smoker.missing) == (("NA", "None", "yes"), False)
    for name, frame in frames.items():
        schema.validate(frame, name)
    schema.save(tmp_path / "schema.json")
    assert read_tables(files, tmp_path / "schema.json")[0] == schema


def test_codes_that_are_numbers_in_one_table_only(tmp_path: Path) -> None:
    train = pd.DataFrame({"code": ["250", "V58"]})
    files = written(tmp_path, ".csv", train=train, holdout=train, synthetic=pd.DataFrame({"code": [250, 250]}))
    schema, frames = read_tables(files, None)
    assert schema.validate(frames["synthetic"], "synthetic")["code"].tolist() == ["250", "250"]


def test_subjects_are_compared_as_text(tmp_path: Path) -> None:
    train = pd.DataFrame({"subject_id": ["7", "A2"], "age": [1, 2]})
    holdout = pd.DataFrame({"subject_id": [7, 8], "age": [1, 2]})
    for suffix in (".csv", ".parquet"):
        files = written(tmp_path, ".csv", train=train, synthetic=train) | written(tmp_path, suffix, holdout=holdout)
        with pytest.raises(TableError, match="1 rows belong to subjects"):
            check_subjects(read_tables(files, None)[1], files)
