"""Search over the settings of a model."""

from ehrsynth.study.search.carry_out import Search as Search
from ehrsynth.study.search.carry_out import run as run
from ehrsynth.study.search.carry_out import search as search
