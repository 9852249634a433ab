"""Trajectories of the public demos against SQL over their raw tables, and through MEDS and OMOP."""

from pathlib import Path

import duckdb
import numpy as np
import pytest

from ehrsynth.data.split import SPLITS
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.visits import Visits
from tests import exports
from tests.trajectories import assert_equal, prepared

EVERY = ("preprocess.min_count=0", "preprocess.min_prevalence=0", "constraints=none")
CATEGORY = "CASE WHEN version = 9 AND starts_with(code, 'E') THEN left(code, 4) ELSE left(code, 3) END"


def everyone(made: Trajectories) -> tuple[Visits, np.ndarray]:
    """Return the visits of all parts, and the subjects."""
    static = [made.static(part) for part in SPLITS]
    return Visits.joined([made.visits(part) for part in SPLITS]), np.concatenate([s["subject_id"] for s in static])


@pytest.fixture(scope="module")
def mimic_iv(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trajectories:
    folder = tmp_path_factory.mktemp("mimic_iv") / "made"
    return prepared(folder, "source=mimic_iv", f"source.root={shared_data / 'mimic-iv-demo'}", *EVERY)


def counted(sql: duckdb.DuckDBPyConnection, query: str) -> dict[int, int]:
    """Return a count for each subject."""
    return {int(subject): int(n) for subject, n in sql.execute(query).fetchall()}


def test_mimic_iv_against_sql(mimic_iv: Trajectories, shared_data: Path) -> None:
    visits, subjects = everyone(mimic_iv)
    hosp, sql = shared_data / "mimic-iv-demo" / "hosp", duckdb.connect()
    sql.execute("CREATE TABLE mine (subject_id BIGINT)")
    sql.executemany("INSERT INTO mine VALUES (?)", [(int(subject),) for subject in subjects])
    stay = ~np.isin(visits.kinds, [mimic_iv.visit_schema.kinds.index(k) for k in mimic_iv.visit_schema.ambulatory])
    admissions = f"(SELECT * FROM '{hosp}/admissions.csv.gz' SEMI JOIN mine USING (subject_id))"
    wanted = counted(sql, f"SELECT subject_id, count(*) FROM {admissions} GROUP BY 1")
    assert dict(zip(subjects, np.bincount(visits.patient[stay], minlength=len(visits)), strict=True)) == wanted
    for domain, table in (("diagnosis", "diagnoses_icd"), ("procedure", "procedures_icd")):
        coded = f"""(SELECT hadm_id, subject_id, icd_version AS version, trim(icd_code::VARCHAR) AS code
            FROM read_csv('{hosp}/{table}.csv.gz', types={{'icd_code': 'VARCHAR'}})
            SEMI JOIN mine USING (subject_id))"""
        pairs = f"SELECT DISTINCT subject_id, hadm_id, version, {CATEGORY} AS category FROM {coded}"
        wanted = counted(sql, f"SELECT subject_id, count(*) FROM ({pairs}) GROUP BY 1")
        places = mimic_iv.visit_schema.domains[domain]
        owner = visits.patient[visits.visit_of_code[(visits.codes >= places.start) & (visits.codes < places.stop)]]
        found = {int(subjects[i]): int(n) for i, n in enumerate(np.bincount(owner, minlength=len(visits))) if n}
        assert found == wanted
    measured = f"""SELECT DISTINCT o.subject_id, o.chartdate::DATE AS day FROM '{hosp}/omr.csv.gz' o
        JOIN (SELECT subject_id, max(admittime) AS came, arg_max(dischtime, admittime) AS until FROM {admissions}
            GROUP BY 1) i ON o.subject_id = i.subject_id AND o.chartdate <= i.until
        WHERE result_name IN ('BMI (kg/m2)', 'Blood Pressure') AND NOT starts_with(result_value, '0/')"""
    outside = f"""SELECT m.subject_id, count(*) FROM ({measured}) m WHERE NOT EXISTS (SELECT 1 FROM {admissions} a
        WHERE a.subject_id = m.subject_id AND m.day BETWEEN a.admittime::DATE AND a.dischtime::DATE) GROUP BY 1"""
    owner = visits.patient[~stay]
    found = {int(subjects[i]): int(n) for i, n in enumerate(np.bincount(owner, minlength=len(visits))) if n}
    assert found == counted(sql, outside)
    assert set(mimic_iv.visit_schema.ambulatory) == {"outpatient"}


def test_mimic_iii_against_sql(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "mimic-iii-demo"
    made = prepared(tmp_path / "made", "source=mimic_iii", f"source.root={root}", *EVERY)
    visits, subjects = everyone(made)
    sql = duckdb.connect()
    sql.execute("CREATE TABLE mine (subject_id BIGINT)")
    sql.executemany("INSERT INTO mine VALUES (?)", [(int(subject),) for subject in subjects])
    stays = f"SELECT subject_id, count(*) FROM '{root}/ADMISSIONS.csv.gz' SEMI JOIN mine USING (subject_id) GROUP BY 1"
    assert dict(zip(subjects, visits.per_patient, strict=True)) == counted(sql, stays)
    total = 0
    for table in ("DIAGNOSES_ICD", "PROCEDURES_ICD"):
        sql.execute(
            f"""CREATE OR REPLACE TABLE coded AS SELECT *, 9 AS version, trim(icd9_code) AS code
            FROM read_csv('{root}/{table}.csv.gz', types={{'icd9_code': 'VARCHAR'}})
            SEMI JOIN mine USING (subject_id)"""
        )
        pairs = f"SELECT DISTINCT hadm_id, {CATEGORY} FROM coded WHERE code IS NOT NULL"
        total += sql.execute(f"SELECT count(*) FROM ({pairs})").fetchone()[0]  # type: ignore[index]
    assert len(visits.codes) == total > 900


@pytest.mark.study
def test_the_same_patients_through_meds_and_omop(mimic_iv: Trajectories, shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("meds")
    mimic = exports.read_mimic(shared_data / "mimic-iv-demo")
    meds = prepared(
        tmp_path / "m", "source=meds", f"source.root={exports.write_meds(mimic, tmp_path / 'meds')}", *EVERY
    )
    wanted, _ = everyone(mimic_iv)
    assert meds.visit_schema.kinds == mimic_iv.visit_schema.kinds
    for part in SPLITS:
        assert_equal(meds.visits(part), mimic_iv.visits(part))
    root = exports.write_folder(exports.omop_tables(mimic), tmp_path / "omop")
    omop = prepared(tmp_path / "o", "source=omop", f"source.root={root}", "features.drugs=null", *EVERY)
    assert [c.name for c in omop.visit_schema.codes] == [c.name for c in mimic_iv.visit_schema.codes]
    assert omop.visit_schema.ambulatory == ("Outpatient Visit",)
    both = everyone(omop)[0], wanted
    stays = [
        visits.kinds < len(made.visit_schema.kinds) - 1 for visits, made in zip(both, (omop, mimic_iv), strict=True)
    ]
    for name in ("starts", "ends"):
        np.testing.assert_array_equal(*(getattr(v, name)[mine] for v, mine in zip(both, stays, strict=True)))
    coded = [v.codes[mine[v.visit_of_code]] for v, mine in zip(both, stays, strict=True)]
    np.testing.assert_array_equal(*coded)
    assert len(both[0].values) == len(both[1].values)
