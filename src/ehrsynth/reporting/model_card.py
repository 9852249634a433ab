"""``card.md``: the model and data card that travels with the synthetic table."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ehrsynth.evaluation.score import ANCHORS, Score
from ehrsynth.reporting.audited import Audited
from ehrsynth.reporting.guarantee import Guarantee
from ehrsynth.reporting.html import environment
from ehrsynth.reporting.reading import judge
from ehrsynth.reporting.summary import spent, summarise
from ehrsynth.reporting.wording import number

USES = "For developing software and methods, teaching, and planning studies, within what the scores support."
LIMITS = (
    "Not for clinical decisions about a person, and not as the only evidence for a finding: repeat it on real data."
    " Rare codes, and relations between more than two columns, are the least certain."
)
BIASES = "The data describe the cohort that the model was trained on, with its biases, and no other."
NO_USE = "For one use only: to show what a model scores that gives its patients away. Never hand it over."
PERSONS = "Every record is a patient's."
NOT_PERSONS = "No record is a person's; health data of people were used to train the model."
IMPACT = "Work on what cannot be shared; whoever takes the records for evidence about real patients will be misled."
MARKUP_IN_TITLE = re.compile(r"[<>&`\[\]]")  # what a viewer that takes the head for Markdown would act on
SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}


def front_matter(title: str, records: int, files: str) -> str:
    """Return the head of the card as the Hugging Face Hub reads it (https://huggingface.co/docs/hub/datasets-cards).

    The values are JSON, which YAML holds.

    Args:
        title: of the card.
        records: how many.
        files: pattern of the table, or of its parts.
    """
    told: dict[str, Any] = {
        "pretty_name": title,
        "license": "unknown",
        "tags": ["synthetic", "medical", "ehrsynth"],
        "size_categories": [next((name for most, name in SIZES.items() if records < most), "n>10M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": files}]}],
    }
    lines = (f"{key}: {json.dumps(value)}" for key, value in told.items())
    return "\n".join(["---", MARKUP_IN_TITLE.sub(_escaped, next(lines)), *lines, "---", ""])


def _escaped(sign: re.Match[str]) -> str:
    return f"\\u{ord(sign[0]):04x}"


def privacy_in_words(scores: Sequence[Score]) -> str:
    """Return what the attacks found and what privacy was spent, in a sentence or two."""
    attacks = [s for s in scores if s.card.family == "privacy" and s.card.role != "guarantee" and s.value is not None]
    found = ", ".join(f"{score.metric} {number(score.value)} ({judge(score).word})" for score in attacks)
    cost = ", ".join(f"{score.card.words} {number(score.value)}" for score in spent(scores))
    private = f"Training was differentially private: {cost}." if cost else "Training was not differentially private."
    return f"{f'Measured: {found}' if found else 'No attack was run'}. {private}"


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
    files: str = "synthetic.parquet",
    guarantee: Guarantee | None = None,
    audited: Audited | None = None,
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
        files: pattern of what is handed over, for the front matter, which real patients do not get.
        guarantee: of a private run.
        audited: what its audit found.
    """
    headlines = sorted((score for score in scores if score.card.headline), key=lambda score: score.card.headline)
    privacy = [score for score in scores if score.card.family == "privacy" and score.card.role != "guarantee"]
    page = environment().get_template("card.md.j2")
    head = "" if keeps_rows else front_matter(title, rows.get("synthetic", 0), files)
    return head + page.render(
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
        use=NO_USE if keeps_rows else f"{USES} {LIMITS} {BIASES}",
        guarantee=guarantee,
        audited=audited,
    )
