"""Rules that hold in the clinic, each as one non-negative number per record.

The same compiled ``Rules`` serve as a penalty in a loss (they are differentiable), as a policy while sampling and as a
validity score, so the three cannot disagree.

As a penalty, a rule over 0/1 columns is the chance that it is broken if the columns were independent: p(a) (1 - p(b))
for an implication. That form is ours. Yan et al., AMIA Annu Symp Proc 2020:1335, on whom the JMIR tutorial relies, add
penalties to the loss of a GAN's generator too, but no text of theirs with the equation was at hand to compare with.
"""

from ehrsynth.constraints.base import Constraint, Rules
from ehrsynth.constraints.policy import Policy, enforced
from ehrsynth.constraints.reading import from_dict, load, require_columns, save
from ehrsynth.constraints.repair import repaired
from ehrsynth.constraints.rules import AtMost, Exclusive, Implies, OneHot, OnlyIf, Range

__all__ = [
    "AtMost",
    "Constraint",
    "Exclusive",
    "Implies",
    "OneHot",
    "OnlyIf",
    "Policy",
    "Range",
    "Rules",
    "enforced",
    "from_dict",
    "load",
    "repaired",
    "require_columns",
    "save",
]
