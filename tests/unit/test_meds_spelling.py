"""A MEDS dataset that spells its codes its own way keeps every event that has a support, and says how it was read."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.sources.meds_known import known
from tests import matrices

pytest.importorskip("meds")

N = 60
TYPES = {
    "subject_id": pa.int64(),
    "time": pa.timestamp("us"),
    "code": pa.string(),
    "numeric_value": pa.float32(),
    "text_value": pa.large_string(),
}
DIAGNOSES = ("E11.9", "I10", "J18.9", "N17.9", "Z79.4", "K21.0")
LOCAL = ("LOC7", "LOC8")
DRUGS = ("aspirin", "insulin")


def events(seed: int = 0) -> pd.DataFrame:
    """Return the events of N subjects in a spelling that no pattern has; one rare code, and one row without a code."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    for subject in range(N):
        start = pd.Timestamp(2021, 1, 1) + pd.Timedelta(days=int(rng.integers(300)))
        end = start + pd.Timedelta(days=int(rng.integers(1, 9)))
        race = ("Caucasian", "Caucasian", "Polynesian")[subject % 3]
        rows += [
            (subject, None, f"SEX|{('female', 'male')[subject % 2]}", None, None),
            (subject, None, f"RACE={race}", None, None),
            (subject, pd.Timestamp(1940 + subject % 40, 5, 1), "DOB", None, None),
            (subject, start, "ADMIT|EMERGENCY", None, None),
            (subject, end, "DISCHARGE|HOME", None, None),
            (subject, start, "LAB:GLU", float(rng.integers(60, 200)), None),
            (subject, start, "LAB:CULT", None, "grown"),
            *((subject, end, f"DX|ICD10|{code}", None, None) for code in DIAGNOSES if rng.random() < 0.6),
            *((subject, end, f"DX|LOCAL|{code}", None, None) for code in LOCAL if rng.random() < 0.6),
            *((subject, start, f"RX>{drug}", None, None) for drug in DRUGS if rng.random() < 0.6),
        ]
    rows += [
        (0, pd.Timestamp(2021, 1, 1), "RX>one patient's", None, None),
        (1, pd.Timestamp(2021, 1, 1), None, 1, None),
    ]
    return pd.DataFrame(rows, columns=list(TYPES))


def write(root: Path, data: pd.DataFrame, codes: pa.Table | None = None) -> Path:
    """Write a dataset of one shard."""
    (root / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pandas(data, schema=pa.schema(TYPES), preserve_index=False), root / "data/0.parquet")
    if codes is not None:
        (root / "metadata").mkdir()
        pq.write_table(codes, root / "metadata" / "codes.parquet")
    return root


def prepared(root: Path, out: Path, *overrides: str) -> Matrix:
    own = ("source=meds", "cohort=meds", "features=meds", "features.died_within_year=null")
    return matrices.make(out, *own, f"source.root={root}", *overrides)


