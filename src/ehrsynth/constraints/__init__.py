"""Rules that hold in the clinic, each as one non-negative number per record.

The same ``violation`` serves as a penalty in a loss (it is differentiable), as a policy while sampling and as a
validity score, so the three cannot disagree.
"""

from ehrsynth.constraints.base import Constraint
from ehrsynth.constraints.codes import Exclusive, Implies, OnlyIf
from ehrsynth.constraints.groups import OneHot
from ehrsynth.constraints.numbers import AtMost, Range
from ehrsynth.constraints.reading import from_dict, load, require_columns, save

__all__ = [
    "AtMost",
    "Constraint",
    "Exclusive",
    "Implies",
    "OneHot",
    "OnlyIf",
    "Range",
    "from_dict",
    "load",
    "require_columns",
    "save",
]
