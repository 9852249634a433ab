"""Table 1 against plain pandas, and the page about the cohort."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ehrsynth.cli.tables import flow_table, table_one_table
from ehrsynth.data.cohort.table_one import Described, table_one
from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.wide import Wide
from ehrsynth.files import write_json
from ehrsynth.reporting.cohort_report import flow_boxes, write_cohort_report
from tests import matrices
from tests.hostile import NAMES, read

SPECS = {
    "sex": ColumnSpec("categorical", "sensitive", "demographics", "Sex", ("F", "M")),
    "payer": ColumnSpec("categorical", label="Payer"),
    "age": ColumnSpec("count", label="Age"),
    "lactate": ColumnSpec("continuous", domain="lab", label="Lactate"),
    "died": ColumnSpec("binary", "outcome", "outcome", "Died"),
    "dx_a": ColumnSpec("binary", domain="diagnosis", label="Angina"),
    "dx_b": ColumnSpec("binary", domain="diagnosis"),
    "drug": ColumnSpec("count", domain="medication", label="Aspirin"),
}


def toy(n: int = 40) -> Wide:
    cells = pd.DataFrame(
        {
            "sex": ["F"] * 25 + ["M"] * 10 + [None] * 5,
            "payer": ["private"] * 28 + ["state"] * 11 + ["rare secret"],
            "age": np.arange(n),
            "lactate": [0.5, 1.5] * 6 + [np.nan] * 28,
            "died": [1] * 9 + [0] * 31,
            "drug": [3] * 20 + [0] * 20,
        }
    )
    codes = sparse.csr_array(np.array([[1] * 30 + [0] * 10, [1] * 4 + [0] * 36], np.uint8).T)
    return Wide(pd.Series(range(n)), SPECS, cells, codes, ["dx_a", "dx_b"])


def lines(before: Described, after: Described) -> dict[tuple[str, str], tuple[str, str]]:
    return {(row["group"], row["label"]): (row["before"], row["after"]) for row in table_one(before, after)}


def test_table_one_by_hand() -> None:
    wide = toy()
    rest = {name: spec for name, spec in SPECS.items() if name not in ("lactate", "dx_b")}
    halves = [wide.only(rest)[np.arange(0, 20)], wide.only(rest)[np.arange(20, 40)]]
    both = lines(Described.of([wide], SPECS), Described.of(halves, rest))
    top = "The 2 most prevalent codes, n (%)"
    assert both == {
        ("", "Subjects"): ("40", "40"),
        ("", "Columns"): ("8", "6"),
        ("", "Columns of codes"): ("3", "2"),
        ("Sex, n (%)", "F"): ("25 (62.5)",) * 2,
        ("Sex, n (%)", "M"): ("about 10 (25.0)",) * 2,  # or the 5 that are missing could be had by subtraction
        ("Sex, n (%)", "missing"): ("<10",) * 2,
        ("Payer, n (%)", "private"): ("28 (70.0)",) * 2,
        ("Payer, n (%)", "state"): ("11 (27.5)",) * 2,
        ("", "Age, mean (SD)"): ("19.5 (11.7)",) * 2,
        ("", "Lactate, mean (SD)"): ("1.00 (0.52)", ""),
        ("", "Lactate, missing, n (%)"): ("28 (70.0)", ""),
        ("", "Died, n (%)"): ("<10",) * 2,
        (top, "Angina"): ("30 (75.0)",) * 2,
        (top, "Aspirin"): ("20 (50.0)",) * 2,
    }


def test_a_mean_of_a_few_is_not_told() -> None:
    wide = toy()
    few = wide[np.arange(5)]
    assert lines(Described.of([few], SPECS), Described.of([few], SPECS))["", "Age, mean (SD)"] == ("of <10", "of <10")


@pytest.mark.parametrize(("n", "alone"), [(12, 1), (40, 1), (40, 9)])
def test_a_mean_tells_no_number_that_stands_alone(n: int, alone: int) -> None:
    """Whoever knows the others has it otherwise by subtraction."""
    shown = set()
    for far in (987_654, 987_654_321):
        wide = toy()[np.arange(n)]
        wide.cells["age"] = [*range(n - alone), *[far] * alone]
        both = Described.of([wide], SPECS)
        shown.add(lines(both, both)["", "Age, mean (SD)"])
    assert len(shown) == 1


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return matrices.make(tmp_path_factory.mktemp("matrices") / "demo", "source.n=400")


def test_table_one_is_what_the_matrix_says(prepared: Matrix) -> None:
    table = pd.concat([prepared.train, prepared.validation, prepared.holdout])
    shown = {(row["group"], row["label"]): row["after"] for row in prepared.provenance["table_one"]}
    women = (table["sex"] == "F").sum()
    assert shown["Sex, n (%)", "F"] == f"{women} ({women / 4:.1f})"
    assert shown["", "Age in years, mean (SD)"] == f"{table['age'].mean():.1f} ({table['age'].std():.1f})"
    gaps = table["bmi"].isna().sum()
    assert shown["", "Body mass index, missing, n (%)"] == f"{gaps} ({gaps / 4:.1f})"
    codes = table[[column.name for column in prepared.schema.columns if column.is_code]].sum()
    top = [row for row in prepared.provenance["table_one"] if row["group"].startswith("The 10 most")]
    assert [int(row["after"].split()[0]) for row in top] == sorted(codes, reverse=True)[:10]


def test_the_flow_is_what_plain_pandas_finds_in_the_raw_tables(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "mimic-iv-demo"
    options = ("source=mimic_iv", "cohort=mimic_iv", "features=demo", "features.diagnoses=null")
    provenance = matrices.make(tmp_path / "m", *options, f"source.root={root}").provenance
    people = pd.read_csv(root / "hosp" / "patients.csv.gz", index_col="subject_id")
    stays = pd.read_csv(root / "hosp" / "admissions.csv.gz", parse_dates=["admittime", "dischtime"])
    last = stays.sort_values(["admittime", "hadm_id"]).groupby("subject_id").tail(1).set_index("subject_id")
    alive = last[last["hospital_expire_flag"] == 0].join(people)
    adult = alive[alive["admittime"].dt.year - (alive["anchor_year"] - alive["anchor_age"]) >= 18]
    assert [(step["subjects"], step["stays"]) for step in provenance["flow"]] == [
        (len(people), len(stays)),
        (stays["subject_id"].nunique(), len(stays)),
        (len(last), len(last)),
        (len(alive), len(alive)),
        (len(adult), len(adult)),
    ]
    shown = {(row["group"], row["label"]): row["before"] for row in provenance["table_one"]}
    women = (adult["gender"] == "F").sum()
    assert shown["Sex, n (%)", "F"] == f"{women} ({100 * women / len(adult):.1f})"
    died = pd.to_datetime(adult["dod"]) - adult["dischtime"].dt.normalize() <= pd.Timedelta(days=365)
    assert shown["", "Died within a year, n (%)"] == f"{died.sum()} ({100 * died.sum() / len(adult):.1f})"


def test_the_page_tells_the_flow_and_stands_alone(prepared: Matrix) -> None:
    before = prepared.fingerprint
    page = write_cohort_report(prepared).read_text(encoding="utf-8")
    assert Matrix.open(prepared.folder).fingerprint == before
    for words in ("subjects in the source", "400 subjects", "discharged alive", "Body mass index", "rare codes"):
        assert words in page
    assert not re.search(r"<script|src=\"http|href=\"http", page)
    assert str(prepared.folder.parent) not in page


def test_faults_stand_beside_the_boxes(prepared: Matrix, tmp_path: Path) -> None:
    steps = [
        {"what": "subjects in the source", "subjects": 12, "stays": 30, "faults": {}},
        {"what": "without faults in the data", "subjects": 12, "stays": 28, "faults": {"unknown_version": 1234}},
    ]
    for name in ("schema.json", "constraints.json"):
        (tmp_path / name).write_bytes((prepared.folder / name).read_bytes())
    write_json(tmp_path / "provenance.json", {**prepared.provenance, "flow": steps})
    matrix = Matrix(tmp_path)
    (first, second) = flow_boxes(matrix.provenance)
    assert (first.lost, second.lost) == ((0, 0), (0, 2))
    page = write_cohort_report(matrix).read_text(encoding="utf-8")
    assert "left out: 0 subjects, 2 stays" in page
    assert "diagnoses and procedures of an ICD version other than 9 and 10: 1,234" in page
    assert flow_table(matrix).row_count == 3
    assert table_one_table(matrix).row_count == len(
        {row["group"] for row in prepared.provenance["table_one"]} - {""}
    ) + len(prepared.provenance["table_one"])


def test_a_page_made_of_a_strangers_names_runs_nothing(prepared: Matrix, tmp_path: Path) -> None:
    for name in ("schema.json", "constraints.json"):
        (tmp_path / name).write_bytes((prepared.folder / name).read_bytes())
    flow = [{"what": name, "subjects": 12, "stays": 30, "faults": {}} for name in NAMES]
    lines = [{"group": name, "label": name, "before": name, "after": name} for name in NAMES]
    write_json(tmp_path / "provenance.json", {**prepared.provenance, "flow": flow, "table_one": lines})
    assert read(write_cohort_report(Matrix(tmp_path))).count("alert(1)") >= len(("what", "group", "label"))
