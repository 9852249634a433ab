"""``card.md``: the model and data card that travels with the synthetic table."""

from collections.abc import Mapping, Sequence

from ehrsynth.evaluation.score import ANCHORS, Score
from ehrsynth.reporting.guarantee import Guarantee
from ehrsynth.reporting.html import environment
from ehrsynth.reporting.reading import judge
from ehrsynth.reporting.summary import spent, summarise


def card_md(
    *,
    title: str,
    facts: Mapping[str, str],
    rows: Mapping[str, int],
    data: Mapping[str, str],
    choice: str,
    scores: Sequence[Score],
    command: str,
    keeps_rows: bool = False,
    guarantee: Guarantee | None = None,
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
        keeps_rows: the output is the training rows themselves, whole or mixed; the card then says so first.
        guarantee: of a private run.
    """
    headlines = sorted((score for score in scores if score.card.headline), key=lambda score: score.card.headline)
    privacy = [score for score in scores if score.card.family == "privacy" and score.card.role != "guarantee"]
    page = environment().get_template("card.md.j2")
    return page.render(
        title=title,
        facts=facts,
        rows=rows,
        data=data,
        choice=choice,
        findings=summarise(scores, rows),
        headlines=[(score, judge(score)) for score in headlines],
        anchors=ANCHORS,
        attacks=[(score, judge(score)) for score in privacy if score.value is not None],
        absent=[score for score in privacy if score.value is None],
        spent=spent(scores),
        command=command,
        keeps_rows=keeps_rows,
        guarantee=guarantee,
    )
