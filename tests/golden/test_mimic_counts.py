"""The public demos of MIMIC-IV and MIMIC-III: every count equals that of SQL written by hand over the raw files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from hydra.utils import instantiate

from ehrsynth.data.cohort.base import FlowStep
from ehrsynth.data.events import make_timeline
from ehrsynth.data.sources.demo import Demo
from ehrsynth.data.store import Store
from ehrsynth.data.wide import Wide, widen
from tests.matrices import config, make

PHECODES = ("phecode/phecode_map_v1_2_icd9.csv.gz", "phecode/phecode_map_v1_2_icd10_beta.csv.gz")
CATALOG = [
    f"features.diagnoses.vocabulary.icd{version}_map={{0}}/{file}"
    for version, file in zip((9, 10), PHECODES, strict=True)
]


@dataclass(frozen=True, eq=False)
class Ours:
    """What the package makes of a release, before it is split and cleaned."""

    flow: list[FlowStep]
    wide: Wide

    @property
    def codes(self) -> dict[str, int]:
        """Number of patients with each code."""
        return dict(zip(self.wide.code_names, self.wide.codes.sum(axis=0).tolist(), strict=True))


def ours(*overrides: str) -> Ours:
    cfg = config(*overrides)
    cohort, features = (instantiate(cfg[group], _convert_="all") for group in ("cohort", "features"))
    with Store(threads=1) as store:
        instantiate(cfg.source).read(store)
        make_timeline(store)
        flow = cohort.choose(store)
        return Ours(flow, widen(store, [feature for feature in features.values() if feature is not None]))


class Raw:
    """The raw files as tables of text, without any of our code."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.db = duckdb.connect(config={"threads": 1})
        for name, file in files.items():
            self.db.execute(f"CREATE TABLE {name} AS SELECT * FROM read_csv('{file}', all_varchar=true, header=true)")

    def one(self, query: str) -> Any:
        row = self.db.execute(query).fetchone()
        assert row is not None
        return row[0]

    def counts(self, query: str) -> dict[str, int]:
        return dict(self.db.execute(query).fetchall())


@pytest.fixture(scope="module")
def raw_iv(shared_data: Path) -> Raw:
    hosp = shared_data / "mimic-iv-demo" / "hosp"
    raw = Raw({name: hosp / f"{name}.csv.gz" for name in ("patients", "admissions", "diagnoses_icd", "omr")})
    raw.db.execute("""
        CREATE TABLE last AS SELECT a.*, p.dod, p.gender,
            CAST(p.anchor_age AS INT) + year(CAST(a.dischtime AS DATE)) - CAST(p.anchor_year AS INT) AS age
        FROM admissions a JOIN patients p USING (subject_id)
        WHERE NOT EXISTS (SELECT 1 FROM admissions b WHERE b.subject_id = a.subject_id AND b.dischtime > a.dischtime);
        CREATE TABLE kept AS SELECT * FROM last WHERE deathtime IS NULL AND age >= 18
    """)
    return raw


@pytest.fixture(scope="module")
def recipe_iv(shared_data: Path) -> Ours:
    maps = [override.format(shared_data) for override in CATALOG]
    root = shared_data / "mimic-iv-demo"
    return ours("experiment=jmir_mimic4", "preprocess=jmir", f"source.root={root}", *maps)


def test_jmir_cohort_after_each_rule(raw_iv: Raw, recipe_iv: Ours) -> None:
    subjects = {step.what: step.subjects for step in recipe_iv.flow}
    everyone = raw_iv.one("SELECT count(*) FROM patients")
    alive = raw_iv.one("SELECT count(*) FROM last WHERE deathtime IS NULL")
    adult = raw_iv.one("SELECT count(*) FROM kept")
    assert (everyone, alive, adult) == (100, 85, 85)
    assert subjects["subjects in the source"] == everyone
    assert subjects["with at least one stay"] == raw_iv.one("SELECT count(DISTINCT subject_id) FROM admissions")
    assert subjects["discharged alive"] == alive
    assert subjects["18 years or older"] == adult == len(recipe_iv.wide)
    assert recipe_iv.flow[0].stays == raw_iv.one("SELECT count(*) FROM admissions") == 275


