"""The comparison page of a study: what it holds, that it needs nothing else, and that a stranger's names do nothing."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ehrsynth.evaluation.pareto import default_axes
from ehrsynth.evaluation.ranking import Profile, rank_runs
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.score_table import tabulate
from ehrsynth.reporting.compare_page import PALETTE, RowSet, RunLine, compare_html
from ehrsynth.words import printable
from tests.browser import dom_of
from tests.hostile import NAMES, UNSEEN
from tests.scores import score_of

ANCHORS = {"fresh_real": 0.1, "train_copy": 0.0, "independent": None}
WEIGHTS = dict.fromkeys(default_axes(), 1.0)


class Page(HTMLParser):
    """The elements of a page, and the texts of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.said = ""
        self.inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.said += data

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found

    @property
    def policy(self) -> str:
        (found,) = (own["content"] for _, own in self.elements if own.get("http-equiv") == "Content-Security-Policy")
        return found


def scores(*values: float, **more: Any) -> list[Score]:
    return [score_of(name, value, anchors=ANCHORS, **more) for name, value in zip(WEIGHTS, values, strict=True)]


def line(name: str, model: str, found: list[Score], **more: Any) -> RunLine:
    checkpoints = pd.DataFrame({"utility/tstr_auroc": [0.5, np.nan]}, index=pd.Index([1, 2], name="epoch"))
    return RunLine(name, model, 0, "done", checkpoints, group=model, scores=found, **more)


def row_set(lines: list[RunLine], title: str = "", profile: str = "a use") -> RowSet:
    table = tabulate({run.name: run.scores for run in lines})
    groups = {run.name: run.group for run in lines}
    ranking = rank_runs(table.values, table.cards, Profile(profile, profile, WEIGHTS, profile), groups=groups)
    return RowSet(title, {"train rows": "7"}, lines, [ranking], ranking.plane)


def written(folder: Path, *sets: RowSet, title: str = "study", remarks: tuple[str, ...] = ()) -> Page:
    page = folder / "out" / "compare.html"
    compare_html(page, title, sets, remarks)
    return Page(page.read_text(encoding="utf-8"))


def test_the_page_holds_every_number_as_it_was_given(tmp_path: Path) -> None:
    report = tmp_path / "vae" / "a 1" / "report.html"
    found = [*scores(0.7, 0.5, ci=(0.4, 0.9)), score_of("novel/x", None, status="failed", reason="no rows")]
    run = line("vae/a 1", "vae", found, options={"n": "5"}, seconds={"train": 1.5}, memory=2.5, epoch=2, report=report)
    data = written(tmp_path, row_set([run, line("gan/b", "gan", scores(0.1 + 0.2, 0.6))])).data
    first, second = data["sets"][0]["runs"]
    utility, privacy = WEIGHTS
    assert first["scores"] == {utility: [0.7, 0.4, 0.9], privacy: [0.5, 0.4, 0.9]}
    assert first["failed"] == {"novel/x": "no rows"}
    assert second["scores"][utility] == [0.1 + 0.2, None, None]
    assert first["checkpoints"] == {"epoch": [1, 2], "utility/tstr_auroc": [0.5, None]}
    assert (first["options"], first["seconds"], first["memory"], first["epoch"]) == ({"n": "5"}, {"train": 1.5}, 2.5, 2)
    assert first["report"] == "../vae/a%201/report.html"
    assert data["sets"][0]["anchors"][utility] == ANCHORS
    assert data["colours"] == dict(zip(["gan", "vae"], PALETTE, strict=False))
    assert data["sets"][0]["rankings"][0]["groups"]["vae"] | {"low": 0, "high": 0} == {
        "place": 1, "rank": 1.0, "low": 0, "high": 0, "basis": "none", "tied": True,
    }  # fmt: skip
    assert data["sets"][0]["plane"]["front"] == ["vae"]


def test_only_its_own_scripts_run_and_nothing_is_fetched(tmp_path: Path) -> None:
    page = written(tmp_path, row_set([line("vae/a", "vae", scores(0.7, 0.5))]))
    assert [own.get("type") for tag, own in page.elements if tag == "script"] == ["application/json", None, None]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts[1:]]
    assert page.policy == (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}'; img-src data:;"
        " style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )
    assert not [own for _, own in page.elements if {"src", "href"} & set(own)]
    assert not re.search(r"https?://", page.scripts[2] + page.said)
    assert len(page.scripts[1]) > 1_000_000, "the library that draws is in the page"


def hostile_set(name: str, title: str) -> RowSet:
    model = printable(name)
    run = line(f"{model}/1", model, scores(0.7, 0.5), options={name: name}, reason=name, seconds={name: 1.0})
    other = line("vae/2", "vae", scores(0.6, 0.6), options={name: "other"}, report=Path(model) / "a")
    return row_set([run, other], title, name)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_strangers_name_ends_no_element(name: str, tmp_path: Path) -> None:
    usual = [tag for tag, _ in written(tmp_path, hostile_set("plain", "")).elements]
    page = written(tmp_path, hostile_set(name, ""), title=name, remarks=(name,))
    assert [tag for tag, _ in page.elements if tag != "p"] == [tag for tag in usual if tag != "p"]
    assert not UNSEEN.search(page.said + page.scripts[0])
    assert not [own for _, own in page.elements if any(key.startswith("on") for key in own)]
    shown = printable(name)
    assert page.data["sets"][0]["runs"][0]["options"] == {shown: shown}
    assert ":" not in page.data["sets"][0]["runs"][1]["report"]


def test_in_a_browser_a_strangers_names_are_texts(tmp_path: Path) -> None:
    names = [name for name in NAMES if len(name) < 100]
    lines = [run for name in names for run in hostile_set(name, "").runs[:1]]
    page = tmp_path / "compare.html"
    compare_html(page, names[0], [row_set(lines, names[1], names[2])], names)
    shown = Page(dom_of(page, "run=vae%2F2"))
    (body,) = (own for tag, own in shown.elements if tag == "body")
    assert (body["data-ready"], body["data-lines"]) == ("yes", str(len(names)))
    assert not {"data-error", "data-blocked"} & set(body)
    assert not [own for _, own in shown.elements if any(key.startswith("on") for key in own)]
    assert not [tag for tag, own in shown.elements if tag in ("img", "iframe", "object", "form")]
    assert not [own for tag, own in shown.elements if tag == "a" and own.get("href", "#").startswith("javascript")]
    assert shown.said.count("<script>alert(1)</script>") > 3, "in headings, tables and labels of figures"
    assert "&lt;" not in shown.said
