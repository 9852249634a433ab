"""The tables given to ``evaluate`` are read alike, and their levels survive a CSV file."""

from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.bits import unpack
from ehrsynth.chunks import write_table
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.tables import Reading, Source, Tables, read_schema, read_tables
from ehrsynth.errors import OptionError, TableError
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("grade", "categorical", ("1", "2"), missing=True),
        Column("ward", "categorical", ("01", "02")),
        Column("smoker", "categorical", ("NA", "None", "yes")),
        Column("age", "count", bounds=(0, 1)),
    )
)
GIVEN = Reading(SCHEMA)
PATIENTS = pd.DataFrame(
    {
        "grade": pd.Series(["1", None, "2"], dtype=str),
        "ward": ["01", "02", "02"],
        "smoker": ["None", "yes", "NA"],
        "age": [20, 30, 70],
    }
)


def read(tables: dict[str, pd.DataFrame], folder: Path, suffix: str = ".csv", reading: Reading | None = None) -> Tables:
    reading = reading or Reading()
    sources = {}
    for name, table in tables.items():
        write_table(folder / f"{name}{suffix}", table)
        sources[name] = Source.of(name, folder / f"{name}{suffix}")
    return read_tables(sources, read_schema(sources["train"], reading), reading)


def decoded(tables: Tables, role: str) -> pd.DataFrame:
    return Encoder(tables.schema).decode(tables.records[role])


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_levels_survive_a_file(tmp_path: Path, suffix: str) -> None:
    tables = read({"train": PATIENTS, "holdout": PATIENTS, "synthetic": PATIENTS[::-1]}, tmp_path, suffix, GIVEN)
    assert tables.schema.by_name["age"].bounds == (20, 70)
    pd.testing.assert_frame_equal(decoded(tables, "synthetic"), PATIENTS[::-1].reset_index(drop=True))


def test_an_inferred_schema_reads_all_tables_alike(tmp_path: Path) -> None:
    other = PATIENTS.assign(smoker=["NA", "NA", "NA"])
    tables = read({"train": PATIENTS, "holdout": other, "synthetic": other}, tmp_path)
    smoker = tables.schema.by_name["smoker"]
    assert (smoker.levels, smoker.missing) == (("NA", "None", "yes"), False)
    assert decoded(tables, "synthetic")["smoker"].tolist() == ["NA"] * 3
    again = read({"train": PATIENTS, "holdout": other, "synthetic": other}, tmp_path, reading=Reading(tables.schema))
    assert again.schema == tables.schema


def test_codes_that_are_numbers_in_one_table_only(tmp_path: Path) -> None:
    train = pd.DataFrame({"code": ["250", "V58"]})
    tables = read({"train": train, "holdout": train, "synthetic": pd.DataFrame({"code": [250, 250]})}, tmp_path)
    assert decoded(tables, "synthetic")["code"].tolist() == ["250", "250"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_subjects_are_compared_as_text(tmp_path: Path, suffix: str) -> None:
    train = pd.DataFrame({"subject_id": ["7", "A2"], "age": [1, 2]})
    holdout = pd.DataFrame({"subject_id": [7, 8], "age": [1, 2]})
    with pytest.raises(TableError, match="1 rows belong to subjects"):
        read({"train": train, "holdout": holdout, "synthetic": train}, tmp_path, suffix)


def test_a_subject_under_another_name_and_columns_left_out(tmp_path: Path) -> None:
    train = pd.DataFrame({"mrn": ["7", "8"], "age": [1, 2], "note": ["x", "y"]})
    everyone = {"train": train, "holdout": train.assign(mrn=["9", "8"]), "synthetic": train[["age"]]}
    reading = Reading(subject="mrn", drop=("note",))
    with pytest.raises(TableError, match="1 rows belong to subjects"):
        read(everyone, tmp_path, reading=reading)
    everyone["holdout"] = train.assign(mrn=["9", "10"])
    assert read(everyone, tmp_path, reading=reading).schema.names == ["age"]
    for wrong, words in (
        (Reading(subject="mnr", drop=("note", "mrn")), "subject=mnr: none"),
        (Reading(subject="mrn", drop=("note", "notes")), r"drop=\[notes\]: none"),
        (Reading(SCHEMA, outcomes=("age",)), "outcomes= is for an inferred"),
        (Reading(subject="mrn", drop=("note",), outcomes=("died",)), r"outcomes=\[died\]"),
    ):
        with pytest.raises(OptionError, match=words):
            read(everyone, tmp_path, reading=wrong)
    both = {role: table.assign(subject_id=[1, 2]) for role, table in everyone.items() if role != "synthetic"}
    with pytest.raises(OptionError, match=r"subject=mrn: .*drop=\[subject_id\]"):
        read(everyone | both, tmp_path, reading=reading)


def test_columns_dropped_from_a_given_schema(tmp_path: Path) -> None:
    tables = {"train": PATIENTS, "holdout": PATIENTS, "synthetic": PATIENTS.drop(columns="age")}
    assert "age" not in read(tables, tmp_path, reading=Reading(SCHEMA, drop=("age",))).schema.names


def test_spaces_and_ways_to_write_a_flag(tmp_path: Path) -> None:
    train = pd.DataFrame(
        {"sex": ["F", "M", "M"], "flag": [0, 1, 1], "gap": [0, None, 1], "word": ["TRUE", "false", "true"]}
    )
    spaced = pd.DataFrame(
        {
            " word": ["true ", "False", "0"],
            "gap ": [True, False, None],
            "sex": [" F", "M ", " "],
            "flag": ["true", "0", " 1"],
        }
    )
    for suffix in (".csv", ".parquet"):
        tables = read({"train": train, "holdout": train, "synthetic": spaced}, tmp_path, suffix)
        assert [column.kind for column in tables.schema.columns] == ["categorical", "binary", "categorical", "binary"]
        records = tables.records["synthetic"]
        assert records.layout.names == ["flag", "word", "sex=F", "sex=M", "gap=0", "gap=1", "gap:missing"]
        assert unpack(records.bits).tolist() == [
            [1, 1, 1, 0, 0, 1, 0],
            [0, 0, 0, 1, 1, 0, 0],
            [1, 0, 0, 0, 0, 0, 1],  # an empty cell where the training table has none is no level
        ]


def test_what_the_training_table_lacks_is_kept(tmp_path: Path) -> None:
    train = pd.DataFrame({"ward": ["A", "B", "A"], "age": [20, 30, 40]})
    other = pd.DataFrame({"age": [10, None, 99], "ward": ["C", None, "B"]})
    for suffix in (".csv", ".parquet"):
        tables = read({"train": train, "holdout": other, "synthetic": other}, tmp_path, suffix)
        for role in ("holdout", "synthetic"):
            records = tables.records[role]
            assert unpack(records.bits).tolist() == [[0, 0], [0, 0], [0, 1]]
            assert records.values[[0, 2], 0].tolist() == pytest.approx([-0.5, 3.95])
            assert records.values[1, 0].isnan()
        with pytest.raises(TableError, match=r"synthetic.*'flag', row 1: the cell is empty"):
            read(
                {
                    "train": train.assign(flag=[0, 1, 1]),
                    "holdout": train.assign(flag=[0, 1, 1]),
                    "synthetic": train.assign(flag=[0, None, 1]),
                },
                tmp_path,
                suffix,
            )
