"""The cards of the utility scores."""

from ehrsynth.evaluation.card import JMIR, Card

ARMS = {"trtr": ("R", "H"), "tstr": ("S", "H"), "trts": ("R", "S"), "hybrid": ("R and equally many rows of S", "H")}
MEASURES = {
    "auroc": "Area under the ROC curve (interval: DeLong)",
    "auprc": "Average precision (interval: logit)",
    "f1": "F1, calling positive as many as the training table has (interval: bootstrap, threshold fixed),",
}
MEAN = (
    "all columns but the outcomes as features; mean over the outcome columns, and within a categorical one over its"
    " levels, each against the rest"
)
READINGS = {
    ("trtr", ""): "The same for every synthetic table: what real training data reach, and so the mark for tstr.",
    ("tstr", "auroc"): "How well a model that saw only synthetic patients ranks real ones by risk; 0.5 is a coin. One"
    " kind of model: others may fare differently (see the logistic and mlp scores), and calibration is not judged.",
    ("tstr", "auprc"): "The same question for a rare outcome: how pure is the top of the ranking. Its floor is the"
    " prevalence, not 0.5.",
    ("tstr", "f1"): "The same model at one working point. It suffers when the outcome is too frequent or too rare in"
    " S.",
    ("trts", ""): "Do synthetic patients obey the rules learned from real ones? A generator that makes outcomes too"
    " easy to tell scores above trtr, so more than trtr is no praise; read it beside tstr.",
    ("hybrid", ""): "Do synthetic patients help where real ones are at hand? Only what exceeds trtr is gained; on real"
    " data that is seldom more than the interval, and a useless table still scores near trtr, since R is in the"
    " training (diabetes130: independent columns 0.844, trtr 0.852). Its parts tell other mixing ratios and subgroups.",
}
OVERLAP = Card(
    name="utility/feature_importance_overlap",
    direction="higher",
    low=0,
    high=1,
    definition="Share in common of the 20 features with the largest mean |SHAP| on rows of H (drawn at random), of the"
    " boosted trees trained on R and on S; mean over the tasks; interval: bootstrap over those rows.",
    reading="Would a model trained on synthetic data explain itself by the same features? The order within the 20"
    " does not count, and features that stand for each other may swap: another sample of real patients does not reach"
    " 1, so read it between the anchors. On diabetes130 it does not discriminate (fresh patients 0.55, independent"
    " columns 0.55), since trees use the frequent columns in any case. The interval leaves out the chance in training"
    " the models.",
    paper=JMIR,
)


def performance_cards(arm: str) -> dict[str, Card]:
    """Return the cards of AUROC, AUPRC and F1 of the boosted trees by their measure."""
    trained, tested = ARMS[arm]
    return {
        measure: Card(
            name=f"utility/{arm}_{measure}",
            direction="higher",
            low=0,
            high=1,
            definition=f"{words} on {tested} of boosted trees (LightGBM) trained on {trained}; {MEAN}.",
            reading=READINGS.get((arm, measure)) or READINGS[arm, ""],
            paper=JMIR,
        )
        for measure, words in MEASURES.items()
    }


def model_card(arm: str, model: str, words: str) -> Card:
    """Return the card of the AUROC of another kind of model."""
    return Card(
        name=f"utility/{arm}_auroc_{model}",
        direction="higher",
        low=0,
        high=1,
        definition=f"{MEASURES['auroc']} on H of {words} trained on {ARMS[arm][0]} (columns standardised by R, missing"
        f" values filled with R's mean beside their indicators); {MEAN}.",
        reading=READINGS["trtr", ""]
        if arm == "trtr"
        else "Does the verdict of tstr_auroc hold for another kind of model? Where the kinds disagree, the synthetic"
        " table has lost what the weaker ones rest on. Calibration is not judged.",
        paper=f"{JMIR}, for the question; the kinds of model as in common practice",
    )
