"""The demo source against plain recomputation from its raw tables, in memory and as they are written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.utils import instantiate

from ehrsynth.data.events import COLUMNS, make_timeline
from ehrsynth.data.hospital import conditions
from ehrsynth.data.mimic_tables import OFFICIAL, simulate
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.demo import Demo
from ehrsynth.data.sources.mimic import MimicIV
from ehrsynth.data.store import Store
from ehrsynth.data.wide import widen
from ehrsynth.errors import OptionError
from tests.matrices import config, features


def test_demo_matrix_is_what_its_raw_tables_say() -> None:
    cfg = config("source=demo")
    with Store(threads=1) as store:
        Demo(n=150, seed=2).read(store)
        make_timeline(store)
        instantiate(cfg.cohort, _convert_="all").choose(store)
        wide = widen(store, features(cfg)).frame()
    wide = wide.set_index("subject_id")
    tables, table = simulate(150, 2), conditions()
    for subject, patient in tables.patients.set_index("subject_id").iloc[:40].iterrows():
        stays = tables.admissions[tables.admissions["subject_id"] == subject]
        rows = tables.diagnoses_icd[tables.diagnoses_icd["subject_id"] == subject]
        expected = set()
        for code, version in zip(rows["icd_code"], rows["icd_version"], strict=True):
            expected.add("dx_" + table.loc[table["icd9" if version == 9 else "icd10"] == code, "icd9"].item())
        assert {name for name in wide.columns[wide.loc[subject] == 1] if name.startswith("dx_")} == expected
        assert wide.at[subject, "sex"] == patient["gender"]
        assert wide.at[subject, "admissions"] == len(stays)
        days = (stays["dischtime"] - stays["admittime"]).sum() / pd.Timedelta(days=1)
        assert wide.at[subject, "days"] == round(days)
        pressure = tables.omr[(tables.omr["subject_id"] == subject) & (tables.omr["result_name"] == "Blood Pressure")]
        if pressure.empty:
            assert np.isnan(wide.at[subject, "systolic"])
        else:
            high, low = pressure.sort_values("chartdate")["result_value"].iloc[-1].split("/")
            assert (wide.at[subject, "systolic"], wide.at[subject, "diastolic"]) == (float(high), float(low))
        assert wide.at[subject, "died_within_year"] == int(not pd.isna(patient["dod"]))


def events(source: Source) -> pd.DataFrame:
    with Store(threads=1) as store:
        source.read(store)
        return store.frame(f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY ALL")


def test_demo_writes_raw_tables_that_mimic_iv_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrsynth.data.mimic_tables.CHUNK", 150)  # written in pieces
    said = events(Demo(n=400, seed=3, write_raw=tmp_path))
    assert sorted(path.name for path in (tmp_path / "hosp").iterdir()) == sorted(f"{name}.csv.gz" for name in OFFICIAL)
    pd.testing.assert_frame_equal(events(MimicIV(root=tmp_path)), said)
    tables = simulate(400, 3)
    for name, columns in OFFICIAL.items():
        written = pd.read_csv(tmp_path / "hosp" / f"{name}.csv.gz", dtype=str)
        assert list(written) == list(columns)
        for column in set(columns) & set(getattr(tables, name)):
            expected = getattr(tables, name)[column].astype(str).replace("NaT", np.nan)
            assert written[column].tolist() == pytest.approx(expected.tolist(), nan_ok=True), (name, column)


def test_the_desk_of_the_simulated_hospital_writes_what_mimic_writes() -> None:
    said = events(Demo(n=2_000, seed=1))
    shares = said[said["domain"] == "insurance"]["code"].value_counts(normalize=True)
    assert set(shares.index) == {"Medicare", "Medicaid", "Other"}
    assert said[said["domain"] == "discharge"]["numeric_value"].eq(0).all()
    assert not said["code"][said["domain"].isin(["admission", "language", "marital_status"])].isna().any()


def test_demo_refuses_a_seed_that_is_no_whole_number() -> None:
    with pytest.raises(OptionError, match=r"source\.seed=1\.5"):
        Demo(seed=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, 99, 1.5])
def test_demo_refuses_too_few_patients(n: int) -> None:
    with pytest.raises(OptionError, match=r"source\.n"):
        Demo(n=n)
