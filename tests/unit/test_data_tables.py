"""The tables given to ``evaluate`` are read alike, and their levels survive a CSV file."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrsynth.bits import unpack
from ehrsynth.chunks import write_table
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.table_files import read_text
from ehrsynth.data.tables import Reading, Source, Tables, read_schema, read_tables
from ehrsynth.errors import OptionError, TableError
from ehrsynth.evaluation.columns import at_decimals
from ehrsynth.metrics.copies import copied, overlap
from ehrsynth.metrics.neighbours import Points
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


def measured(seed: int, n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "lab": rng.normal(37, 1, n).round(1),
            "raw": rng.normal(5000, 1, n),
            "cost": rng.uniform(1e6, 2e6, n).round(2),
            "steps": rng.integers(2**25, 2**27, n),
            "age": rng.integers(20, 90, n),
        }
    )


def in_32_bits(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype(dict.fromkeys(table, np.float32))


def copies(train: pd.DataFrame, holdout: pd.DataFrame, synthetic: pd.DataFrame, folder: Path, suffix: str) -> int:
    tables = read({"train": train, "holdout": holdout, "synthetic": synthetic}, folder, suffix)
    told = {role: at_decimals(tables.schema, records) for role, records in tables.records.items()}
    points = {role: Points(records.bits, records.values) for role, records in told.items()}
    assert overlap(points["train"], points["holdout"]).same == (len(holdout) == 60)
    return copied(points["synthetic"], points["train"])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("narrow", ["synthetic", "holdout", "train", "all", "upcast"])
def test_copies_are_seen_however_wide_their_floats_are(tmp_path: Path, narrow: str, suffix: str) -> None:
    train, holdout = measured(0), pd.concat([measured(0).head(9), measured(1, 50)])
    own = {"train": train, "holdout": train, "synthetic": holdout}
    for role in own:
        if narrow in (role, "all"):
            own[role] = in_32_bits(own[role])
    if narrow == "upcast":
        own["synthetic"] = in_32_bits(holdout).astype(float)
    assert copies(*own.values(), tmp_path, suffix) == 9


def test_what_a_generator_computes_in_32_bits_is_a_copy_at_the_decimals_of_the_column(tmp_path: Path) -> None:
    train, other = measured(0)[["lab", "age"]], measured(1, 50)[["lab", "age"]]
    near = train.head(9).assign(lab=lambda t: np.nextafter(t["lab"].astype(np.float32), np.float32(99)))
    exact = copies(train, other, pd.concat([train.head(9), other]), tmp_path, ".parquet")
    assert copies(train, other, pd.concat([near, other]), tmp_path, ".parquet") == exact >= 9


def test_a_training_table_in_32_bits_has_the_same_schema_and_the_same_cells(tmp_path: Path) -> None:
    wide, narrow = measured(0)[["lab", "age"]], in_32_bits(measured(0)[["lab", "age"]])
    one, other = (
        read(dict.fromkeys(("train", "holdout", "synthetic"), t), tmp_path, ".parquet") for t in (wide, narrow)
    )
    assert one.schema == other.schema
    assert one.schema.by_name["lab"].decimals == 1
    assert [records.digest() for records in one.records.values()] == [r.digest() for r in other.records.values()]


def test_wide_floats_are_encoded_as_they_are(tmp_path: Path) -> None:
    """Only where 32 bits meet more is a column brought to what both hold."""
    train = pd.DataFrame({"raw": np.random.default_rng(0).normal(size=50), "age": [20, 30] * 25})
    rounded = train.round(2)
    tables = read({"train": train, "holdout": train.round(9), "synthetic": rounded}, tmp_path, ".parquet")
    low, high = train["raw"].min(), train["raw"].max()
    for role, table in (("train", train), ("synthetic", rounded)):
        expected = ((table["raw"] - low) / (high - low)).astype(np.float32)
        assert tables.records[role].values[:, 0].tolist() == expected.tolist()


def test_floats_that_were_narrow_once_are_scored_as_the_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    short = pd.DataFrame({"lab": rng.lognormal(2, 1, 50).round(3)})
    tables = {"train": short, "holdout": short[::-1], "synthetic": short[:20]}
    upcast = tables | {"synthetic": short[:20].astype(np.float32).astype(float)}
    found = [read(some, tmp_path) for some in (tables, upcast)]
    assert found[0].records["synthetic"].values.tolist() == found[1].records["synthetic"].values.tolist()
    assert found[0].schema == found[1].schema


@pytest.mark.parametrize("levels", [["mrn"], ["mrn", "ward"]])
def test_an_index_with_a_name_is_columns_again(tmp_path: Path, levels: list[str]) -> None:
    train = pd.DataFrame({"mrn": range(9), "ward": list("ABC") * 3, "age": range(20, 29)})
    for role in ("train", "holdout"):
        train.set_index(levels).to_parquet(tmp_path / f"{role}.parquet")
    sources = {role: Source.of(role, tmp_path / f"{role}.parquet") for role in ("train", "holdout")}
    reading = Reading(subject="mrn")
    schema = read_schema(sources["train"], reading)
    assert schema.names == ["ward", "age"]
    with pytest.raises(TableError, match="9 rows belong to subjects"):
        read_tables(sources, schema, reading)
    assert read_schema(Source.of("train", train.set_index(levels)), reading) == schema
    train.sample(frac=1, random_state=0).to_parquet(tmp_path / "shuffled.parquet")  # an index without a name
    assert list(read_text(tmp_path / "shuffled.parquet")) == ["mrn", "ward", "age"]


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ([Decimal("1.50"), Decimal("2.25"), None], ("continuous", (1.5, 2.25))),
        (["1.5", "2.25", None], ("continuous", (1.5, 2.25))),
        (["1", "2", "3"], ("count", (1, 3))),
        (pd.Series([1, 2, None], dtype="Int64"), ("count", (1, 2))),
        (pd.Series([1, 2, 9], dtype="uint64"), ("count", (1, 9))),
        (pd.Series(["1", "2", "9"], dtype="category"), ("categorical", None)),
        (pd.Series(["True", "False", "True"], dtype="category"), ("binary", None)),
        (pd.Series([True, False, True], dtype="boolean"), ("binary", None)),
        (pd.Series(["01", "02", "03"]), ("categorical", None)),
        (pd.Series([1, 2, 9], dtype="int64[pyarrow]"), ("count", (1, 9))),
        (pd.Series([37.4, 38.1, None], dtype="float[pyarrow]"), ("continuous", (37.4, 38.1))),
        (pd.Series([True, False, None], dtype="bool[pyarrow]"), ("categorical", None)),
    ],
)
def test_cells_of_parquet_are_what_those_of_a_csv_are(tmp_path: Path, cells: list[object], found: object) -> None:
    table = pd.DataFrame({"x": cells, "y": [0, 1, 1]})
    for source in (table, tmp_path / "t.parquet"):
        table.to_parquet(tmp_path / "t.parquet")
        sources = dict.fromkeys(("train", "holdout", "synthetic"), Source.of("t", source))
        column = read_tables(sources, read_schema(sources["train"], Reading()), Reading()).schema.by_name["x"]
        assert (column.kind, column.bounds) == found


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([[1, 2], [3], [4]], r"lists, structures or bytes.*drop=\[x\]"),
        ([{"a": 1}] * 3, "lists, structures or bytes"),
        ([b"1", b"2", b"2"], "lists, structures or bytes"),
        (pd.date_range("2020", periods=3, tz="Europe/Berlin"), "dates or times"),
        ([date(2020, 1, 31)] * 3, "dates or times"),
        ([None] * 3, "empty in all 3 rows"),
    ],
)
def test_cells_that_no_metric_can_judge(tmp_path: Path, cells: list[object], words: str) -> None:
    pd.DataFrame({"x": cells, "y": [0, 1, 1]}).to_parquet(tmp_path / "t.parquet")
    source = Source.of("t", tmp_path / "t.parquet")
    with pytest.raises(TableError, match=words) as raised:
        read_schema(source, Reading())
    assert "\n" not in str(raised.value)
    assert read_schema(source, Reading(drop=("x",))).names == ["y"]


def test_true_and_false_in_the_words_of_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text('{"version": 1, "columns": [{"name": "x", "kind": "categorical", "levels": [false, true]}]}')
    schema = Schema.load(path)
    assert schema.by_name["x"].levels == ("False", "True")
    tables = {
        "train": pd.DataFrame({"x": ["True", "False"]}),
        "holdout": pd.DataFrame({"x": ["TRUE", "FALSE"]}),
        "synthetic": pd.DataFrame({"x": ["false", "true"]}),
    }
    found = read(tables, tmp_path, reading=Reading(schema))
    assert decoded(found, "holdout")["x"].tolist() == ["True", "False"]
    assert decoded(found, "synthetic")["x"].tolist() == ["False", "True"]
