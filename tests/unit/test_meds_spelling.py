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
from ehrsynth.data.sources.meds.mapping import mapped
from ehrsynth.errors import TableError
from tests import matrices
from tests.conftest import Cli

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
OWN = ("source=meds", "cohort=meds", "features=meds", "features.died_within_year=null", "preprocess.bounds=exact")
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
        (0, pd.Timestamp(2021, 1, 1), "SECRET>one patient's", None, None),
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
    return matrices.make(out, *OWN, f"source.root={root}", *overrides)


@pytest.fixture(scope="module")
def spelled(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    folder = tmp_path_factory.mktemp("spelled")
    return prepared(write(folder / "data set", events()), folder / "matrix")


def whole(matrix: Matrix) -> pd.DataFrame:
    """Return all rows, by subject."""
    return pd.concat([matrix.train, matrix.validation, matrix.holdout]).set_index("subject_id").sort_index()


def told(matrix: Matrix) -> dict[tuple[str, str], int]:
    return {(line["what"], line["means"]): line["count"] for line in matrix.provenance["coverage"]}


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
    assert lines["events", "nothing: codes of 10 subjects or more, for columns of their own"] == own
    assert lines["events", "nothing: codes of fewer than 10 subjects, no column"] == 1
    assert lines["events", "nothing: no code, left out"] == 1
    assert lines["numbers", "measurements of their own"] == N
    assert lines["texts", "not read: the code alone counts"] == N
    words = "words that no level begins with are levels, such as 'Caucasian', 'Polynesian'"
    assert lines["subjects' race", words] == N
    page = (spelled.folder / "cohort.html").read_text(encoding="utf-8")
    assert "What was understood" in page
    page += (spelled.folder / "provenance.json").read_text(encoding="utf-8")
    assert "one patient" not in page
    assert "SECRET" not in page


def test_the_screen_says_it_too(spelled: Matrix, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("prepare", *OWN, f"source.root={spelled.folder.parent / 'data set'}", f"out={spelled.folder}") == 0
    screen = capsys.readouterr().out
    for words in (
        "what was understood",
        "the words in their codes",
        "codes that begin with 'DX|LOCAL|'",
        "'Caucasian'",
    ):
        assert words in screen
    for line in spelled.provenance["coverage"]:
        assert line["option"] in screen
    assert "one patient" not in screen


def test_the_options_that_are_told_do_what_they_say(spelled: Matrix, tmp_path: Path) -> None:
    options = [line["option"] for line in spelled.provenance["coverage"] if line["option"]]
    assert any("LAB:" in option for option in options)
    pasted = [word for option in options for word in shlex.split(option)]
    matrix = prepared(write(tmp_path / "ds", events()), tmp_path / "matrix", *pasted)
    assert {"lab_GLU", "rx_aspirin", "dx_unmapped_local_LOC7"} <= set(matrix.schema.names)
    assert set(matrix.schema.by_name["race"].levels) >= {"caucasian", "polynesian", "white"}
    assert not [line for line in matrix.provenance["coverage"] if line["option"]]


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


def test_without_a_known_admission_the_message_says_what_would_help(tmp_path: Path) -> None:
    data = events()
    data["code"] = data["code"].str.replace("ADMIT", "ARRIVED").str.replace("DISCHARGE", "LEFT")
    root = write(tmp_path / "ds", data)
    with pytest.raises(TableError, match=r"no stay: source\.patterns tells .*cohort\.stay=null"):
        prepared(root, tmp_path / "matrix")
    arrived = '+source.patterns.start={match: "ARRIVED.*", domain: admission}'
    left = '+source.patterns.end={match: "LEFT.*", domain: discharge}'
    assert len(whole(prepared(root, tmp_path / "matrix", arrived, left))) == N


def meant(codes: dict[str, int], described: dict[str, str] | None = None, **options: Any) -> dict[str, tuple[Any, ...]]:
    """Return domain, vocabulary, code and means of codes, given how many of their ten events have a number."""
    table = pd.DataFrame({"raw": list(codes), "events": 10, "numbers": list(codes.values())})
    metadata = pd.DataFrame(
        [(code, words, []) for code, words in (described or {}).items()], columns=["raw", "description", "parents"]
    )
    rows = mapped(table, metadata, options).astype(object)
    rows = rows.where(rows.notna(), None)[["domain", "vocabulary", "code", "means"]]
    return dict(zip(codes, rows.itertuples(index=False, name=None), strict=True))


@pytest.mark.parametrize(
    ("raw", "domain", "vocabulary", "code"),
    [
        ("DX|ICD10|E11.9", "diagnosis", "ICD10CM", "E11.9"),
        ("diagnosis: icd-9-cm 250.00", "diagnosis", "ICD9CM", "250.00"),
        ("Condition/ICD-10-GM/E11.9/primary", "diagnosis", "ICD10CM", "E11.9"),
        ("ICD_10_I10", "diagnosis", "ICD10CM", "I10"),
        ("PX|ICD10|0DTJ4ZZ", "procedure", "ICD10PCS", "0DTJ4ZZ"),
        ("icd9-proc=47.01", "procedure", "ICD9PCS", "47.01"),
        ("DX|ICD10|nonsense", "other", None, "DX|ICD10|nonsense"),
        ("DX|ICD11|BA00", "other", None, "DX|ICD11|BA00"),
        ("Gender/female", "sex", None, "F"),
        ("patient.sex=M", "sex", None, "M"),
        ("DEMO|SEX_AT_BIRTH|F", "sex", None, "F"),
        ("race/ethnicity: Hispanic", "race", None, "Hispanic"),
        ("Sex hormone binding globulin", "other", None, "Sex hormone binding globulin"),
        ("race = Asian/Pacific Islander", "race", None, "Asian/Pacific Islander"),
        ("Payer:Medicare", "insurance", None, "Medicare"),
        ("HOSP_ADMISSION|ER", "admission", None, "ER"),
        ("encounter:start", "admission", None, None),
        ("ADMISSION DIAGNOSIS|sepsis", "other", None, "ADMISSION DIAGNOSIS|sepsis"),
        ("ADMISSION_WEIGHT", "other", None, "ADMISSION_WEIGHT"),
        ("Date of birth", "birth", None, None),
        ("birth weight", "other", None, "birth weight"),
        ("LANGUAGE=EN", "other", None, "LANGUAGE=EN"),  # no column is made of it by default, but of its code
        ("LOINC|39156-5", "vital", None, "BMI (kg/m2)"),
        ("{}[](:", "other", None, "{}[](:"),
    ],
)
def test_words_of_codes(raw: str, domain: str, vocabulary: str | None, code: str | None) -> None:
    means = "no pattern" if domain == "other" else "the words in their codes"
    assert meant({raw: 0})[raw] == (domain, vocabulary, code, means)
    means = "no pattern" if domain == "other" else "their descriptions"
    assert meant({"X1": 0}, {"X1": raw})["X1"] == (domain, vocabulary, code if domain != "other" else "X1", means)


TEN, NINE = ["E11.9", "I10", "J189", "Z79.4"], ["4019", "V58.61", "25000", "E885.9"]


@pytest.mark.parametrize(
    ("prefix", "codes", "vocabulary"),
    [
        ("DX:", TEN, "ICD10CM"),
        ("hosp/dg#", TEN, "ICD10CM"),  # nothing but their shape
        ("", TEN, "ICD10CM"),
        ("DX:", NINE, "ICD9CM"),
        ("dg#", ["4019", "25000", "4280"], None),  # numbers may be anything
        ("DX:", ["4019", "25000", "4280"], None),
        ("PX:", ["4701", "3893", "9604"], None),
        ("drug ", ["A10BA02", "B01AC06", "C07AB02", "N02BE01"], None),  # ATC
        ("hcpcs:", ["J1885", "G0008", "A4550", "Q9967"], None),
        ("dg#", ["401.9", "250.00", "V58.61"], "ICD9CM"),
        ("PX:", ["0DTJ4ZZ", "02HV33Z", "5A1955Z"], "ICD10PCS"),
        ("PX:", ["47.01", "38.93", "96.04"], "ICD9PCS"),
        ("ward ", ["A10", "A11", "A12", "A13"], None),  # one letter, no dot
        ("DX:", ["E11.9", "I10"], None),  # too few to learn from
        ("DX:", [*TEN, "asthma", "gout"], None),  # not most of them
    ],
)
def test_shapes_behind_a_prefix(prefix: str, codes: list[str], vocabulary: str | None) -> None:
    found = meant({f"{prefix}{code}": 0 for code in codes})
    assert {row[1] for row in found.values()} == {vocabulary}
    assert [row[2] for row in found.values()] == (codes if vocabulary else list(found))


def test_shapes_of_numbers_and_of_both_versions() -> None:
    assert {row[0] for row in meant({f"DX:{code}": 9 for code in TEN}).values()} == {
        "other"
    }  # a diagnosis has no value
    both = meant({f"DX|{code}|primary": 0 for code in [*TEN, *TEN[:0], "K21.0", "N17.9", "4019", "25000", "V58.6"]})
    assert both["DX|4019|primary"][1:3] == ("ICD9CM", "4019")
    assert both["DX|V58.6|primary"][1] == "ICD10CM"  # of both; most are of this one


def test_a_surer_means_wins_and_a_pattern_left_out_is_not_replaced() -> None:
    codes = {"MEDS_BIRTH": 0, "DOB": 0, "DIAGNOSIS//ICD//10//I10": 0}
    found = meant(codes, diagnosis=None)
    assert found["DOB"][0] == "other"  # births are said in the usual words
    assert found["DIAGNOSIS//ICD//10//I10"] == (
        *("other", None, "DIAGNOSIS//ICD//10//I10"),
        "a pattern that source.patterns leaves out",
    )
    mine = {"mine": {"match": "DOB", "domain": "lab"}}
    assert meant(codes, **mine)["DOB"] == ("lab", None, "DOB", "a pattern of source.patterns")


def test_parents_of_parents() -> None:
    table = pd.DataFrame({"raw": ["a", "x"], "events": 1, "numbers": 0})
    metadata = pd.DataFrame(
        {"raw": ["a", "b", "x"], "description": [None] * 3, "parents": [["b"], ["a", "ICD9CM/250.00"], ["x"]]}
    )
    found = mapped(table, metadata, {}).set_index("raw")  # in a circle, too
    assert found.loc["a", ["vocabulary", "code", "means"]].tolist() == ["ICD9CM", "250.00", "parent_codes"]
    assert found.loc["x", "means"] == "no pattern"
