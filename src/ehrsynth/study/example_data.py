"""The simulated hospital in time as example data: the same patients in four forms, and the truth that was planted.

    mimic-iv/hosp/*.csv.gz   raw tables in the layout of MIMIC-IV 2.2
    meds/                    MEDS 0.4, with splits
    omop/                    OMOP CDM 5.4, Parquet
    fhir/                    FHIR R4, bulk NDJSON
    truth.json               hazards, hazard ratios, gaps, seasons and the rest that the simulation was made by

The k-th subject of MIMIC-IV is patient k of the others. These hold the patients as ``prepare`` gives them: codes by the
names of columns, and of several values of a test in a stay the last.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ehrsynth.data import hospital_visits as hospital
from ehrsynth.data.fhir_out import write_fhir
from ehrsynth.data.meds_out import write_meds
from ehrsynth.data.mimic_tables import FIRST_SUBJECT
from ehrsynth.data.omop_out import write_omop
from ehrsynth.data.sources.demo_visits import DemoVisits
from ehrsynth.data.split import SPLITS
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.data.trajectories_out import new_folder
from ehrsynth.files import scratch_folder, write_json
from ehrsynth.study.prepare import prepare
from ehrsynth.visits import Visits

EVERYTHING = {"min_count": 1, "min_prevalence": 0, "min_level": 1, "bounds": "exact"}  # nobody here is to be protected


def write_examples(out: str | Path, n: int = 2000, seed: int = 0) -> Path:
    """Simulate patients and write them in every form.

    Args:
        out: a folder that does not exist yet.
        n: patients.
        seed: of the simulation.

    Returns:
        The folder.

    Raises:
        OptionError: it is there already, or there are too few patients.
    """
    with new_folder(Path(out)) as aside, scratch_folder() as scratch:
        source = DemoVisits(n=n, seed=seed, write_raw=aside / "mimic-iv")
        made = prepare(
            source,
            form="trajectories",
            cohort="demo_visits",
            features="demo_visits",
            preprocess=EVERYTHING,
            out=scratch / "trajectories",
        )
        assert isinstance(made, Trajectories)
        static = pd.concat([made.static(part) for part in SPLITS], ignore_index=True)
        order = np.argsort(static["subject_id"].to_numpy())
        visits = Visits.joined([made.visits(part) for part in SPLITS]).of_patients(order)
        parts = [part for part in SPLITS for _ in range(len(made.visits(part)))]
        told = visits, made.visit_schema, static.iloc[order]
        write_meds(*told, aside / "meds", parts=[parts[row] for row in order])
        write_omop(*told, aside / "omop")
        write_fhir(*told, aside / "fhir")
        write_json(aside / "truth.json", truth(n, seed))
    return Path(out)


def truth(n: int, seed: int) -> dict[str, Any]:
    """Return what the simulation was made by, in the symbols of ``ehrsynth.data.hospital_visits``."""
    formulas = (hospital.__doc__ or "").strip()
    return {
        "simulation": {"source": "demo_visits", "n": n, "seed": seed, "first_subject": FIRST_SUBJECT},
        "formulas": formulas,
        "chronic": {code: asdict(entry) for code, entry in hospital.CHRONIC.items()},
        "acute": {code: asdict(entry) for code, entry in hospital.ACUTE.items()},
        "hazard_ratios": [
            {"cause": cause, "effect": effect, "ratio": ratio}
            for (cause, effect), ratio in hospital.PROGRESSION.items()
        ],
        "gap": {"mean": hospital.GAP_MEAN, "slope": hospital.GAP_SLOPE, "sd": hospital.GAP_SD},
        "season": {"amplitude": hospital.SEASON, "peak_day": hospital.PEAK},
        "stay": {"mean": hospital.STAY_MEAN, "slope": hospital.STAY_SLOPE, "sd": hospital.STAY_SD},
        "death": {
            "base": hospital.DEATH_BASE,
            "rate_per_day": hospital.DEATH_RATE,
            "severity": hospital.DEATH_SEVERITY,
            "age": hospital.DEATH_AGE,
            "weight_of_grave_acute": hospital.ACUTE_WEIGHT,
        },
        "drug_given": hospital.GIVEN,
        "labs": {name: asdict(lab) for name, lab in hospital.LABS.items()},
        "measured": {"in_a_stay": hospital.MEASURED, "again": hospital.AGAIN},
        "female_share": hospital.FEMALE_SHARE,
        "races": hospital.RACES,
        "follow_up_days": hospital.FOLLOW_UP,
    }
