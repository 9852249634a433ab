"""The page of a search: any name may stand in it, and a search that has found nothing has a page too."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ehrsynth.reporting.search_page import Searched, search_figures, search_html, search_rows
from tests.hostile import NAMES, UNSEEN, read


def trial(number: int, state: str, score: float | None, name: str = "x", **more: Any) -> dict[str, Any]:
    values = {"score": score, name: score, "privacy": None if score is None else 1 - score}
    rest = {"front": False, "epoch": score and 3, "seconds": 2.5, "run": f"m/{number}", "options": f"model.{name}=1"}
    metrics = {} if score is None else {name: 0.25}
    return {
        **{"trial": number, "state": state, "reason": "", "counts": True, **values, **rest},
        **{"values": {}, "metrics": metrics, **more},
    }


def searched(rows: list[dict[str, Any]], name: str = "x") -> Searched:
    importance = pd.DataFrame({name: {f"model.{name}": 1.0}, "privacy": {f"model.{name}": 1.0}})
    parts = {name: {name: 1.0}, "privacy": {"privacy/auc": 1.0}}
    weights = {name: 0.5, "privacy": 0.5}
    return Searched(
        name, name, name, {f"model.{name}": name}, parts, weights, {name: name}, pd.DataFrame(rows), importance
    )


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_page_shows_any_name_and_runs_nothing(name: str, tmp_path: Path) -> None:
    name = name.encode("utf-8", "replace").decode()  # half a character has no place in a database either
    rows = [
        trial(0, "finished", 0.4, name, front=True, reason=name, run=name[:60]),
        trial(1, "finished", 0.3, name),
        trial(2, "pruned", 0.2, name),
        trial(3, "failed", None, name),
    ]
    search_html(tmp_path / "search.html", [searched(rows, name)], name)
    said = read(tmp_path / "search.html")
    assert not UNSEEN.search(said)
    shown = "".join(sign for sign in name if sign.isalnum() and ord(sign) < 128)
    assert shown in "".join(sign for sign in said if sign.isalnum() and ord(sign) < 128)


def test_winners_link_to_reports_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "m" / "0").mkdir(parents=True)
    (tmp_path / "m" / "0" / "report.html").write_text("a report")
    rows = [trial(0, "finished", 0.4, front=True), trial(1, "finished", 0.3, front=True), trial(2, "finished", 0.2)]
    search_html(tmp_path / "search.html", [searched(rows)], "how")
    page = (tmp_path / "search.html").read_text(encoding="utf-8")
    assert page.count('<a href="m/0/report.html">m/0</a>') == 1
    assert page.count("not carried out in full") == 1


def test_a_search_without_a_finished_trial_says_so(tmp_path: Path) -> None:
    found = searched([trial(0, "failed", None), trial(1, "pruned", 0.1)])
    assert search_figures(found) == []
    assert found.best is None
    search_html(tmp_path / "search.html", [found], "how")
    assert "No trial has finished" in (tmp_path / "search.html").read_text(encoding="utf-8")


def test_figures_say_how_few_trials_there_are(tmp_path: Path) -> None:
    few = searched([trial(0, "finished", 0.4, front=True), trial(1, "finished", 0.3)])
    names = [figure.name for figure in search_figures(few)]
    assert names == ["front", "history", "importance"]
    assert "from 2 trials. These are few for 1 options" in search_figures(few)[2].caption
    many = searched([trial(number, "finished", number / 10, front=number == 4) for number in range(5)])
    assert "These are few" not in search_figures(many)[2].caption
    assert "on the Pareto front: 4." in search_figures(many)[0].alt


def test_a_table_tells_objectives_from_metrics_of_the_same_name() -> None:
    table = search_rows(
        [searched([trial(0, "finished", 0.4, "privacy/auc")], "privacy/auc"), searched([trial(0, "failed", None)])]
    )
    assert table.columns.is_unique
    assert table["objective/privacy/auc"].tolist()[0] == 0.4
    assert table["privacy/auc"].tolist()[0] == 0.25
    assert table["search"].tolist() == ["privacy/auc", "x"]
