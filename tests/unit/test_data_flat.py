"""Anyone's table: wide or long, CSV or Parquet, and what is wrong with it."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.sources.flat import Flat
from ehrsynth.data.store import Store
from ehrsynth.errors import FileError, InputError, OptionError, TableError
from tests import matrices

N = 200


def patients() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "patient": [f"P{i:03d}" for i in rng.permutation(N)],
            "seen": "2020-01-01",
            "Sex": rng.choice(["F", "M"], N),
            "age": rng.integers(18, 90, N),
            "BMI": rng.normal(27, 4, N).round(1),
            "bmi": rng.normal(27, 4, N).round(2),  # another column, though SQL would not tell
            "smoker": rng.choice(["yes", "no", "NA"], N),
            "insured": rng.choice(["True", "False"], N),
            "crp": np.where(np.arange(N) < 40, np.nan, rng.normal(10, 2, N).round(1)),
            "letter": [f"Dear colleague {i}" for i in range(N)],
            "died": rng.choice([0, 1], N, p=[0.7, 0.3]),
        }
    )


def write(folder: Path, frame: pd.DataFrame, name: str = "table.csv", **style: Any) -> Path:
    path = folder / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False, **style)
    return path


def prepare(folder: Path, path: Path | str, *options: str) -> Matrix:
    return matrices.make(folder / "out", "source=flat", f"source.path='{path}'", *options)


def all_rows(matrix: Matrix) -> pd.DataFrame:
    parts = [matrix.train, matrix.validation, matrix.holdout]
    return pd.concat(parts).sort_values("subject_id", ignore_index=True)


EXACT = "preprocess.bounds=exact"  # every cell as it is
WIDE = ("source.subject=patient", "source.outcomes=[died]", "source.sensitive=[Sex]", EXACT)


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz", "table.parquet"])
def test_a_wide_table_needs_no_config(tmp_path: Path, name: str) -> None:
    table = patients()
    matrix = prepare(tmp_path, write(tmp_path, table, name), *WIDE, "source.time=seen")
    kinds = {c.name: (c.kind, c.role, c.missing) for c in matrix.schema.columns}
    assert kinds == {
        "Sex": ("categorical", "sensitive", False),
        "age": ("count", "demographic", False),
        "BMI": ("continuous", "feature", False),
        "bmi": ("continuous", "feature", False),
        "smoker": ("categorical", "feature", False),
        "insured": ("binary", "feature", False),
        "crp": ("continuous", "feature", True),
        "died": ("binary", "outcome", False),
    }
    expected = table.drop(columns=["seen", "letter"]).rename(columns={"patient": "subject_id"})
    expected["insured"] = (expected["insured"] == "True").astype(int)
    found = all_rows(matrix)
    pd.testing.assert_frame_equal(
        found, expected.sort_values("subject_id", ignore_index=True), check_dtype=False, check_like=True
    )
    steps = {step["step"]: step["detail"] for step in matrix.provenance["steps"]}
    assert steps["dates, identifiers, free text"] == {"letter": len(matrix.train)}
    assert list(matrix.provenance["inputs"]) == [name]


def test_other_delimiters_and_decimal_commas(tmp_path: Path) -> None:
    table = patients()
    plain = prepare(tmp_path, write(tmp_path, table), *WIDE, "source.time=seen")
    german = write(tmp_path, table, "german.csv", sep=";", decimal=",")
    other = matrices.make(tmp_path / "other", "source=flat", f"source.path={german}", *WIDE, "source.time=seen")
    pd.testing.assert_frame_equal(all_rows(other), all_rows(plain))


def test_columns_left_out_and_cells_much_changed_are_said_with_the_option(tmp_path: Path) -> None:
    table = patients()[:60].assign(word=[f"w{i % 9}" for i in range(60)])
    made = prepare(tmp_path, write(tmp_path, table), "source.subject=patient", "source.outcomes=[died]")
    lines = {line["what"]: line for line in made.provenance["coverage"]}
    left, clipped, empty, other = lines
    assert left == "columns: 'seen', 'letter'"
    assert lines[left]["means"].startswith("left out: dates, identifiers, free text")
    assert (lines[left]["count"], lines[left]["of"]) == (2, 2 + 1 + len(made.schema.columns))
    assert (empty, lines[empty]["option"]) == ("columns: 'crp'", "preprocess.max_missing=1")
    assert "'age'" in clipped
    assert lines[clipped]["option"] == "preprocess.bounds=exact"
    assert lines[clipped]["count"] > 0.1 * lines[clipped]["of"]
    assert (other, lines[other]["count"], lines[other]["of"]) == ("cells of 'word'", 60, 60)
    asked = [lines[what]["option"] for what in (clipped, empty, other)]
    again = matrices.make(
        tmp_path / "2",
        "source=flat",
        f"source.path={tmp_path}/table.csv",
        "source.drop=[letter,seen]",
        "source.subject=patient",
        *asked,
    )
    assert again.provenance["coverage"] == []


def test_several_files(tmp_path: Path) -> None:
    table = patients()
    whole = prepare(tmp_path, write(tmp_path, table), *WIDE)
    write(tmp_path, table[:70], "part-1.csv")
    write(tmp_path, table[70:], "part-2.csv")
    other = matrices.make(tmp_path / "other", "source=flat", f"source.path={tmp_path}/part-*.csv", *WIDE)
    assert other.fingerprint == whole.fingerprint
    assert list(other.provenance["inputs"]) == ["part-1.csv", "part-2.csv"]


@pytest.mark.parametrize("how", ["time", "order"])
def test_the_last_row_of_a_patient_counts(tmp_path: Path, how: str) -> None:
    table = patients()
    earlier = table[:50].assign(seen="2019-06-01", age=1)
    both = [table, earlier] if how == "time" else [earlier, table]
    path = write(tmp_path, pd.concat(both))
    matrix = prepare(tmp_path, path, *WIDE, *(["source.time=seen"] if how == "time" else ["source.drop=[seen]"]))
    assert all_rows(matrix)["age"].min() >= 18
    assert matrix.provenance["steps"][0]["detail"]["earlier rows of the same subject"] == 50


def test_a_row_per_stay_goes_with_the_index_stay(tmp_path: Path) -> None:
    table = patients().assign(stay=lambda t: t.index + 10)
    later = table[:50].assign(seen="2021-06-01", age=1, stay=lambda t: t.index + 1000)
    path = write(tmp_path, pd.concat([later, table]))
    options = (*WIDE, "source.stay=stay", "source.time=seen")
    last = prepare(tmp_path, path, *options, "cohort.stay=last")
    assert (all_rows(last)["age"] == 1).sum() == 50
    first = matrices.make(tmp_path / "first", "source=flat", f"source.path={path}", *options, "cohort.stay=first")
    assert all_rows(first)["age"].min() >= 18


def test_subjects_that_are_numbers_sort_as_numbers(tmp_path: Path) -> None:
    table = patients().assign(patient=np.arange(N) * 7)
    assert prepare(tmp_path, write(tmp_path, table), *WIDE).train["subject_id"].is_monotonic_increasing
    padded = table.assign(patient=[f"{i:05d}" for i in range(N)])
    path = write(tmp_path, padded, "padded.csv")
    text = matrices.make(tmp_path / "text", "source=flat", f"source.path={path}", *WIDE)
    assert all_rows(text)["subject_id"].iloc[7] == "00007"


def test_kinds_are_those_of_the_training_rows(tmp_path: Path) -> None:
    """Whatever stands in other rows, even in the file the types were read from, the schema is the same."""
    table = patients()
    before = prepare(tmp_path, write(tmp_path, table), *WIDE)
    elsewhere = ~table["patient"].isin(before.train["subject_id"])
    held_out = table["patient"].isin(before.holdout["subject_id"])
    changed = table.astype(object)
    changed.loc[elsewhere, ["age", "insured", "smoker", "crp", "BMI"]] = ["old", "2", "sometimes", "n/a", -5.5]
    rows = changed.index[held_out]
    changed.loc[rows[:6], ["age", "insured"]] = table.loc[rows[:6], ["age", "insured"]].to_numpy()
    changed.loc[rows[:5], "smoker"] = table.loc[rows[:5], "smoker"]
    validation = table["patient"].isin(before.validation["subject_id"])
    changed.loc[validation] = table.loc[validation]
    path = write(tmp_path, changed, "changed.csv")
    after = matrices.make(tmp_path / "after", "source=flat", f"source.path={path}", *WIDE)
    assert (after.folder / "schema.json").read_bytes() == (before.folder / "schema.json").read_bytes()
    pd.testing.assert_frame_equal(after.train, before.train)
    steps = {step["step"]: step["detail"] for step in after.provenance["steps"]}
    assert steps["cells of a kind that training never has"] == {"age": len(rows) - 6, "insured": len(rows) - 6}
    assert steps["levels that training rarely or never has"] == {"smoker": len(rows) - 5}
    assert len(after.holdout) == 5  # the others lack what training always has, or have a level that it never has
    assert set(after.holdout["smoker"]) <= {"NA", "no", "yes"}


# --- long -----------------------------------------------------------------------------------------------------------


def events() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 2000
    return pd.DataFrame(
        {
            "PID": rng.integers(1, 150, n),
            "WHEN": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 999, n), unit="D"),
            "STAY": rng.choice(["a-1", "b-2"], n),
            "KIND": rng.choice(["diagnosis", "medication"], n),
            "CODE": rng.choice(["A1", "B2", "C3"], n),
            "VALUE": rng.normal(0, 1, n).round(2),
        }
    )


MAP = "source.columns={subject_id: PID, time: WHEN, code: CODE, domain: KIND, numeric_value: VALUE, stay_id: STAY}"


@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("t.csv", {}),
        ("t.csv.gz", {}),
        ("t.tsv", {"sep": "\t"}),
        ("t.parquet", {}),
        ("t.csv", {"sep": ";", "decimal": ","}),
    ],
)
def test_a_long_table_under_a_map(tmp_path: Path, name: str, style: dict[str, str]) -> None:
    table = events()
    columns = {"subject_id": "PID", "time": "when", "code": "CODE", "domain": "KIND"}
    more = {"numeric_value": "VALUE", "stay_id": "STAY"}
    with Store() as store:
        Flat(path=write(tmp_path, table, name, **style), columns=columns | more).read(store)
        found = store.frame(
            "SELECT * FROM events WHERE domain <> 'subject' ORDER BY subject_id, time, code, numeric_value"
        )
        subjects = store.frame("SELECT subject_id FROM events WHERE domain = 'subject' ORDER BY 1")["subject_id"]
    expected = table.sort_values(["PID", "WHEN", "CODE", "VALUE"], ignore_index=True)
    assert subjects.to_list() == sorted(table["PID"].unique())
    assert found["subject_id"].to_list() == expected["PID"].to_list()
    assert found["code"].to_list() == expected["CODE"].to_list()
    assert found["domain"].to_list() == expected["KIND"].to_list()
    assert found["numeric_value"].to_list() == expected["VALUE"].to_list()
    assert (found["time"] == expected["WHEN"]).all()
    assert found["stay_id"].nunique() == 2
    assert found["unit"].isna().all()


def test_a_long_table_becomes_a_matrix(tmp_path: Path) -> None:
    table = events()
    matrix = prepare(tmp_path, write(tmp_path, table), MAP)
    has = pd.crosstab(table["PID"], table["KIND"].map({"diagnosis": "dx_", "medication": "drug_"}) + table["CODE"]) > 0
    found = all_rows(matrix).set_index("subject_id")
    pd.testing.assert_frame_equal(
        found, has.astype("int8"), check_names=False, check_like=True, check_dtype=False, check_index_type=False
    )


@pytest.mark.parametrize(("domain", "prefix"), [("lab", "lab_"), ("null", "value_")])
def test_the_last_numbers_of_a_long_table(tmp_path: Path, domain: str, prefix: str) -> None:
    table = events().drop_duplicates(["PID", "WHEN", "CODE"])
    options = "source.columns={subject_id: PID, time: WHEN, code: CODE, numeric_value: VALUE}"
    more = (f"source.domain={domain}", "preprocess.max_missing=1", EXACT)
    matrix = prepare(tmp_path, write(tmp_path, table), options, *more)
    by_time = table.sort_values("WHEN")
    last = by_time.pivot_table(index="PID", columns="CODE", values="VALUE", aggfunc="last").add_prefix(prefix)
    found = all_rows(matrix).set_index("subject_id")[list(last)]
    pd.testing.assert_frame_equal(found, last, check_names=False, check_index_type=False)


def test_constants_say_what_every_row_is(tmp_path: Path) -> None:
    table = events()
    path = write(tmp_path, table)
    columns = {"subject_id": "PID", "code": "CODE"}
    with Store() as store:
        Flat(path=path, columns=columns, domain="diagnosis", vocabulary="ICD10CM").read(store)
        found = store.frame("SELECT DISTINCT domain, vocabulary FROM events WHERE domain <> 'subject'")
        assert found.to_numpy().tolist() == [["diagnosis", "ICD10CM"]]
    with Store() as store:
        Flat(path=path, columns=columns).read(store)
        assert store.value("SELECT count(*) FROM events WHERE domain = 'code'") == len(table)


def test_several_long_files_and_text_subjects(tmp_path: Path) -> None:
    table = events().assign(PID=lambda t: "S" + t["PID"].astype(str))
    write(tmp_path, table[:900], "1.csv")
    write(tmp_path, table[900:], "2.csv", sep="|")
    with Store() as store:
        Flat(path=f"{tmp_path}/[12].csv", columns={"subject_id": "PID", "code": "CODE"}).read(store)
        assert store.value("SELECT count(*) FROM events WHERE domain = 'code'") == len(table)
        assert store.value("SELECT min(subject_id) FROM events") == "S1"


# --- what can be wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "neither of subject and columns given"),
        ({"subject": "patient", "columns": {"subject_id": "patient"}}, "both of subject and columns"),
        ({"subject": "patient", "domain": "lab"}, r"source\.domain=lab: it is for a row per event"),
        ({"columns": {"subject_id": "a"}, "outcomes": ["died"]}, r"source\.outcomes=.*it is for a row per patient"),
        ({"subject": "patient", "outcomes": ["died"], "sensitive": ["died"]}, "'died' is among source.outcomes too"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Flat(path="table.csv", **options)


def read(path: Path | str, **options: Any) -> None:
    with Store() as store:
        Flat(path=path, **options).read(store)
        store.frame("SELECT * FROM events")


def blank(row: int, column: str, cell: object = None) -> pd.DataFrame:
    table = patients().astype(object)
    table.loc[row, column] = cell
    return table


@pytest.mark.parametrize(
    ("table", "options", "error", "words"),
    [
        (patients(), {"subject": "mrn"}, OptionError, "source.subject: .*no column 'mrn'; its header has 'patient'"),
        (patients(), {"subject": "patient", "outcomes": ["dead"]}, OptionError, "source.outcomes: .*no column 'dead'"),
        (patients(), {"subject": "patient", "drop": ["x"]}, OptionError, "source.drop: .*no column 'x'"),
        (blank(7, "patient"), {"subject": "patient"}, TableError, "column 'patient', row 7: the cell is empty"),
        (blank(7, "seen", "1/2/2020"), {"subject": "patient", "time": "seen"}, TableError, "'seen', row 7: no date"),
        (patients().assign(seen="x"), {"subject": "patient", "time": "seen"}, TableError, r"row 0: .*\(200 of 200"),
        (patients(), {"subject": "patient", "stay": "Sex"}, None, ""),
        (patients().assign(patient=1), {"subject": "patient", "stay": "Sex"}, TableError, "same subject and stay"),
        (patients()[["patient"]], {"subject": "patient"}, TableError, "1 column only"),
        (patients()[["patient", "age"]], {"subject": "patient", "drop": ["age"]}, TableError, "no columns beside"),
    ],
)  # fmt: skip
def test_a_wide_table_that_does_not_fit(
    tmp_path: Path, table: pd.DataFrame, options: dict[str, Any], error: type[InputError] | None, words: str
) -> None:
    path = write(tmp_path, table)
    if error is None:
        read(path, **options)
        return
    with pytest.raises(error, match=words) as caught:
        read(path, **options)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


LONG = {"subject_id": "PID", "time": "WHEN", "code": "CODE", "numeric_value": "VALUE"}


@pytest.mark.parametrize(
    ("change", "columns", "error", "words"),
    [
        ({}, LONG | {"code": "TEST"}, TableError, r"source\.columns\.code=TEST: no such column; the header has 'PID'"),
        ({}, LONG | {"patient": "PID"}, OptionError, r"source\.columns\.patient: unknown; one of subject_id"),
        ({}, {"code": "CODE"}, OptionError, "no subject_id"),
        ({}, {"subject_id": "PID"}, OptionError, "no code"),
        ({"PID": None}, LONG, TableError, "column 'PID' is empty in 1 of 2000 rows"),
        ({"WHEN": "yesterday"}, LONG, TableError, "line 9.*column 'WHEN'"),
        ({"VALUE": "high"}, LONG, TableError, "line 9.*column 'VALUE'"),
    ],
)  # fmt: skip
def test_a_long_table_that_does_not_fit(
    tmp_path: Path, change: dict[str, Any], columns: dict[str, str], error: type[InputError], words: str
) -> None:
    table = events().astype(object)
    for name, cell in change.items():
        table.loc[7, name] = cell
    with pytest.raises(error, match=words) as caught:
        read(write(tmp_path, table), columns=columns)
    assert "\n" not in str(caught.value)
    assert "yesterday" not in str(caught.value)


def test_columns_that_sql_cannot_tell_apart(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="the names of 'BMI' and 'bmi' differ in nothing but case"):
        read(write(tmp_path, patients()), columns={"subject_id": "patient", "code": "Sex"})


def test_a_constant_beside_a_column(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"source\.domain=lab: source\.columns\.domain says it"):
        read(write(tmp_path, events()), columns=LONG | {"domain": "KIND"}, domain="lab")


@pytest.mark.parametrize("options", [{"subject": "patient"}, {"columns": {"subject_id": "patient", "code": "Sex"}}])
def test_files_that_are_no_tables(tmp_path: Path, options: dict[str, Any]) -> None:
    good = patients().drop(columns="bmi").to_csv(index=False).encode()
    with pytest.raises(FileError, match="no such file"):
        read(tmp_path / "absent.csv", **options)
    with pytest.raises(FileError, match="the pattern finds no file"):
        read(f"{tmp_path}/*.csv", **options)
    with pytest.raises(FileError, match="at least one file"):
        Flat(path=[], **options).inputs()
    contents = {
        "latin.csv": good.replace(b"smoker", "Größe".encode("latin-1")),
        "cut.csv.gz": gzip.compress(good)[:-200],
        "no.csv.gz": good,
        "no.parquet": good,
        "empty.csv": b"",
        "header.csv": good.splitlines()[0] + b"\n",
        "ragged.csv": good + b"P1,2,3\n",
        "table.xlsx": good,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name) as caught:
            read(tmp_path / name, **options)
        assert "\n" not in str(caught.value)


def test_files_of_different_columns(tmp_path: Path) -> None:
    write(tmp_path, patients(), "1.csv")
    write(tmp_path, patients().drop(columns="crp"), "2.csv")
    with pytest.raises(TableError, match=r"2\.csv: column 'crp' is not both here and in .*1\.csv"):
        read(f"{tmp_path}/*.csv", subject="patient")


def test_an_outcome_that_cannot_be_told(tmp_path: Path) -> None:
    path = write(tmp_path, patients())
    with pytest.raises(TableError, match="column 'letter' has the role outcome, but in training rows"):
        prepare(tmp_path, path, "source.subject=patient", "source.outcomes=[letter]")
    path = write(tmp_path, patients()[["patient", "letter"]], "letters.csv")
    with pytest.raises(TableError, match="none of the 1 columns holds numbers or categories"):
        prepare(tmp_path, path, "source.subject=patient")
