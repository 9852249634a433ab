"""``ehrsynth rank`` on folders that hold nothing but a report."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.evaluation.evaluator import Value
from ehrsynth.files import read_json, write_json
from ehrsynth.reporting.parts import write_parts
from ehrsynth.study.rank import group_names, options_apart, rank
from ehrsynth.study.run_folder import RunFolder
from tests.scores import score_of

Cli = Callable[..., int]


def report(folder: Path, apd: float, auroc: float, attack: float, *, with_parts: bool = True) -> None:
    def columns(*values: float) -> dict[tuple[str, str], Value]:
        return {("column", f"c{i}"): Value(value, (value - 0.001, value + 0.001)) for i, value in enumerate(values)}

    scores = [
        score_of("fidelity/apd", apd, "lower", parts=columns(apd, 2 * apd)),
        score_of("fidelity/wasserstein", apd, "lower", parts=columns(apd)),
        score_of("utility/tstr_auroc", auroc, "higher", (auroc - 0.01, auroc + 0.01)),
        score_of("privacy/membership_auc", attack, "lower", (attack - 0.01, attack + 0.01)),
        score_of("privacy/membership_f1", 0.8, "lower", (0.7, 0.9)),
    ]
    data = {"train": "a", "holdout": "b"}
    if with_parts:
        write_parts(folder / "report.parquet", scores)
    write_json(
        folder / "report.json", {"scores": [s.to_dict() for s in scores], "rows": {}, "versions": {}, "data": data}
    )


def test_reports_are_ranked_with_the_published_distance_the_front_and_a_warning(
    tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    report(tmp_path / "reports" / "a", 0.01, 0.8, 0.6)
    report(tmp_path / "reports" / "b", 0.02, 0.7, 0.5)
    report(tmp_path / "reports" / "c", 0.03, 0.69, 0.55)
    ranked = tmp_path / "ranking.csv"
    profile = "profile=ml_development_published"
    assert cli("rank", f"runs={tmp_path}/reports/*", profile, f"out={ranked}") == 0
    table = pd.read_csv(ranked).set_index("group")
    assert table["pareto"].to_dict() == {
        str(tmp_path / "reports" / name): front for name, front in {"a": True, "b": True, "c": False}.items()
    }
    assert table.index[0] == str(tmp_path / "reports" / "a")
    printed = capsys.readouterr().out
    assert "WARNING: " in printed
    assert f"{tmp_path}/reports/b and {tmp_path}/reports/c are not distinguishable" in printed
    page = (tmp_path / "ranking.html").read_text(encoding="utf-8")
    assert "dimension wise distance published" in page
    assert 'id="pareto"' in page
    assert 'id="ranks"' in page


def test_axes_of_the_front_can_be_chosen_and_may_be_absent(
    tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    report(tmp_path / "reports" / "a", 0.01, 0.8, 0.6, with_parts=False)
    report(tmp_path / "reports" / "b", 0.02, 0.7, 0.5)
    ranked = tmp_path / "ranking.csv"
    assert cli("rank", f"runs={tmp_path}/reports/*", f"out={ranked}", "pareto.utility=fidelity/apd") == 0
    assert "fidelity/apd and privacy/membership_auc" in capsys.readouterr().out
    assert cli("rank", f"runs={tmp_path}/reports/*", f"out={ranked}", "pareto.utility=utility/none") == 0
    assert "WARNING: pareto: no run has utility/none" in capsys.readouterr().out
    assert pd.read_csv(ranked)["pareto"].isna().all()
    assert "dimension wise distance published" not in (tmp_path / "ranking.html").read_text(encoding="utf-8")


def trained(folder: Path, model: str, variant: str, train: str, recipe: dict[str, object]) -> RunFolder:
    report(folder, 0.01, 0.8, 0.6, with_parts=False)
    content = read_json(folder / "report.json")
    write_json(folder / "report.json", content | {"data": {"train": train, "holdout": "h"}})
    facts = {"model": model, "variant": variant, "seed": 0, "matrix": {"folder": "gone", "recipe": recipe}}
    write_json(folder / "provenance.json", facts)
    return RunFolder(folder)


def test_variants_of_a_model_are_told_apart_however_alike_their_hashes(tmp_path: Path) -> None:
    runs = [trained(tmp_path / v, "vae", v, "r", {}) for v in ("abcdef0000", "abcdef1111")]
    runs.append(trained(tmp_path / "floor", "independent", "abcdef0000", "r", {}))
    assert list(group_names(runs).values()) == ["vae abcdef0", "vae abcdef1", "independent"]


def test_each_set_of_rows_is_named_by_what_sets_it_apart(tmp_path: Path) -> None:
    usual = {"source": {"name": "demo", "n": 300}, "preprocess": {"min_count": 3, "relations": []}, "seed": 0}
    other = {**usual, "preprocess": {"min_count": 30, "relations": []}, "seed": 1}
    runs = [
        trained(tmp_path / "a", "vae", "v1", "a0000000aa", usual),
        trained(tmp_path / "b", "vae", "v2", "b0000000bb", other),
        trained(tmp_path / "c", "vae", "v3", "c0000000cc", other),  # made the same way, of other tables
    ]
    comparison = rank(runs)
    assert [section.title for section in comparison.sections] == [
        "preprocess.min_count=3, split.seed=0",
        "preprocess.min_count=30, split.seed=1, rows b0000000",
        "preprocess.min_count=30, split.seed=1, rows c0000000",
    ]
    assert repr(comparison) == "<Comparison of 3 runs for ml_development on 3 sets of rows, see .frame>"
    assert list(comparison.frame["group"]) == ["vae"] * 3
    assert comparison.best() == runs[0]


def test_titles_are_options_as_one_would_type_them(tmp_path: Path) -> None:
    bmi = {"feature": "Measurement", "name": "bmi", "units": None}
    drawn = {"source": {"name": "demo"}, "features": {"bmi": bmi}, "split": {"split": "BySubject", "holdout": 0.3}}
    later = {**drawn, "features": {}, "split": {"split": "Temporal", "holdout": 0.3, "by": "year"}}
    runs = [
        trained(tmp_path / "a", "vae", "v1", "a0000000aa", drawn),
        trained(tmp_path / "b", "vae", "v2", "b0000000bb", later),
        trained(tmp_path / "c", "vae", "v3", "c0000000cc", {**drawn, "features": {"bmi": {**bmi, "units": "x"}}}),
    ]
    report(tmp_path / "d", 0.01, 0.8, 0.6, with_parts=False)  # of ``evaluate``: nobody knows how its rows came about
    assert {section.title for section in rank([*runs, tmp_path / "d"]).sections} == {
        "features.bmi=Measurement, split=BySubject, rows a0000000",
        "features.bmi=null, split=Temporal, split.by=year",
        "features.bmi=Measurement, split=BySubject, rows c0000000",
        "rows a",
    }
    assert {section.title for section in rank([runs[0], runs[2]]).sections} == {
        "features.bmi.units=null",
        "features.bmi.units=x",
    }


def test_an_option_that_made_no_difference_to_the_rows_is_in_no_title(tmp_path: Path) -> None:
    split = {"split": "Temporal"}
    recipes = {
        "a": {"seed": 0, "split": split, "constraints": "propose"},
        "b": {"seed": 1, "split": split, "constraints": "none"},
        "c": {"seed": 1, "split": {"split": "BySubject"}, "constraints": "none"},
    }
    rows = {"a": "x0", "b": "x0", "c": "y0"}
    runs = [trained(tmp_path / name, "vae", name, rows[name], recipe) for name, recipe in recipes.items()]
    titles = [section.title for section in rank(runs).sections]
    assert titles == ["split.seed=1, split=BySubject, constraints=none", "split=Temporal"]


def test_a_long_title_is_cut(tmp_path: Path) -> None:
    recipes = [{"features": {f"f{i}": {"feature": name} for i in range(9)}} for name in ("Age", "Flag")]
    runs = [trained(tmp_path / d, "vae", d, d * 9, recipe) for d, recipe in zip("ab", recipes, strict=True)]
    assert rank(runs).sections[0].title.endswith("features.f4=Age, features.f5=Age, and 3 more")


def test_a_set_of_rows_that_cannot_be_ranked_is_named_and_keeps_the_others_from_nothing(
    tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    report(tmp_path / "a", 0.01, 0.8, 0.6)
    report(tmp_path / "b", 0.01, 0.8, 0.6)
    content = read_json(tmp_path / "b" / "report.json")
    other = {"scores": [content["scores"][0] | {"metric": "fidelity/ks"}], "data": {"train": "x", "holdout": "y"}}
    write_json(tmp_path / "b" / "report.json", content | other)
    assert cli("rank", f"runs={tmp_path}/*") == 0
    printed = capsys.readouterr().out
    assert printed.count("lowest weighted rank is best") == 1
    assert f"WARNING: {tmp_path / 'b'}: not ranked: " in printed or "WARNING: rows x: not ranked: " in printed
    assert cli("rank", f"runs={tmp_path}/b") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ehrsynth rank: error: ")


def test_a_folder_whose_name_is_not_utf_8_is_ranked(tmp_path: Path) -> None:
    for name in ("a", "b\udcff"):
        report(tmp_path / name, 0.01, 0.8, 0.6, with_parts=False)
    compared = rank([tmp_path / "a", tmp_path / "b\udcff"])
    assert compared.frame["group"].tolist() == [str(tmp_path / "a"), f"{tmp_path}/b\N{REPLACEMENT CHARACTER}"]
    compared.save(tmp_path / "r.parquet")
    assert len(pd.read_parquet(tmp_path / "r.parquet")) == 2


def test_variants_of_a_model_are_told_by_the_options_in_which_they_differ() -> None:
    plain = {
        "model": {"width": 8},
        "rows": {"oversample": {}},
        "constraints": {"weight": 0, "policy": "keep"},
        "seed": 0,
    }
    other = {
        **plain,
        "rows": {"oversample": {"sex": {"F": 2}}},
        "constraints": {"weight": 1, "policy": "keep"},
        "seed": 1,
    }
    assert options_apart([plain]) == [""]
    assert options_apart([plain, other]) == ["constraints.weight=0", "constraints.weight=1, rows.oversample.sex.F=2"]


def test_an_option_that_earlier_versions_had_not_sets_no_run_apart() -> None:
    before, since = {"trainer": {"max_epochs": 3}}, {"trainer": {"max_epochs": 3, "tf32": True, "compile": False}}
    compiled = {"trainer": {**since["trainer"], "compile": True}, "privacy": {"epsilon": 3}}
    assert options_apart([before, since]) == ["", ""]
    assert options_apart([before, compiled]) == ["", "trainer.compile=True, privacy.epsilon=3"]
