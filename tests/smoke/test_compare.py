"""``ehrsynth compare``: a study of a hundred runs on one page, as a browser shows it."""

import os
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest

import ehrsynth
from ehrsynth.errors import FileError, TrainingError
from ehrsynth.files import read_json
from ehrsynth.study.attempt import attempt
from ehrsynth.study.chain import read
from ehrsynth.study.plan import Planned, plan
from ehrsynth.study.rank import rank
from tests.browser import dom_of
from tests.conftest import Cli
from tests.study_folders import METRICS, begun, finished
from tests.unit.test_compare_page import Page

MODELS, SEEDS, WIDTHS = ("ehrdiff", "gan", "tally", "vae"), range(5), (8, 16, 32, 64, 128)
DRAWN = re.compile(r'<g class="trace scatter ')


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of four models, five seeds, five options."""
    study = tmp_path_factory.mktemp("runs") / "hundred"
    for model in MODELS:
        for width in WIDTHS:
            for seed in SEEDS:
                options = {"model.latent_width": width}
                finished(study / model / f"{width}-{seed}", seed, options, peak_memory_gb=width / 100)
    return study


@pytest.fixture(scope="module")
def page(hundred: Path) -> Path:
    """Its comparison."""
    return ehrsynth.compare(hundred).save(hundred.parent / "page.html")


def part(dom: str, name: str) -> str:
    """Return the element of a page that has this id, up to the next heading."""
    found = re.search(rf'id="{name}".*?(?=<h2|<script)', dom, re.DOTALL)
    assert found is not None
    return found[0]


def table(dom: str, name: str) -> list[list[str]]:
    rows = re.findall(r"<tr.*?</tr>", part(dom, name).partition("<tbody>")[2], re.DOTALL)
    return [re.findall(r"<td[^>]*>(?:<a [^>]*>|<span [^>]*>)?([^<]*)", row) for row in rows]


def body(dom: str) -> dict[str, str]:
    return next(own for tag, own in Page(dom).elements if tag == "body")


def test_a_browser_draws_a_line_for_every_run(hundred: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("compare", hundred) == 0
    page = hundred / "compare.html"
    assert capsys.readouterr().out.splitlines() == ["100 done", f"comparison  {page}"]
    assert page.stat().st_size < 10_000_000
    dom = dom_of(page)
    assert body(dom) == {"data-ready": "yes", "data-lines": "100", "data-curves": "100", "data-groups": "20"}
    legend = len(MODELS) + 3  # models without a point, and the anchors
    assert len(DRAWN.findall(part(dom, "parallel"))) == len(DRAWN.findall(part(dom, "curves"))) == 100 + legend
    assert len(re.findall('<g class="trace bars"', part(dom, "costs"))) == 3 + 1, "steps and memory"
    for figure in ("pareto", "parallel", "curves"):
        for text in ("fresh real", "train copy", "independent", *MODELS):
            assert f">{text}<" in part(dom, figure), (figure, text)
    buttons = {own.get("data-title", "") for _, own in Page(dom).elements}
    assert {"Reset axes"} <= buttons
    assert not [title for title in buttons if "hare" in title or "dit" in title], "nothing is offered to be sent away"
    assert [len(table(dom, name)) for name in ("places", "runs", "spent")] == [20, 100 + 3, 100]


def test_the_numbers_shown_are_those_of_the_run_folders(hundred: Path) -> None:
    compared = ehrsynth.compare(hundred, hundred / "numbers.html")
    data = Page((hundred / "numbers.html").read_text(encoding="utf-8")).data
    (rows,) = data["sets"]
    for run in rows["runs"]:
        folder = hundred / run["name"]
        report = {score["metric"]: score for score in read_json(folder / "report.json")["scores"]}
        assert run["scores"] == {name: [score["value"], *score["ci"]] for name, score in report.items()}
        checkpoints = pd.read_csv(folder / "metrics.csv")
        assert all(run["checkpoints"][name] == checkpoints[name].tolist() for name in ("epoch", *METRICS))
        facts = read_json(folder / "provenance.json")
        assert (run["seconds"], run["memory"]) == (facts["seconds"], facts["peak_memory_gb"])
        assert run["options"] == {"model.latent_width": folder.name.split("-")[0]}
        assert compared.frame.loc[run["name"], METRICS[0]] == report[METRICS[0]]["value"]
    assert [ranking["profile"] for ranking in rows["rankings"]][:2] == ["ml_development", "education"]
    for ranking in rows["rankings"][:2]:
        (section,) = rank(f"{hundred}/*/*", ranking["profile"]).sections
        own = section.ranking.table
        assert list(ranking["groups"]) == list(own.index)
        assert [group["rank"] for group in ranking["groups"].values()] == own["weighted_rank"].tolist()
        assert [group["low"] for group in ranking["groups"].values()] == own["low"].tolist()
        assert rows["plane"]["front"] == [str(group) for group in section.ranking.plane.front if own["pareto"][group]]  # type: ignore[union-attr]
    cells = {row[0]: row for row in table(dom_of(hundred / "numbers.html"), "runs")}
    first = compared.frame.loc["vae/8-0"]
    assert cells["vae/8-0"][:6] == ["vae/8-0", "vae", "0", "done", "6 of 200", "8"]
    assert cells["vae/8-0"][6] == f"{first['fidelity/dimension_wise_distance']:.3g}".ljust(5, "0")
    assert cells["train copy"][6] == "0.900"


@pytest.mark.parametrize(
    ("fragment", "runs", "groups"),
    [
        ("model=vae", 25, 5),
        ("model=vae&model=gan&seed=0", 10, 10),
        ("model.latent_width=8&model.latent_width=16&seed=3", 8, 8),
        ("model=vae&model=", 25, 5),
    ],
)
def test_a_filter_in_the_address_leaves_only_its_runs(page: Path, fragment: str, runs: int, groups: int) -> None:
    dom = dom_of(page, fragment)
    assert body(dom) == {
        "data-ready": "yes", "data-lines": str(runs), "data-curves": str(runs), "data-groups": str(groups),
    }  # fmt: skip
    assert f"{runs} of 100 runs" in dom
    assert [len(table(dom, name)) for name in ("places", "runs", "spent")] == [groups, runs + 3, runs]


def test_a_view_is_wholly_in_the_address(hundred: Path, page: Path) -> None:
    score, metric = "privacy/dcr_share", "fidelity/concept_abundance"
    chosen = f"profile=education&metric={quote(metric)}&score={quote(score)}&log=1&run=vae%2F8-0&seed=0"
    dom = dom_of(page, chosen)
    assert "concept abundance (lower is better)" in part(dom, "curves")
    assert "privacy: DCR<" in part(dom, "parallel")
    assert "AUROC" not in part(dom, "parallel")
    faint = re.findall(r'<g class="trace scatter [^>]*opacity: 0.15', part(dom, "curves"))
    assert len(faint) == 20 - 1, "all but the marked run"
    assert re.search(r'<tr class="picked"><td[^>]*><a href="hundred/vae/8-0/report.html">', part(dom, "runs"))
    ranked = rank(f"{hundred}/*/*", "education").frame["group"].tolist()
    assert [row[1] for row in table(dom, "places")] == ranked


def test_what_has_not_finished_is_shown_as_far_as_it_came_and_the_damaged_is_named(
    tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    finished(study / "vae" / "a", 0)
    altered = finished(study / "vae" / "altered", 1)
    altered.metrics.write_text("epoch\n1\n", encoding="utf-8")
    begun(study / "vae" / "begun", 2, {}, epochs=2)
    begun(study / "gan" / "none", 0, {}, epochs=0)
    with pytest.raises(TrainingError), attempt(study / "gan" / "none", "ehrsynth train"):
        raise TrainingError("loss <b>NaN</b>")
    for name, text in (("list", "[1]"), ("tab", "\t:"), ("text", "seed: a"), ("bytes", "\udcff")):
        begun(study / "vae" / name, 0, {})
        (study / "vae" / name / "config.yaml").write_bytes(os.fsencode(text))
    begun(study / "vae" / "epochs", 0, {})
    (study / "vae" / "epochs" / "metrics.csv").write_text("epoch\n\nx", encoding="utf-8")
    page = tmp_path / "page.html"
    assert cli("compare", f"runs={study}", f"out={page}") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "1 done, 1 diverged, 1 interrupted"
    warnings = [line for line in printed.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 6
    assert f"WARNING: {altered.metrics}: not as the run wrote it (sha256 differs)" in printed
    dom = dom_of(page)
    assert body(dom) == {"data-ready": "yes", "data-lines": "1", "data-curves": "2", "data-groups": "1"}
    assert f"{altered.metrics}: not as the run wrote it" in Page(dom).said
    lines = {row[0]: row for row in table(dom, "runs")}
    assert lines["vae/begun"][3:5] == ["interrupted", "2 of 200"]
    assert lines["gan/none"][3:5] == ["diverged", "\N{EN DASH} of 200"]
    assert "loss &lt;b&gt;NaN&lt;/b&gt;" in part(dom, "runs")


def test_what_was_asked_for_and_has_not_begun_is_named(tmp_path: Path) -> None:
    finished(tmp_path / "study" / "vae" / "a", 0)
    asked = [Planned("vae/a", "train seed=0"), Planned("vae/b", "train seed=1"), Planned("", "train model=x", "none")]
    plan(tmp_path / "study", asked, str)
    (remark,) = ehrsynth.compare(tmp_path / "study").remarks
    assert remark == "runs that were asked for and have not begun (2), see ehrsynth study: vae/b, train model=x"


def test_a_page_is_noted_with_what_it_was_made_from(tmp_path: Path) -> None:
    study = tmp_path / "runs"
    finished(study / "vae" / "a", 0)
    begun(study / "vae" / "b", 1, {}, epochs=2)
    plan(study, [Planned("vae/c", "ehrsynth train seed=2")], print)
    for _ in range(2):
        ehrsynth.compare(study).save()
    record = read(study / "log.jsonl")[-1].record
    assert record is not None
    assert (record.record, record.step, list(record.outputs)) == (2, "compare", ["compare.html"])
    own = {"config.yaml", "metrics.csv", "report.json", "provenance.json"}
    assert {f"vae/a/{name}" for name in own} | {"vae/b/config.yaml", "vae/b/metrics.csv", "plan.json"} == set(
        record.inputs
    )
    assert {name for name, given in record.inputs.items() if given["file"]} == {f"vae/a/{name}" for name in own}
    assert "ml_development" in record.options["profiles"]
    begun(study / "vae" / "b", 1, {}, epochs=4)
    assert ehrsynth.verify(study).whole, "what has not finished goes on"
    (study / "vae" / "a" / "config.yaml").write_text("seed: 1")
    assert any("vae/a/config.yaml: expected sha256 " in finding for finding in ehrsynth.verify(study).findings)


def test_runs_on_other_rows_are_not_mixed(tmp_path: Path) -> None:
    study = tmp_path / "study"
    finished(study / "vae" / "a", 0, {"data.matrix": "m1"}, rows="aa")
    finished(study / "vae" / "b", 0, {"data.matrix": "m2"}, rows="bb")
    finished(study / "gan" / "c", 0, {"data.matrix": "m2"}, rows="bb")
    begun(study / "gan" / "d", 0, {"data.matrix": "m2"}, epochs=1)
    begun(study / "gan" / "e", 0, {"data.matrix": "m3"}, epochs=1)
    compared = ehrsynth.compare(study)
    assert compared.frame["rows"].to_dict() == {
        "gan/e": "no finished run",
        "vae/a": "rows=aa",
        **dict.fromkeys(["gan/c", "gan/d", "vae/b"], "rows=bb"),
    }
    page = compared.save()
    assert body(dom_of(page, "rows=rows%3Dbb")) | {"data-groups": ""} == {
        "data-ready": "yes", "data-lines": "2", "data-curves": "3", "data-groups": "",
    }  # fmt: skip
    alone = dom_of(page, "rows=no+finished+run")
    assert body(alone) == {"data-ready": "yes", "data-lines": "0", "data-curves": "1"}
    assert "Nothing of this is there" in part(alone, "ranking")


def test_one_run_is_enough_whatever_its_folder_is_called(tmp_path: Path) -> None:
    study = tmp_path / "a study: <i>, \udcff"
    finished(study / "javascript:alert(1)" / "a#b?c", 0)
    page = ehrsynth.compare(str(study)).save()
    dom = dom_of(page)
    assert body(dom) == {"data-ready": "yes", "data-lines": "1", "data-curves": "1", "data-groups": "1"}
    assert 'href="javascript%3Aalert%281%29/a%23b%3Fc/report.html"' in part(dom, "runs")
    assert "a study: <i>, \ufffd: 1 runs compared" in Page(dom).said


def test_a_trained_study_is_compared_with_its_seconds_and_memory(study: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(study, tmp_path / "study")
    compared = ehrsynth.compare(copy, copy / "compare.html")
    assert compared.remarks == ()
    assert compared.frame["model"].tolist() == ["independent", "vae"]
    for run in compared.sets[0].runs:
        assert run.memory is not None
        assert 0.1 < run.memory < 100
        assert {"train", "generate", "anchors", "evaluate", "report"} <= set(run.seconds)
    assert body(dom_of(copy / "compare.html"))["data-lines"] == "2"


def test_a_folder_without_a_run_is_refused(tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    said = "the folder of a study was expected, with runs as MODEL/RUN_ID below it"
    with pytest.raises(FileError, match=f"runs={tmp_path}: no run in it; {said}"):
        ehrsynth.compare(tmp_path)
    begun(tmp_path / "vae" / "broken", 0, {})
    (tmp_path / "vae" / "broken" / "config.yaml").write_text("[]", encoding="utf-8")
    for options, message in (
        ([f"runs={tmp_path}/gone"], f"runs={tmp_path}/gone: no such folder; {said}"),
        ([f"runs={tmp_path}"], "config.yaml: not the config of a run"),
        ([f"runs={tmp_path}", "out=page.txt"], "out=page.txt: a file .html was expected"),
        ([f"runs={tmp_path}", "out=/proc/page.html"], "out=/proc/page.html: cannot be written to"),
        ([], "runs= is required and not given"),
    ):
        assert cli("compare", *options) == 2
        assert message in capsys.readouterr().err
