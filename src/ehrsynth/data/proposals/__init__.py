"""Rules that the training rows keep without exception, for people to read, edit and hand back."""

from ehrsynth.data.proposals.check import LEAST_SUPPORT, Checked, checked
from ehrsynth.data.proposals.file import read_rules, write_rules
from ehrsynth.data.proposals.propose import PROPOSE, contradicted, propose, rules_file, rules_of

__all__ = [
    "LEAST_SUPPORT",
    "PROPOSE",
    "Checked",
    "checked",
    "contradicted",
    "propose",
    "read_rules",
    "rules_file",
    "rules_of",
    "write_rules",
]
