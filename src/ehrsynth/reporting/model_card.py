"""``card.md``: the model and data card that travels with the synthetic table."""

from collections.abc import Mapping, Sequence

from ehrsynth.evaluation.score import ANCHORS, Score
from ehrsynth.reporting.html import environment
from ehrsynth.reporting.reading import family, judge
from ehrsynth.reporting.summary import summarise

HEADLINES = (
    "fidelity/dimension_wise_distance",
    "fidelity/correlation_distance",
    "fidelity/concept_abundance",
    "utility/tstr_auroc",
    "validity/knowledge_violation",
    "privacy/membership_auc",
    "privacy/attribute_f1_excess",
    "privacy/dcr_share",
    "privacy/exact_copies",
)
"""The scores a reader should see first; all others are in the report."""


def card_md(
    *,
    title: str,
    facts: Mapping[str, str],
    rows: Mapping[str, int],
    data: Mapping[str, str],
    choice: str,
    scores: Sequence[Score],
    command: str,
    is_train_copy: bool = False,
) -> str:
    """Return the card as Markdown.

    Args:
        title: of the card.
        facts: label -> text: model, hyper-parameters worth telling, seed, versions.
        rows: numbers of ``train``, ``holdout`` and ``synthetic`` records.
        data: SHA-256 of the files by their role.
        choice: one sentence on how the checkpoint was chosen.
        scores: all scores with their anchors.
        command: what makes the same table again.
        is_train_copy: the output is the training rows themselves; the card then says so first.
    """
    by_name = {score.metric: score for score in scores}
    spent = ("privacy/epsilon", "privacy/delta")
    privacy = [score for score in scores if family(score.metric) == "privacy" and score.metric not in spent]
    page = environment().get_template("card.md.j2")
    return page.render(
        title=title,
        facts=facts,
        rows=rows,
        data=data,
        choice=choice,
        findings=summarise(scores, rows),
        headlines=[(by_name[name], judge(by_name[name])) for name in HEADLINES if name in by_name],
        anchors=ANCHORS,
        attacks=[(score, judge(score)) for score in privacy if score.value is not None],
        absent=[score for score in privacy if score.value is None],
        epsilon=by_name.get("privacy/epsilon"),
        delta=by_name.get("privacy/delta"),
        command=command,
        is_train_copy=is_train_copy,
    )
