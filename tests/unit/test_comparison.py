from pathlib import Path

import pytest

from ehrsynth.errors import FileError
from ehrsynth.evaluation.ranking import Profile, Ranking, rank_runs
from ehrsynth.evaluation.score_table import tabulate
from ehrsynth.files import read_json, write_json
from ehrsynth.reporting.comparison import comparison_html, worst_leaks
from tests.scores import score_of

PROFILE = Profile("teaching", "For teaching.", {"fidelity/apd": 1.0, "utility/tstr_auroc": 1.0}, "a paper")


def run(folder: Path, apd: float, train: str = "aa") -> Path:
    anchors = {"fresh_real": 0.1, "train_copy": 0.0, "independent": 0.4}
    score = score_of("fidelity/apd", apd, "lower", anchors=anchors)
    failed = score_of("privacy/dcr_share", None, "lower", status="failed", reason="no rows")
    report = {"scores": [score.to_dict(), failed.to_dict()], "rows": {}, "versions": {}, "data": {"train": train}}
    write_json(folder / "report.json", report)
    return folder / "report.json"


def ranked(values: dict[str, float], groups: dict[str, str]) -> Ranking:
    table = tabulate({name: [score_of("fidelity/apd", value, "lower")] for name, value in values.items()})
    return rank_runs(table.values, table.directions, PROFILE, groups=groups)


def page(tmp_path: Path, other_data: str = "aa") -> str:
    values = {"vae/0": 0.2, "vae/1": 0.4, "gan/0": 0.1}
    reports = {name: run(tmp_path / "runs" / name, value) for name, value in values.items()}
    run(tmp_path / "runs" / "gan/0", 0.1, other_data)
    (tmp_path / "runs" / "vae/0" / "report.html").write_text("page")
    ranking = ranked(values, {name: name.split("/")[0] for name in values})
    comparison_html(tmp_path / "out" / "ranking.html", ranking, reports)
    return (tmp_path / "out" / "ranking.html").read_text(encoding="utf-8")


def test_groups_stand_side_by_side_with_mean_spread_and_the_best_in_bold(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert '<td class="n best">0.100</td>' in text
    assert '<td class="n">0.300<br><small class="soft">± 0.14</small></td>' in text
    assert '<td class="n anchor">0.400</td>' in text
    assert 'title="failed: no rows">failed</td>' in text


def test_reports_are_linked_by_relative_path_where_they_exist(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert 'href="../runs/vae/0/report.html"' in text
    assert text.count("href=") == 1


def test_pairs_that_cannot_be_told_apart_stand_in_a_warning_and_every_pair_in_a_table(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert "gan and vae are not distinguishable" in text
    assert "Every pair compared" in text
    assert "Neither several seeds nor intervals" in text or "T against one run" in text


def test_missing_metrics_are_told(tmp_path: Path) -> None:
    assert "utility/tstr_auroc (1.0)." in page(tmp_path)


def test_runs_on_different_data_are_called_incomparable(tmp_path: Path) -> None:
    assert "not comparable" not in page(tmp_path)
    assert "not comparable" in page(tmp_path, other_data="bb")


def test_a_report_that_is_gone_is_named(tmp_path: Path) -> None:
    absent = tmp_path / "gone" / "report.json"
    with pytest.raises(FileError, match="gone"):
        comparison_html(tmp_path / "x.html", ranked({"gone": 0.1}, {}), {"gone": absent})


def test_a_leak_stands_above_the_ranking_which_does_not_tell_it(tmp_path: Path) -> None:
    values = {"vae/0": 0.2, "vae/1": 0.4, "gan/0": 0.1}
    ranking = ranked(values, {name: name.split("/")[0] for name in values})
    anchors = {"fresh_real": 0.5, "train_copy": 1.0}
    clean, leaky = (
        score_of("privacy/membership_auc", value, "lower", (value - 0.01, value + 0.01), anchors=anchors)
        for value in (0.5, 0.98)
    )
    found = worst_leaks(ranking, {"vae/0": [clean], "vae/1": [clean], "gan/0": [leaky]})
    assert {group: finding.level for group, finding in found.items()} == {"gan": "poor", "vae": "good"}
    assert worst_leaks(ranking, {"vae/0": [clean], "vae/1": [leaky], "gan/0": [clean]})["vae"].level == "poor"
    reports = {name: run(tmp_path / name, value) for name, value in values.items()}
    content = read_json(reports["gan/0"])
    write_json(reports["gan/0"], {**content, "scores": [*content["scores"], leaky.to_dict()], "warnings": ["mind it"]})
    comparison_html(tmp_path / "ranking.html", ranking, reports)
    text = (tmp_path / "ranking.html").read_text(encoding="utf-8")
    assert "gan: does it leak? Yes: treat it as patient data." in text
    assert "mind it" in text
    assert text.index("gan: does it leak?") < text.index("<td><strong>gan</strong></td>")
    assert '<span class="word poor">Yes</span>' in text