def test_jmir_people_and_outcome(raw_iv: Raw, recipe_iv: Ours) -> None:
    cells = recipe_iv.wide.cells
    assert cells["sex"].value_counts().to_dict() == raw_iv.counts("SELECT gender, count(*) FROM kept GROUP BY 1")
    beginnings = """SELECT CASE WHEN race LIKE 'WHITE%' THEN 'white' WHEN race LIKE 'BLACK%' THEN 'black'
        WHEN race LIKE 'ASIAN%' THEN 'asian' WHEN race LIKE 'HISPANIC%' THEN 'hispanic'
        WHEN race LIKE 'UN%' THEN 'unknown' ELSE 'other' END AS word, count(*) FROM kept GROUP BY 1"""
    assert cells["race"].value_counts().to_dict() == raw_iv.counts(beginnings)
    assert cells["age"].sum() == raw_iv.one("SELECT sum(least(age, 91)) FROM kept")
    within = """SELECT count(*) FROM kept
        WHERE date_diff('day', CAST(dischtime AS DATE), CAST(dod AS DATE)) <= 365"""
    assert cells["died_within_year"].sum() == raw_iv.one(within) == 16


def test_jmir_measurements(raw_iv: Raw, recipe_iv: Ours) -> None:
    latest = """SELECT avg(value) FROM (
        SELECT max(CAST({value} AS DOUBLE)) AS value FROM omr o JOIN kept k USING (subject_id)
        WHERE result_name = '{name}' AND chartdate <= dischtime AND NOT EXISTS (
            SELECT 1 FROM omr n WHERE n.subject_id = o.subject_id AND n.result_name = o.result_name
            AND n.chartdate > o.chartdate AND n.chartdate <= k.dischtime)
        GROUP BY subject_id)"""
    for column, name, value in (
        ("bmi", "BMI (kg/m2)", "result_value"),
        ("systolic", "Blood Pressure", "split_part(result_value, '/', 1)"),
        ("diastolic", "Blood Pressure", "split_part(result_value, '/', 2)"),
    ):
        mean = raw_iv.one(latest.format(name=name, value=value))
        assert recipe_iv.wide.cells[column].mean() == pytest.approx(mean, abs=1e-9), column


def test_jmir_patients_of_every_phecode(raw_iv: Raw, recipe_iv: Ours, shared_data: Path) -> None:
    """The tutorial's own way: look a code up, else shorten it by one character, up to two (ICD-9) or three (ICD-10)."""
    raw_iv.db.execute("CREATE OR REPLACE TABLE map (version VARCHAR, code VARCHAR, phecode VARCHAR)")
    for version, file in zip((9, 10), PHECODES, strict=True):
        raw_iv.db.execute(
            f"""INSERT INTO map SELECT '{version}', replace(ICD{version}, '.', ''), PheCode
            FROM read_csv('{shared_data / file}', all_varchar=true, header=true) WHERE PheCode IS NOT NULL"""
        )
    expected = raw_iv.counts("""
        WITH shorter AS (
            SELECT subject_id, icd_code, icd_version, cut, left(icd_code, length(icd_code) - cut) AS code
            FROM diagnoses_icd JOIN kept USING (subject_id), range(4) AS r(cut)
            WHERE length(icd_code) - cut >= 3 AND (icd_version = '10' OR cut <= 2)
        ), hits AS (
            SELECT subject_id, phecode, cut, min(cut) OVER (PARTITION BY subject_id, icd_code, icd_version) AS least
            FROM shorter JOIN map ON map.code = shorter.code AND map.version = shorter.icd_version
        )
        SELECT 'phe_' || phecode, count(DISTINCT subject_id) FROM hits WHERE cut = least GROUP BY 1""")
    assert len(expected) > 400
    assert recipe_iv.codes == expected


