"""The cards of attribute inference."""

import math

from ehrsynth.evaluation.card import BENCHMARK, JMIR, Card

SCORE = (
    "F1 of each hidden 0/1 column, the share within 10 % of the true value of each continuous one, averaged with"
    " weights by entropy in R"
)
DEFAULT = (
    "The attacker knows demographics, outcomes and the most frequent codes of a patient, as many as leave half of the"
    " positives hidden, takes the nearest records of S (squared L2 over the encoded known columns, k = 1, all ties"
    f" vote) and guesses the rest: {SCORE}"
)
PAPER = f"{BENCHMARK}; {JMIR} (AIR)"
ON_TRAIN = Card(
    name="privacy/attribute_f1",
    direction="lower",
    low=0,
    high=1,
    definition=f"{DEFAULT}; on R. Interval: bootstrap over records.",
    reading="How well hidden codes of a training patient are guessed. Medicine itself makes codes predictable, so"
    " most of this is knowledge and no leak: read attribute_f1_excess. Continuous columns have the most entropy, so"
    " they weigh most.",
    paper=PAPER,
)
ON_HOLDOUT = Card(
    name="privacy/attribute_f1_holdout",
    direction="lower",
    low=0,
    high=1,
    definition=f"{DEFAULT}; on H. Interval: bootstrap over records.",
    reading="The same attack on patients the generator never saw: what S teaches about medicine in general.",
    paper=PAPER,
)
EXCESS = Card(
    name="privacy/attribute_f1_excess",
    direction="lower",
    low=-1,
    high=1,
    definition="attribute_f1 minus attribute_f1_holdout. Interval: bootstrap over the records of both.",
    reading="What a patient loses by having been in the training rows; an interval around 0 shows no loss to this"
    " attack. It is an average: single patients may stand out.",
    paper=f"{PAPER}, with the control of Giomi et al., PoPETs 2023 (anonymeter)",
)
KNOWN = Card(
    name="privacy/attribute_known_codes",
    direction="lower",
    low=0,
    high=math.inf,
    definition="Number of codes that the attacker of attribute_f1 knows.",
    reading="A description of the attack, the same for every synthetic table; no merit in either direction.",
    paper="-",
)
POSITIVES = Card(
    name="privacy/attribute_hidden_positives",
    direction="lower",
    low=0,
    high=math.inf,
    definition="Number of ones in the hidden 0/1 columns of the attacked training records.",
    reading="A description of the attack: with few of them there is nothing to infer and F1 means nothing.",
    paper="-",
)
PUBLISHED = Card(
    name="privacy/attribute_f1_published",
    direction="lower",
    low=0,
    high=1,
    definition="The attacker knows demographics, outcomes and the 256 most frequent codes, takes the nearest records of"
    " S (L1 over the known columns in raw units, each divided by the larger of 1 and its largest difference to this"
    f" patient, k = 1, all ties vote) and guesses the mode: {SCORE} (values in bins of width 1); on R. Interval:"
    " bootstrap over records.",
    reading="The attack as the papers' code runs it, without a control. With a few hundred codes in all it says"
    " nothing: of 461 codes the 205 rarest stay hidden, 257 positives in 2,000 records, and F1 was 0 for every"
    " generator tried. What remains is the weight of the hidden continuous columns, which medicine makes predictable."
    " Read attribute_f1_excess.",
    paper=f"{PAPER}, as coded",
)
