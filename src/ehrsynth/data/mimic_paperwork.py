"""What the desk writes down at the simulated hospital, in MIMIC-IV's words; nothing clinical depends on it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionArray

OF_PATIENT = {
    "language": {"ENGLISH": 0.9, "?": 0.1},
    "marital_status": {"MARRIED": 0.45, "SINGLE": 0.35, "WIDOWED": 0.12, "DIVORCED": 0.08},
}
OF_STAY = {
    "admission_type": {"EW EMER.": 0.5, "OBSERVATION ADMIT": 0.2, "URGENT": 0.17, "ELECTIVE": 0.13},
    "admission_location": {"EMERGENCY ROOM": 0.6, "PHYSICIAN REFERRAL": 0.3, "TRANSFER FROM HOSPITAL": 0.1},
    "discharge_location": {"HOME": 0.55, "HOME HEALTH CARE": 0.25, "SKILLED NURSING FACILITY": 0.2},
}
INSURANCE = {True: {"Medicare": 0.85, "Other": 0.15}, False: {"Other": 0.7, "Medicaid": 0.22, "Medicare": 0.08}}
RETIRED = 65  # years of age from which the first of these holds


def paperwork(
    age: NDArray[np.int64], patient: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, ExtensionArray]:
    """Draw the words of every stay.

    Args:
        age: of each patient, in years.
        patient: of each stay, as an index of ``age``.
        rng: to draw from.

    Returns:
        Columns of MIMIC-IV's ``admissions``, one value a stay.
    """
    words = {name: _draw(shares, len(age), rng)[patient] for name, shares in OF_PATIENT.items()}
    old, young = (_draw(INSURANCE[retired], len(age), rng) for retired in (True, False))
    words["insurance"] = np.where(age >= RETIRED, old, young)[patient]
    words |= {name: _draw(shares, len(patient), rng) for name, shares in OF_STAY.items()}
    return {name: pd.Categorical(values) for name, values in words.items()}


def _draw(shares: Mapping[str, float], n: int, rng: np.random.Generator) -> NDArray[np.str_]:
    return rng.choice(np.array(list(shares)), n, p=list(shares.values()))
