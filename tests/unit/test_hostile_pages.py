"""Pages made of a stranger's names: they show the names and run nothing."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Undefined, Value
from ehrsynth.evaluation.ranking import Profile, rank_runs
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.score_table import tabulate
from ehrsynth.files import write_json
from ehrsynth.reporting.comparison import Section, comparison_html
from ehrsynth.reporting.figure_data import Tables
from ehrsynth.reporting.figures import value_distributions
from ehrsynth.reporting.html import write_html
from ehrsynth.reporting.model_card import card_md
from ehrsynth.reporting.part_figures import part_figures
from ehrsynth.reporting.ranking_figures import ranking_figures
from ehrsynth.reporting.style import clipped, png
from ehrsynth.words import printable
from tests.hostile import NAMES, UNSEEN, read
from tests.scores import score_of

ANCHORS = {"fresh_real": 0.1, "train_copy": 0.0, "independent": 0.5}


def hostile_scores(name: str) -> list[Score]:
    parts = {(kind, name): Value(0.2, (0.1, 0.3)) for kind in ("subgroup", "column", "domain", "code", "f1_real")}
    parts |= {("f1_synthetic", name): Value(0.9), ("strength", name): Undefined(name)}
    card = Card(f"novel/{name}", "lower", 0, 2, name, name, name, headline=1)
    return [
        Score(card, 0.12, (0.11, 0.13), anchors=ANCHORS, parts=parts),
        score_of("utility/tstr_auroc", None, "higher", status="skipped", reason=name),
        score_of("privacy/membership_auc", None, "lower", status="failed", reason=name),
        score_of("fidelity/dimension_wise_prediction", 0.5, "higher", anchors=ANCHORS, parts=parts),
        score_of("fidelity/js_divergence", 0.5, "lower", anchors=ANCHORS, parts=parts),
    ]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_report_its_statement_and_its_card_show_any_name_and_run_nothing(name: str, tmp_path: Path) -> None:
    scores, rows = hostile_scores(name), {"train": 70, "holdout": 30, "synthetic": 50}
    figures = part_figures(scores)
    assert figures
    write_html(
        tmp_path / "report.html",
        title=name,
        facts={name: name},
        rows=rows,
        scores=scores,
        figures=figures,
        provenance={name: name},
        warnings=[name],
    )
    shown = "".join(sign for sign in name if sign.isalnum() and ord(sign) < 128)
    for page in ("report.html", "privacy.html"):
        assert shown in "".join(sign for sign in read(tmp_path / page) if sign.isalnum())
    about = {"title": name, "facts": {name: name}, "choice": name, "command": name}
    card = card_md(rows=rows, data={"train": "aa"}, scores=scores, **about)  # type: ignore[arg-type]
    assert not UNSEEN.search(card.replace("\n", ""))
    body, _, _ = card.split("```")
    assert "](" not in body
    assert not re.search(r"<[A-Za-z/!?]", body)
    assert f"{rows['train']:,}" in card


def test_a_comparison_of_a_strangers_reports_runs_nothing(tmp_path: Path) -> None:
    reports = {}
    for number, name in enumerate(NAMES):
        name = printable(name[:300])
        scores = [score_of("fidelity/apd", 0.1 + number / 100, "lower", anchors=ANCHORS)]
        scores.append(score_of("privacy/dcr_share", None, "lower", status="failed", reason=name))
        content = {"scores": [s.to_dict() for s in scores], "rows": {}, "versions": {}, "data": {"train": name}}
        write_json(tmp_path / str(number) / "report.json", content)
        (tmp_path / str(number) / "report.html").write_text("page")
        reports[name] = tmp_path / str(number) / "report.json"
    table = tabulate({name: [score_of("fidelity/apd", i / 10, "lower")] for i, name in enumerate(reports)})
    profile = Profile(NAMES[0], NAMES[1], {"fidelity/apd": 1.0}, NAMES[2])
    ranking = rank_runs(table.values, table.cards, profile, groups={name: name for name in reports})
    runs = {name: [score_of("fidelity/apd", 0.1, "lower", anchors=ANCHORS)] for name in reports}
    figures = ranking_figures(ranking, runs)
    comparison_html(tmp_path / "out" / "ranking.html", [Section(ranking, reports, figures, title=NAMES[1])])
    assert "alert(1)" in read(tmp_path / "out" / "ranking.html")
    assert all(figure.png for figure in figures)


def texts(figure: Figure) -> str:
    return "".join(str(text.get_text()) for text in figure.findobj(lambda artist: isinstance(artist, Text)))


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_figure_shows_dollars_as_dollars(name: str) -> None:
    values = Tables(*(np.arange(5.0) for _ in range(3)))
    drawn = value_distributions({name: values}, 1)
    assert png(drawn.figure)
    assert texts(drawn.figure).count(r"\$") == clipped(name, 100).count(r"\$")
