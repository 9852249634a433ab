"""Two patients through time, for what is handed out."""

import numpy as np
import pandas as pd

from ehrsynth.visits import DAY, UNKNOWN, Code, Measurement, Visits, VisitSchema, ragged

SCHEMA = VisitSchema(
    kinds=("EW EMER.", "clinic"),
    codes=(Code("dx_250.00", "diagnosis", "Diabetes"), Code("rx_a//b", "medication"), Code("code_x", "code")),
    measurements=(
        Measurement("glucose", "lab", "mg/dL", (20.0, 900.0), 1),
        Measurement("score", "other", "", (0, 9), 0),
    ),
    ambulatory=("clinic",),
)


def two() -> Visits:
    """A stay and a clinic of one who dies in it; a stay that goes on of another."""
    code_offsets, codes = ragged([[0, 1], [], [2]])
    value_offsets, measured = ragged([[0, 1], [0], []])
    return Visits(
        offsets=np.array([0, 2, 3]),
        starts=np.array([10, 40, 5]) * DAY,
        ends=np.array([12 * DAY, 40 * DAY + 1, UNKNOWN]),
        kinds=np.array([0, 1, 0], np.int16),
        code_offsets=code_offsets,
        codes=codes,
        value_offsets=value_offsets,
        measured=measured,
        values=np.array([100.5, 3, 0.1], np.float32),
        born=np.array([UNKNOWN, -100 * DAY]),
        died=np.array([12 * DAY, UNKNOWN]),
    )


STATIC = pd.DataFrame(
    {
        "subject_id": [77, 88],
        "sex": ["F", None],
        "race": ["white", "other"],
        "score": [1.5, np.nan],
        "word": ["a", None],
    }
)
