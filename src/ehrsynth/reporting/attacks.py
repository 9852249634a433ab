"""The attacks a privacy officer asks about: which metrics tell of each, and what each does and does not show."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    """One way to learn about a patient.

    Attributes:
        name: in plain words.
        question: what the attacker wants to know.
        knows: what the attacker is given.
        metrics: whose results are shown, the most telling first.
        limits: what a clean result does not show.
    """

    name: str
    question: str
    knows: str
    metrics: tuple[str, ...]
    limits: str


LOW_RATES = "tpr_at_1pct_fpr", "tpr_at_01pct_fpr"

ATTACKS = (
    Attack(
        "Membership by distance",
        "Was this person among the training patients?",
        "the person's whole record",
        ("privacy/membership_auc", *(f"privacy/membership_{rate}" for rate in LOW_RATES)),
        "Speaks of the average patient; rare patients may be easier to find.",
    ),
    Attack(
        "Membership by density",
        "The same, by where the synthetic records crowd more than other patients do.",
        "the person's whole record, and records of other patients",
        ("privacy/membership_density_auc", *(f"privacy/membership_density_{rate}" for rate in LOW_RATES)),
        "Depends on how alike the other patients are to the cohort.",
    ),
    Attack(
        "Membership by classifier",
        "The same, by a model trained to tell synthetic from other records.",
        "the person's whole record, and records of other patients",
        ("privacy/membership_classifier_auc", *(f"privacy/membership_classifier_{rate}" for rate in LOW_RATES)),
        "A model trained on more data may do better.",
    ),
    Attack(
        "Copies",
        "Does the table repeat training records, more often than patients resemble one another by chance?",
        "nothing; rows are compared",
        ("privacy/copies_excess", "privacy/near_copies_excess", "privacy/isolated_copies"),
        "Says nothing of what is learned without being copied.",
    ),
    Attack(
        "Attribute inference",
        "Can unknown codes of a person be guessed from the most similar synthetic record?",
        "demographics and the most frequent codes",
        ("privacy/attribute_f1_excess",),
        "One nearest record guesses; a model may guess better.",
    ),
    Attack(
        "Inference of one value",
        "The same for single secrets, everything else being known.",
        "all columns but one",
        ("privacy/inference",),
        "Averaged over the secrets tried.",
    ),
    Attack(
        "Singling out",
        "Does the table give a description that fits exactly one training patient?",
        "the synthetic table only",
        ("privacy/singling_out",),
        "Only the kinds of descriptions that were tried.",
    ),
    Attack(
        "Linkability",
        "Can two separate halves of a record be recognised as one person's?",
        "two sets of columns without a common key",
        ("privacy/linkability",),
        "Only the split of columns that was tried.",
    ),
    Attack(
        "Identity disclosure",
        "Can a record be matched to a person by quasi-identifiers, and is something new learned?",
        "quasi-identifiers such as age, sex and race",
        ("privacy/identity_disclosure",),
        "Rests on published rates of verification, and on which columns count as quasi-identifiers.",
    ),
    Attack(
        "Closeness",
        "Are synthetic records nearer to training patients than to other patients?",
        "nothing; distances are compared",
        ("privacy/dcr_share", "privacy/nnaa_risk"),
        "A table of few, alike records passes as well.",
    ),
)

RESULTS = {
    **dict.fromkeys(
        (f"privacy/membership_{kind}auc" for kind in ("", "density_", "classifier_")), "AUC, 0.5 is a coin toss"
    ),
    **{
        f"privacy/membership_{kind}{rate}": f"found at {share} % false alarms"
        for kind in ("", "density_", "classifier_")
        for rate, share in zip(LOW_RATES, ("1", "0.1"), strict=True)
    },
    "privacy/copies_excess": "equal records, above chance",
    "privacy/near_copies_excess": "nearly equal records, above chance",
    "privacy/isolated_copies": "like one patient only, above chance",
    "privacy/attribute_f1_excess": "F1 of the guesses, above unseen patients",
    "privacy/inference": "right guesses, above unseen patients",
    "privacy/singling_out": "descriptions that fit, above unseen patients",
    "privacy/linkability": "right links, above unseen patients",
    "privacy/identity_disclosure": "patients at risk",
    "privacy/dcr_share": "records nearer to training patients",
    "privacy/nnaa_risk": "NNAA, above unseen patients",
}
"""What each result is, for readers who do not know the metric."""

STRENGTH_WORDS = {
    "members": "training patients",
    "others": "other patients",
    "reference": "known other patients",
    "synthetic": "synthetic records used",
    "squared distance at most": "alike: distance up to",
    "others farther by": "others farther by",
    "parts of R": "parts of the training table",
    "nodes": "coarsenings tried",
    "lattice": "coarsenings possible",
    "identifiers": "quasi-identifiers",
    "hidden positives": "values to be guessed",
}
"""What a strength is called where its own name is short."""

NEVER_RUN = (
    "attacks with shadow models, which retrain the generator many times with and without a person",
    "attacks on the model itself (its weights or unlimited samples)",
    "linkage with outside registers, or with other releases from the same hospital",
)
"""What no suite here tries."""