def test_jmir_counts_in_the_report(raw_iv: Raw, shared_data: Path, tmp_path: Path) -> None:
    root, maps = shared_data / "mimic-iv-demo", [override.format(shared_data) for override in CATALOG]
    matrix = make(tmp_path / "m", "experiment=jmir_mimic4", f"source.root={root}", *maps)
    told = matrix.provenance
    assert [(step["what"], step["subjects"]) for step in told["flow"]] == [
        ("subjects in the source", raw_iv.one("SELECT count(*) FROM patients")),
        ("with at least one stay", raw_iv.one("SELECT count(DISTINCT subject_id) FROM admissions")),
        ("the last stay", raw_iv.one("SELECT count(*) FROM last")),
        ("discharged alive", raw_iv.one("SELECT count(*) FROM last WHERE deathtime IS NULL")),
        ("18 years or older", raw_iv.one("SELECT count(*) FROM kept")),
    ]
    assert sum(told["rows"].values()) == raw_iv.one("SELECT count(*) FROM kept")
    everyone = pd.concat([matrix.train, matrix.validation, matrix.holdout])
    assert not everyone.isna().any(axis=None), "the recipe fills every gap"
    assert everyone["died_within_year"].sum() == 16
    assert sorted(everyone["subject_id"]) == [
        int(row[0])
        for row in raw_iv.db.execute("SELECT subject_id FROM kept ORDER BY CAST(subject_id AS INT)").fetchall()
    ]


def test_mimic_iv_defaults_patients_of_every_code(raw_iv: Raw, shared_data: Path) -> None:
    root = shared_data / "mimic-iv-demo"
    got = ours("source=mimic_iv", f"source.root={root}")
    procedures = root / "hosp" / "procedures_icd.csv.gz"
    raw_iv.db.execute(
        f"CREATE OR REPLACE TABLE procedures_icd AS FROM read_csv('{procedures}', all_varchar=true, header=true)"
    )
    space = "CASE WHEN icd_version = '10' THEN 'icd10_' ELSE '' END"
    length = "CASE WHEN icd_version = '9' AND icd_code LIKE 'E%' THEN 4 ELSE 3 END"
    expected = {}
    for prefix, table, when in (
        ("dx_", "diagnoses_icd", "true"),
        ("px_", "procedures_icd", "procedures_icd.chartdate <= kept.dischtime"),
    ):
        expected |= raw_iv.counts(f"""SELECT '{prefix}' || {space} || left(icd_code, {length}),
            count(DISTINCT subject_id) FROM {table} JOIN kept USING (subject_id) WHERE {when} GROUP BY 1""")
    assert len(got.wide) == 85
    assert got.codes == expected
    stays = raw_iv.one("SELECT count(*) FROM admissions JOIN kept USING (subject_id)")
    assert got.wide.cells["admissions"].sum() == stays


