"""The cards of the fairness scores."""

from ehrsynth.evaluation.card import Card

WORST = (
    "the worst protected attribute (sensitive columns, or else sex, race and other demographics; and age in five bands)"
)
CHANCE = (
    " The largest gap of several small subgroups is above zero by chance alone: read it between the anchors, where"
    " fresh_real shows that floor."
)
FIXED = "the two subgroups taken as named beforehand"

REPRESENTATION = Card(
    name="fairness/representation",
    direction="lower",
    low=0,
    high=1,
    definition="Total variation distance 0.5 * sum over subgroups of |share in S - share in R|, of"
    f" {WORST}; records of S with a level that the schema lacks are one more subgroup. Newcombe interval.",
    reading="Are all kinds of patients there in their real numbers? Fair shares say nothing about how truly each"
    " subgroup is drawn: a table of independent columns has them too.",
    paper="Bhanot et al., Entropy 2021 (fairness of synthetic health data), as a distance of shares",
)
UTILITY = Card(
    name="fairness/utility_gap",
    direction="lower",
    low=0,
    high=1,
    definition=f"Best minus worst AUROC on H over the subgroups of {WORST}, of the boosted trees trained on S; mean"
    f" over the tasks. Interval: DeLong, {FIXED}. Parts: the same gap of the trees trained on R,"
    " and the excess over it.",
    reading="Do models built on synthetic patients serve some kinds of patients worse? A part of the gap is in the"
    " real data (attribute_real); attribute_excess is what the synthetic data add. A useless table may"
    " have no gap: read it beside tstr_auroc. On diabetes130 it tells nothing by itself (fresh patients 0.13,"
    " independent columns 0.12), for subgroups with a dozen outcomes decide it; with min_rows=1000 the gap is that of"
    f" the real data.{CHANCE}",
    paper="Bhanot et al., Entropy 2021; Yan et al., JMIR AI 2024, for the models",
)
PRIVACY = Card(
    name="fairness/privacy_gap",
    direction="lower",
    low=0,
    high=1,
    definition="Largest minus smallest membership AUC (squared L2 distance to the nearest record of S, R against H)"
    f" over the subgroups of {WORST}. Interval: DeLong, {FIXED}.",
    reading="Is membership easier to infer for some kinds of patients? Where nobody is memorised every"
    " AUC is near 0.5 and the gap is that of chance (fresh patients of diabetes130 0.09); where all are, it closes"
    f" again (a full copy 0.02): it says who is exposed, membership_auc how much.{CHANCE} It is this attack only.",
    paper="Kulynych et al., PoPETs 2022 (disparate vulnerability to membership inference)",
)
OPPORTUNITY = Card(
    name="fairness/equal_opportunity_gap",
    direction="lower",
    low=-1,
    high=1,
    definition="Largest gap of the true positive rate on H over the subgroups of an attribute, of the boosted trees"
    " trained on S, minus that of the trees trained on R; each calls as many of H positive as its training table has;"
    f" {WORST}; mean over the tasks. Interval: paired by records, {FIXED}.",
    reading="Of the patients with the outcome, are more missed in some subgroups than a model of real data would miss?"
    " 0: as fair or unfair as with real data; negative: fairer, which a model that knows nothing may also be. It"
    " speaks of one threshold, and on diabetes130 the interval is wider than any difference between the anchors.",
    paper="Hardt, Price and Srebro, NeurIPS 2016, as a difference to the model of real data",
)
PARITY = Card(
    name="fairness/demographic_parity_gap",
    direction="lower",
    low=-1,
    high=1,
    definition="Largest gap of the share called positive on H over the subgroups of an attribute, of the boosted trees"
    " trained on S, minus that of the trees trained on R; each calls as many of H positive as its training table has;"
    f" {WORST}; mean over the tasks. Interval: paired by records, {FIXED}.",
    reading="Does a model of synthetic patients flag some subgroups more than one of real patients would? Subgroups"
    " that differ in true risk are rightly flagged differently, so only the difference to real data tells; negative"
    " means that differences between subgroups were lost.",
    paper="Dwork et al., ITCS 2012 (statistical parity), as a difference to the model of real data",
)
