"""From a trained model to synthetic records and tables.

``wanted`` reads what people ask, ``questions`` says what each record is asked for, ``draw`` has a model answer.
"""

from ehrsynth.sampling.acceptance import Acceptance
from ehrsynth.sampling.draw import Ruled, sample_records, synthesize

__all__ = ["Acceptance", "Ruled", "sample_records", "synthesize"]
