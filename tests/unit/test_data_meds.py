"""MEDS datasets as events, by hand, and what can be wrong with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrsynth.data.events import EVENTS, GIVEN, LABELS, make_timeline
from ehrsynth.data.sources.meds import Meds
from ehrsynth.data.sources.meds.patterns import meanings, patterns_of
from ehrsynth.data.store import Store
from ehrsynth.errors import FileError, InputError, OptionError, TableError

pytest.importorskip("meds")

TYPES = {
    "subject_id": pa.int64(),
    "time": pa.timestamp("us"),
    "code": pa.string(),
    "numeric_value": pa.float32(),
    "text_value": pa.large_string(),
}
Row = tuple[Any, ...]


def at(day: int, hour: int = 0) -> pd.Timestamp:
    return pd.Timestamp(2020, 1, day, hour)


ROWS: list[Row] = [
    (1, None, "GENDER//F", None, None),
    (1, pd.Timestamp(1950, 1, 1), "MEDS_BIRTH", None, None),
    (1, at(1, 8), "HOSPITAL_ADMISSION//EW EMER.//EMERGENCY ROOM", None, None),
    (1, at(2), "LAB//50931//mg/dL", 27.3, None),
    (1, at(2), "Blood Pressure", None, "120/80"),
    (1, at(2), "BMI (kg/m2)", None, "31.2"),
    (1, at(3, 9), "HOSPITAL_DISCHARGE//HOME", None, None),
    (1, at(3, 9), "DIAGNOSIS//ICD//9//4019", None, None),
    (1, at(3, 9), "PROCEDURE//ICD//10//0DTJ4ZZ", None, None),
    (1, at(3, 9), "HOSPITAL_ADMISSION//URGENT", None, None),
    (1, at(5), "MEDICATION//START//Aspirin//Administered", None, None),
    (1, at(9, 9), "HOSPITAL_DISCHARGE//DIED", None, None),
    (1, at(9, 9), "MEDS_DEATH", None, None),
    (1, at(9, 10), "HOSPITAL_DISCHARGE//DIED", None, None),
    (2, at(1), "HOSPITAL_ADMISSION", None, None),
    (2, at(4), "HOSPITAL_DISCHARGE", None, None),
    (2, at(4), "MEDS_DEATH", None, None),
    (2, at(4), "ICD10CM/I10", None, None),
    (2, at(4), "STRANGE//CODE", 1.0, None),
]


def write(
    root: Path, rows: Sequence[Row] = ROWS, *, shards: int = 2, types: dict[str, pa.DataType] | None = None
) -> Path:
    """Write shards, at several depths."""
    kinds = types or TYPES
    frame = pd.DataFrame(rows, columns=list(kinds))
    for number in range(shards):
        path = root / "data" / "/".join(["deep"] * number) / f"{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = frame[frame["subject_id"] % shards == number]
        pq.write_table(pa.Table.from_pandas(part, schema=pa.schema(kinds), preserve_index=False), path)
    return root


def rows(source: Meds, domain: str, *columns: str) -> list[Row]:
    with Store(threads=1) as store:
        source.read(store)
        found = store.frame(f"SELECT * FROM {EVENTS} WHERE domain = '{domain}' ORDER BY ALL").astype(object)
    return list(found.where(found.notna(), None)[list(columns)].itertuples(index=False, name=None))


@pytest.fixture
def source(tmp_path: Path) -> Meds:
    return Meds(root=write(tmp_path / "dataset"))


def test_codes_become_events(source: Meds) -> None:
    assert rows(source, "sex", "subject_id", "time", "code") == [(1, None, "F")]
    assert rows(source, "diagnosis", "subject_id", "vocabulary", "code") == [
        (1, "ICD9CM", "4019"),
        (2, "ICD10CM", "I10"),
    ]
    assert rows(source, "procedure", "time", "vocabulary", "code") == [(at(3, 9), "ICD10PCS", "0DTJ4ZZ")]
    assert rows(source, "medication", "time", "code") == [(at(5), "Aspirin")]
    assert rows(source, "lab", "code", "numeric_value", "unit") == [("50931", 27.3, "mg/dL")]  # not 27.299999
    assert rows(source, "vital", "code", "numeric_value") == [
        ("BMI (kg/m2)", 31.2),
        ("Blood Pressure, diastolic", 80),
        ("Blood Pressure, systolic", 120),
    ]
    assert ("STRANGE//CODE", 1.0) in rows(source, "other", "code", "numeric_value")


def test_stays_are_paired(source: Meds) -> None:
    with Store(threads=1) as store:
        source.read(store)
        make_timeline(store)
        stays = store.frame("SELECT subject_id, stay_id, admitted, discharged, died FROM stays ORDER BY ALL")
        people = store.frame("SELECT subject_id, sex, birth, death FROM people ORDER BY ALL")
    assert list(stays.itertuples(index=False, name=None)) == [
        (1, 1, at(1, 8), at(3, 9), False),
        (1, 2, at(3, 9), at(9, 9), True),
        (2, 1, at(1), at(4), True),  # no word where to, and died that day
    ]
    assert people["death"].tolist() == [at(9, 9), at(4)]
    assert [code for (code,) in rows(source, "other", "code")] == ["DIED", "STRANGE//CODE"]  # one discharge too many


@pytest.mark.parametrize(
    ("kind", "ids"), [(pa.int64(), [7, 8, 9]), (pa.float64(), [7.0, 8.0, 9.0]), (pa.string(), ["a", "b", "c"])]
)
def test_stays_of_a_column(tmp_path: Path, kind: pa.DataType, ids: list[object]) -> None:
    moments = [(1, at(1), at(3), ids[0]), (1, at(2), at(8), ids[1]), (2, at(1), at(2), ids[2])]
    told = [
        (subject, time, code, None, None, stay, "WHITE", "")
        for subject, start, end, stay in moments
        for time, code in ((start, "HOSPITAL_ADMISSION//URGENT"), (end, "HOSPITAL_DISCHARGE//HOME"))
    ]
    types = {**TYPES, "hadm_id": kind, "race": pa.string(), "insurance": pa.string()}
    source = Meds(root=write(tmp_path, told, types=types))
    with Store(threads=1) as store:
        source.read(store)
        make_timeline(store)
        stays = store.frame("SELECT * FROM stays ORDER BY subject_id, admitted")
    assert stays[["subject_id", "admitted", "discharged"]].values.tolist() == [list(row[:3]) for row in moments]
    if not isinstance(ids[0], str):
        assert stays["stay_id"].tolist() == [7, 8, 9]
    assert sorted(rows(source, "race", "subject_id", "time", "code")) == [
        (1, at(1), "WHITE"),
        (1, at(2), "WHITE"),
        (2, at(1), "WHITE"),
    ]
    assert rows(source, "insurance", "code") == []  # empty


def test_patterns_of_the_user(tmp_path: Path) -> None:
    own = {
        "strange": {"match": r"STRANGE//(.+)", "domain": "medication", "vocabulary": "RxNorm", "code": r"\1"},
        "lab": None,
    }
    source = Meds(root=write(tmp_path), patterns=own)
    assert ("RxNorm", "CODE") in rows(source, "medication", "vocabulary", "code")
    assert rows(source, "lab", "code") == []
    assert ("LAB//50931//mg/dL",) in rows(source, "other", "code")
    assert source.options()["patterns"]["lab"] is None
    assert source.options()["patterns"]["strange"]["domain"] == "medication"


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("MEDS_BIRTH", ("birth", None, None, None)),
        ("SEX//female", ("sex", None, "F", None)),
        ("RACE//BLACK/AFRICAN AMERICAN", ("race", None, "BLACK/AFRICAN AMERICAN", None)),
        ("ICU_ADMISSION//MICU", ("icu_admission", None, "MICU", None)),
        ("DIAGNOSIS//ICD//10//I10", ("diagnosis", "ICD10CM", "I10", None)),
        ("DIAGNOSIS//ICD//11//BA00", ("other", None, "DIAGNOSIS//ICD//11//BA00", None)),
        ("ICD9Proc/47.0", ("procedure", "ICD9PCS", "47.0", None)),
        ("MEDICATION//STOP//Aspirin", ("medication_stop", None, "Aspirin", None)),
        ("LAB//Glucose", ("lab", None, "Glucose", None)),
        ("LAB//Glucose//mmol/L//x", ("lab", None, "Glucose", "mmol/L")),
    ],
)
def test_what_codes_mean(raw: str, wanted: tuple[str | None, ...]) -> None:
    found = meanings([raw], patterns_of(None)).iloc[0]
    assert tuple(found[["domain", "vocabulary", "code", "unit"]]) == wanted


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ({"match": "("}, r"source\.patterns\.mine: "),
        ({"match": "a(", "domain": "lab"}, r"source\.patterns\.mine: .*regular expression"),
        ({"match": "a", "domain": "lab", "halves": ["one"]}, r"source\.patterns\.mine\.halves"),
        ({"match": "a", "domain": "lab", "code": r"\1"}, r"source\.patterns\.mine: .*fewer groups"),
    ],
)
def test_patterns_that_are_none(pattern: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        meanings(["a"], patterns_of({"mine": pattern}))


def test_metadata(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "metadata").mkdir()
    codes = pa.table({"code": ["DIAGNOSIS//ICD//9//4019", "LAB//50931//mg/dL"], "description": ["Hypertension", None]})
    pq.write_table(codes, root / "metadata" / "codes.parquet")
    splits = pa.table({"subject_id": [1, 2], "split": ["tuning", "held_out"]})
    pq.write_table(splits, root / "metadata" / "subject_splits.parquet")
    (root / "metadata" / "dataset.json").write_text('{"dataset_name": "mine", "created_at": "2020-01-01T00:00:00"}')
    source = Meds(root=root)
    with Store(threads=1) as store:
        source.read(store)
        assert store.frame(f"SELECT * FROM {LABELS}").values.tolist() == [
            ["diagnosis", "ICD9CM", "4019", "Hypertension"]
        ]
        assert store.frame(f"SELECT * FROM {GIVEN} ORDER BY ALL").values.tolist() == [
            [1, "validation"],
            [2, "holdout"],
        ]
    assert source.options()["dataset"] == {"dataset_name": "mine"}
    assert "metadata/dataset.json" in source.inputs()
    pq.write_table(splits.rename_columns(["subject", "split"]), root / "metadata" / "subject_splits.parquet")
    with Store(threads=1) as store, pytest.raises(TableError, match=r"subject_splits\.parquet: not as MEDS"):
        Meds(root=root).read(store)


def test_columns_that_only_some_shards_have(tmp_path: Path) -> None:
    root = write(tmp_path, shards=1)
    few = {name: TYPES[name] for name in ("code", "time", "subject_id")}
    more = pa.table({"code": ["GENDER//M"], "time": [None], "subject_id": [3]}, schema=pa.schema(few))
    pq.write_table(more, root / "data" / "more.parquet")
    assert rows(Meds(root=root), "sex", "subject_id", "code") == [(1, "F"), (3, "M")]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"subject_id": pa.int32()}, r"subject_id \(want int64, got int32\)"),
        ({"time": pa.timestamp("ns")}, r"time \(want timestamp\[us\], got timestamp\[ns\]\)"),
        ({"numeric_value": pa.float64()}, r"numeric_value \(want float, got double\)"),
        ({"code": pa.large_string(), "text_value": pa.string()}, ""),  # Parquet does not tell them apart
    ],
)
def test_types(tmp_path: Path, changed: dict[str, pa.DataType], words: str) -> None:
    source = Meds(root=write(tmp_path, types={**TYPES, **changed}))
    if words:
        with Store(threads=1) as store, pytest.raises(TableError, match=words):
            source.read(store)
    else:
        assert rows(source, "sex", "code") == [("F",)]


def test_datasets_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"source\.root=.*no such folder"):
        Meds(root=tmp_path / "absent")
    with pytest.raises(FileError, match=r"data: no \.parquet file"):
        Meds(root=tmp_path).inputs()
    root = write(tmp_path)
    pq.write_table(pa.table({"subject_id": [1], "code": ["a"]}), root / "data" / "bad.parquet")
    with Store(threads=1) as store, pytest.raises(TableError, match=r"bad\.parquet: .*Missing required columns: time"):
        Meds(root=root).read(store)
    (root / "data" / "bad.parquet").write_text("none")
    with Store(threads=1) as store, pytest.raises(InputError, match=r"bad\.parquet: not readable as Parquet"):
        Meds(root=root).read(store)


def test_rows_without_a_code_and_words_in_the_text(tmp_path: Path) -> None:
    odd: list[Row] = [
        (1, None, None, 1.0, "a note"),
        (2, None, "", None, None),
        (1, None, "SEX", None, "female"),
        (1, None, "RACE", None, "Asian"),
        (2, None, "RACE//", None, "White"),
    ]
    source = Meds(root=write(tmp_path, [*ROWS, *odd]))
    assert sorted(rows(source, "race", "subject_id", "code")) == [(1, "Asian"), (2, "White")]
    assert rows(source, "sex", "code") == [("F",), ("F",)]
    with Store(threads=1) as store:
        source.read(store)
        told = {line.means: line.count for line in source.coverage(store)}
    assert told["nothing: no code, left out"] == 2
    with Store(threads=1) as store, pytest.raises(TableError, match="no row of any shard has a code"):
        Meds(root=write(tmp_path / "none", odd[:2])).read(store)


@pytest.mark.parametrize(
    "codes",
    [
        None,
        {"code": pa.array(["STRANGE//CODE"])},
        {"code": ["STRANGE//CODE"], "description": pa.nulls(1), "parent_codes": pa.nulls(1)},
        {"code": pa.array([], pa.null()), "description": pa.nulls(0)},
        {
            "code": pa.array(["STRANGE//CODE"], pa.large_string()),
            "parent_codes": pa.array([["x", None]], pa.large_list(pa.large_string())),
        },
        {"code": ["STRANGE//CODE", None], "description": pa.array(["x", "y"]).dictionary_encode()},
    ],
    ids=["none", "codes alone", "of no type", "no row", "long", "dictionary"],
)
def test_metadata_of_other_types(tmp_path: Path, codes: dict[str, Any] | None) -> None:
    root = write(tmp_path)
    if codes is not None:
        (root / "metadata").mkdir()
        pq.write_table(pa.table(codes), root / "metadata" / "codes.parquet")
    assert ("STRANGE//CODE",) in rows(Meds(root=root), "other", "code")


def test_shards_of_other_types_and_folders(tmp_path: Path) -> None:
    root = write(tmp_path / "a [1] é=2", shards=1, types={**TYPES, "code": pa.dictionary(pa.int32(), pa.string())})
    folder = root / "data" / "code=x"  # no partition
    folder.mkdir()
    few = {"subject_id": pa.int64(), "time": pa.null(), "code": pa.string(), "text_value": pa.null()}
    pq.write_table(
        pa.table({"subject_id": [3], "time": [None], "code": ["SEX//M"], "text_value": [None]}, pa.schema(few)),
        folder / "1.parquet",
    )
    pq.write_table(pa.table({name: pa.nulls(0) for name in ("subject_id", "time", "code")}), folder / "empty.parquet")
    assert rows(Meds(root=root), "sex", "subject_id", "code") == [(1, "F"), (3, "M")]
