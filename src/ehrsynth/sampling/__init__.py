"""From a trained model to synthetic records and tables.

``wanted`` reads what people ask, ``questions`` says what each record is asked for, ``draw`` has a model answer, and
``calibrated`` keeps those of its answers that together have the shares of the training rows.
"""

from ehrsynth.sampling.acceptance import Acceptance
from ehrsynth.sampling.calibrated import Calibration
from ehrsynth.sampling.draw import Ruled, sample_records, synthesize

__all__ = ["Acceptance", "Calibration", "Ruled", "sample_records", "synthesize"]