@pytest.fixture(scope="module")
def spelled(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    folder = tmp_path_factory.mktemp("spelled")
    return prepared(write(folder / "data set", events()), folder / "matrix")


def whole(matrix: Matrix) -> pd.DataFrame:
    """Return all rows, by subject."""
    return pd.concat([matrix.train, matrix.validation, matrix.holdout]).set_index("subject_id").sort_index()


def told(matrix: Matrix) -> dict[tuple[str, str], int]:
    return {(line["what"], line["means"]): line["count"] for line in matrix.provenance["understood"]}


def test_every_event_with_a_support_is_a_cell(spelled: Matrix) -> None:
    data, table = events(), whole(spelled)
    who = data.dropna(subset="code").groupby("code")["subject_id"].agg(lambda subjects: sorted(set(subjects)))
    own = ["DX|LOCAL|LOC7", "DX|LOCAL|LOC8", "LAB:CULT", "RX>aspirin", "RX>insulin"]
    columns = {f"dx_icd10_{code[:3]}": f"DX|ICD10|{code}" for code in DIAGNOSES} | {
        f"code_{code}": code for code in own
    }
    for name, code in columns.items():
        assert sorted(table.index[table[name] == 1]) == who[code], name
    glucose = data[data["code"] == "LAB:GLU"].set_index("subject_id")["numeric_value"].sort_index()
    assert table["value_LAB:GLU"].tolist() == glucose.tolist()
    assert set(table) == {"sex", "race", "age", "admissions", "days", "value_LAB:GLU", *columns}
    assert table["sex"].tolist() == ["F", "M"] * (N // 2)
    assert table["race"].value_counts().to_dict() == {"Caucasian": N * 2 // 3, "Polynesian": N // 3}
    assert {spelled.schema.by_name[name].domain for name in columns} == {"diagnosis", "code"}  # both count as codes


def test_what_was_understood_is_told_by_means(spelled: Matrix) -> None:
    data, lines = events(), told(spelled)
    own = data["code"].str.contains("LOCAL|LAB|RX>(?:aspirin|insulin)").sum()
    assert lines["events", "the words in their codes"] == len(data) - own - 2
    assert lines["events", "nothing: columns of their own, codes of 10 subjects or more"] == own
    assert lines["events", "nothing: no column, codes of fewer than 10 subjects"] == 1
    assert lines["events", "nothing: left out, no code"] == 1
    assert lines["numbers", "measurements of their own"] == N
    assert lines["texts", "not read: the code alone counts"] == N
    words = "words that no level begins with are levels, such as 'Caucasian', 'Polynesian'"
    assert lines["subjects' race", words] == N
    page = (spelled.folder / "cohort.html").read_text(encoding="utf-8")
    assert "What was understood" in page
    assert "one patient" not in page + (spelled.folder / "provenance.json").read_text(encoding="utf-8")


def test_the_options_that_are_told_do_what_they_say(spelled: Matrix, tmp_path: Path) -> None:
    options = [line["option"] for line in spelled.provenance["understood"] if line["option"]]
    assert any("LAB:" in option for option in options)
    pasted = [word for option in options for word in shlex.split(option)]
    matrix = prepared(write(tmp_path / "ds", events()), tmp_path / "matrix", *pasted)
    assert {"lab_GLU", "drug_aspirin", "dx_unmapped_local_LOC7"} <= set(matrix.schema.names)
    assert set(matrix.schema.by_name["race"].levels) >= {"caucasian", "polynesian", "white"}
    assert not [line for line in matrix.provenance["understood"] if line["option"]]


def test_parents_and_descriptions_say_what_codes_are(tmp_path: Path) -> None:
    data = events()
    names = {code: f"C{number:03}" for number, code in enumerate(sorted(data["code"].dropna().unique()))}
    words = {code: code.replace("|", ": ") for code in names if code.startswith(("SEX", "ADMIT", "DISCHARGE", "DOB"))}
    words |= {"LAB:GLU": "Glucose"}
    parents = {code: [f"ICD10CM/{code[9:]}", "SNOMED/1"] for code in names if code.startswith("DX|ICD10")}
    parents |= {code: [code] for code in names if code.startswith("RACE")}
    table = {
        "code": list(names.values()),
        "description": [words.get(code) for code in names],
        "parent_codes": pa.array([parents.get(code) for code in names], pa.list_(pa.string())),
    }
    root = write(tmp_path / "ds", data.assign(code=data["code"].map(names)), pa.table(table))
    matrix = prepared(root, tmp_path / "matrix")
    assert {"dx_icd10_E11", "dx_icd10_I10", f"value_{names['LAB:GLU']}"} <= set(matrix.schema.names)
    assert matrix.schema.by_name[f"value_{names['LAB:GLU']}"].label == "Glucose"
    lines = told(matrix)
    assert lines["events", "parent_codes"] == data["code"].str.contains("ICD10|RACE").sum()
    assert lines["events", "their descriptions"] == data["code"].str.contains("SEX|ADMIT|DISCHARGE|DOB").sum()