def test_jmir_records_that_its_outlier_rules_drop(tmp_path: Path) -> None:
    """On a simulated hospital, which mistypes some measurements; the demo's 85 patients have none of these."""
    with Store(threads=1) as store:
        Demo(n=2_000, seed=4, write_raw=tmp_path).read(store)
    raw = Raw({name: tmp_path / "hosp" / f"{name}.csv.gz" for name in ("patients", "admissions", "omr")})
    raw.db.execute("""
        CREATE TABLE latest AS SELECT subject_id, result_name, result_value FROM omr o WHERE chartdate = (
            SELECT max(chartdate) FROM omr n WHERE n.subject_id = o.subject_id AND n.result_name = o.result_name);
        CREATE TABLE wide AS SELECT subject_id,
            max(CASE WHEN result_name LIKE 'BMI%' THEN CAST(result_value AS DOUBLE) END) AS bmi,
            max(CASE WHEN result_name = 'Blood Pressure' THEN CAST(split_part(result_value, '/', 1) AS INT) END)
                AS high,
            max(CASE WHEN result_name = 'Blood Pressure' THEN CAST(split_part(result_value, '/', 2) AS INT) END)
                AS low
        FROM patients LEFT JOIN latest USING (subject_id) GROUP BY subject_id""")
    outliers = "coalesce(bmi < 10 OR bmi > 60, false) OR coalesce(low < 30, false)"
    left = raw.one(f"SELECT count(*) FROM wide WHERE NOT ({outliers})")
    ordered = raw.one(f"SELECT count(*) FROM wide WHERE NOT ({outliers}) AND NOT coalesce(low >= high, false)")
    assert left < 2_000
    matrix = make(tmp_path / "m", "experiment=jmir_mimic4", "features.diagnoses=null", f"source.root={tmp_path}")
    rows = {step["step"]: step["rows"] for step in matrix.provenance["steps"]}
    assert (rows["source"], rows["outliers: drop"], rows["relations"]) == (2_000, left, ordered)


@pytest.fixture(scope="module")
def raw_iii(shared_data: Path) -> Raw:
    folder = shared_data / "mimic-iii-demo"
    tables = ("patients", "admissions", "diagnoses_icd", "procedures_icd")
    return Raw({name: folder / f"{name.upper()}.csv.gz" for name in tables})


def test_ehrdiff_patients_of_every_code(raw_iii: Raw, shared_data: Path) -> None:
    got = ours("experiment=ehrdiff_mimic3", "preprocess=jmir", f"source.root={shared_data / 'mimic-iii-demo'}")
    assert [step.subjects for step in got.flow] == [raw_iii.one("SELECT count(*) FROM patients")] == [100]
    expected = {}
    for prefix, table in (("dx_", "diagnoses_icd"), ("px_", "procedures_icd")):
        expected |= raw_iii.counts(f"""SELECT '{prefix}' || CASE WHEN icd9_code LIKE 'E%' THEN left(icd9_code, 4)
            ELSE left(icd9_code, 3) END, count(DISTINCT subject_id) FROM {table}
            WHERE icd9_code IS NOT NULL GROUP BY 1""")
    assert len(expected) > 300
    assert got.codes == expected
    assert list(got.wide.specs) == sorted(expected)


def test_mimic_iii_defaults(raw_iii: Raw, shared_data: Path) -> None:
    got = ours("source=mimic_iii", f"source.root={shared_data / 'mimic-iii-demo'}")
    raw_iii.db.execute("""CREATE OR REPLACE TABLE kept AS SELECT a.*, dod, date_diff('day', CAST(dob AS DATE),
        CAST(dischtime AS DATE)) / 365.2425 AS age FROM admissions a JOIN patients USING (subject_id)
        WHERE hospital_expire_flag = '0' AND NOT EXISTS (
            SELECT 1 FROM admissions b WHERE b.subject_id = a.subject_id AND b.dischtime > a.dischtime)""")
    assert len(got.wide) == raw_iii.one("SELECT count(*) FROM kept WHERE age >= 18")
    old = got.wide.cells["age"] == 91
    assert old.sum() == raw_iii.one("SELECT count(*) FROM kept WHERE age >= 91")
    young = pd.Series(raw_iii.db.execute("SELECT floor(age) FROM kept WHERE age BETWEEN 18 AND 91").df().iloc[:, 0])
    assert got.wide.cells.loc[~old, "age"].sum() == pytest.approx(young.sum(), abs=2)  # a birthday, a leap day
    within = """SELECT count(*) FROM kept
        WHERE date_diff('day', CAST(dischtime AS DATE), CAST(dod AS DATE)) <= 365"""
    assert got.wide.cells["died_within_year"].sum() == raw_iii.one(within)
