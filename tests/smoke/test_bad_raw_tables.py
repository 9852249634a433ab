"""What can be wrong with a hospital's raw tables, through ``prepare``: one clear line, or a counted exclusion.

The hospital is simulated; its tables in MIMIC-IV's layout are then spoiled in one way each.
"""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.data.faults import FAULTS as ALL_FAULTS
from ehrsynth.data.sources.demo import Demo
from ehrsynth.data.store import Store
from ehrsynth.files import read_json
from tests.conftest import Cli

PATIENTS = 120
Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hospital")
    with Store(threads=1) as store:
        Demo(n=PATIENTS, write_raw=root).read(store)
    return root


@pytest.fixture
def raw(hospital: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hospital, tmp_path / "raw"))


def prepare(cli: Cli, raw: Path, *more: str) -> int:
    names = ("cohort=demo", "features=demo", f"source.root={raw}", f"out={raw.parent / 'matrix'}")
    return cli("prepare", "source=mimic_iv", *names, *more)


def file_of(raw: Path, table: str) -> Path:
    return raw / "hosp" / f"{table}.csv.gz"


def rewrite(raw: Path, table: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change a table; every cell is text, so that the others stay as they are."""
    path = file_of(raw, table)
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


def with_cell(row: int, **cells: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        for column, value in cells.items():
            table.loc[row, column] = value
        return table

    return change


def as_text(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


REFUSED: dict[str, tuple[Spoil, list[str], list[str]]] = {  # how, further options, words
    "missing table": (lambda raw: file_of(raw, "admissions").unlink(), [], ["admissions"]),
    "truncated": (lambda raw: cut(file_of(raw, "diagnoses_icd")), [], ["diagnoses_icd.csv.gz"]),
    "bad gzip": (lambda raw: file_of(raw, "patients").write_bytes(b"no gzip"), [], ["patients.csv.gz"]),
    "missing column": (
        lambda raw: rewrite(raw, "diagnoses_icd", lambda table: table.drop(columns="icd_version")),
        [],
        ["diagnoses_icd.csv.gz", "icd_version"],
    ),
    "a short row": (
        lambda raw: as_text(file_of(raw, "diagnoses_icd"), lambda old: old + b"10000000,20000000\n"),
        [],
        ["diagnoses_icd.csv.gz", "line"],
    ),
    "not UTF-8": (
        lambda raw: as_text(file_of(raw, "admissions"), lambda old: old.replace(b"WHITE", b"WE\xdf", 1)),
        [],
        ["admissions.csv.gz"],
    ),
    "words for a number": (
        lambda raw: rewrite(raw, "patients", with_cell(3, anchor_age="secret")),
        [],
        ["patients.csv.gz", "anchor_age"],
    ),
    "no date": (
        lambda raw: rewrite(raw, "admissions", with_cell(3, admittime="secret")),
        [],
        ["admissions.csv.gz", "admittime"],
    ),
    "no rows": (lambda raw: rewrite(raw, "patients", lambda table: table[:0]), [], ["patients.csv.gz", "no rows"]),
    "empty cohort": (
        lambda raw: None,
        ["+cohort.rules.old={_target_: ehrsynth.data.cohort.rules.Age, least: 115}"],
        ["nobody is left after '115 years or older'"],
    ),
    "outcome with one class": (
        lambda raw: rewrite(raw, "patients", lambda table: table.assign(dod="")),
        [],
        ["died_within_year", "outcome"],
    ),
    "a rule out of range": (
        lambda raw: None,
        ["+cohort.rules.old={_target_: ehrsynth.data.cohort.rules.Age, least: -3}"],
        ["cohort.rules.old.least=-3"],
    ),
    "unknown policy": (lambda raw: None, ["cohort.faults.no_stay=ignore"], ["cohort.faults.no_stay=ignore"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str, raw: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, options, words = REFUSED[case]
    spoil(raw)
    capsys.readouterr()
    assert prepare(cli, raw, *options) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0], lines[0]
    assert "secret" not in lines[0]
    assert "Traceback" not in lines[0]
    assert not (raw.parent / "matrix").exists()


def test_another_delimiter_is_read(raw: Path, cli: Cli) -> None:
    as_text(file_of(raw, "diagnoses_icd"), lambda old: old.replace(b",", b";"))
    assert prepare(cli, raw) == 0


FAULTS = {
    "subject_twice": 1,
    "unknown_subject": 1,
    "stay_twice": 1,
    "discharge_before_admission": 1,
    "admission_before_birth": 1,
    "implausible_age": 1,
    "death_before_discharge": 1,
    "unknown_stay": 2,
    "unknown_version": 3,
}


@pytest.fixture(scope="module")
def faulty(hospital: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital with every fault of ``FAULTS``, each in patients of its own with one stay."""
    raw = Path(shutil.copytree(hospital, tmp_path_factory.mktemp("faulty") / "raw"))
    stays = pd.read_csv(file_of(raw, "admissions"), dtype=str)
    once = stays[~stays["subject_id"].duplicated(keep=False)]["subject_id"].tolist()
    twice, backwards, young, old, late, again, unknown, without = once[:8]

    def patients(table: pd.DataFrame) -> pd.DataFrame:
        table = table.set_index("subject_id")
        table.loc[young, "anchor_age"] = "-3"
        table.loc[old, "anchor_age"] = "150"
        table.loc[late, "dod"] = "2011-01-01"
        other = table.loc[[twice]].assign(gender={"F": "M", "M": "F"}[table.loc[twice, "gender"]])
        both: pd.DataFrame = pd.concat([table.drop(index=unknown), other]).reset_index()
        return both

    def admissions(table: pd.DataFrame) -> pd.DataFrame:
        table = table.set_index("subject_id")
        table.loc[backwards, "dischtime"] = "2001-01-01 00:00:00"
        copy = table.loc[[again]].assign(admittime="2009-01-01 00:00:00")
        both: pd.DataFrame = pd.concat([table.drop(index=without), copy]).reset_index()
        return both[[*stays]]

    def diagnoses(table: pd.DataFrame) -> pd.DataFrame:
        table = table[~table["subject_id"].isin([without, unknown])]
        row = table.iloc[[0]]
        others = table.loc[table["subject_id"] == once[9], "hadm_id"].iloc[0]
        lost = pd.concat([row.assign(hadm_id="99"), row.assign(hadm_id=others)])
        versions = pd.concat([row.assign(icd_version=version) for version in ("11", "11", "")])
        return pd.concat([table, lost, versions])

    rewrite(raw, "patients", patients)
    rewrite(raw, "admissions", admissions)
    rewrite(raw, "diagnoses_icd", diagnoses)
    return raw


def test_faults_are_left_out_and_counted(faulty: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(cli, faulty) == 0
    said = capsys.readouterr().out
    provenance = read_json(faulty.parent / "matrix" / "provenance.json")
    assert provenance["faults"] == FAULTS
    flow = {step["what"]: step["subjects"] for step in provenance["flow"]}
    # one subject is without a row, and one without a stay: both are counted, as are those whose only stay is at fault
    assert flow["subjects in the source"] == PATIENTS
    assert flow["without faults in the data"] == PATIENTS - 2
    assert flow["with at least one stay"] == PATIENTS - 2 - 1 - 5
    assert sum(provenance["rows"].values()) == flow["discharged alive"] == PATIENTS - 8
    for words in ("procedures of an ICD version other than 9 and 10: 3", "stays that end before they begin: 1"):
        assert words in said
        assert words in (faulty.parent / "matrix" / "cohort.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*FAULTS, "no_stay"])
def test_faults_are_refused_if_the_user_says_so(
    name: str, faulty: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "matrix"
    capsys.readouterr()
    assert prepare(cli, faulty, f"cohort.faults.{name}=refuse", f"out={out}") == 2
    error = capsys.readouterr().err
    words = next(fault.words for fault in ALL_FAULTS if fault.name == name)
    assert f"source: {words}: {FAULTS.get(name, 1)}; " in error
    assert f"cohort.faults.{name}=exclude" in error
    assert not out.exists()


def test_mixed_units(raw: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    stays = pd.read_csv(file_of(raw, "admissions"), dtype=str)
    labs = stays[["subject_id", "hadm_id"]].assign(itemid="50931", charttime=stays["admittime"], valuenum="90")
    labs["valueuom"] = ["mmol/L", "mmol/L", *["mg/dL"] * (len(labs) - 2)]
    labs.to_csv(file_of(raw, "labevents"), index=False)
    pd.DataFrame([{"itemid": 50931, "label": "Glucose", "fluid": "Blood"}]).to_csv(
        file_of(raw, "d_labitems"), index=False
    )
    feature = "_target_: ehrsynth.data.features.measurements.Measurement, name: glucose, domain: lab"
    measured = f"+features.glucose={{{feature}, codes: ['Glucose, Blood']}}"
    capsys.readouterr()
    assert prepare(cli, raw, measured) == 2
    error = capsys.readouterr().err
    for words in ("feature glucose", "mg/dl", "mmol/l (2)", "units={", "cohort.faults.mixed_units=exclude"):
        assert words in error
    assert prepare(cli, raw, measured, "cohort.faults.mixed_units=exclude") == 0
    assert read_json(raw.parent / "matrix" / "provenance.json")["faults"] == {"mixed_units": 2}
