"""Remedies for what is rare: a cohort's own model merged in, patients mixed in, rare codes back in their place."""

from pathlib import Path

import pandas as pd
import pytest

import ehrsynth
from ehrsynth.errors import OptionError
from ehrsynth.files import read_json
from tests.conftest import Cli, without_figures
from tests.smoke.test_hundred_inputs import SUITE

FIT = [
    *("model=independent", "trainer.max_epochs=1", "trainer.accelerator=cpu", "logger.mode=disabled"),
    *("evaluation.checkpoints=1", "evaluation.rows=50", "suite@evaluation.full=tiny", "suite@evaluation.quick=tiny"),
]


@pytest.fixture(scope="module")
def aside(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """A matrix of which most codes were kept aside."""
    folder = tmp_path_factory.mktemp("aside")
    assert cli("prepare", "source.n=600", "preprocess.min_count=60", f"out={folder / 'matrix'}") == 0
    return folder / "matrix"


@pytest.fixture(scope="module")
def runs(aside: Path, cli: Cli) -> dict[str, Path]:
    """A run that saw everybody, and one that saw women only."""
    conf = aside.parent / "conf" / "suite"
    conf.mkdir(parents=True)
    (conf / "tiny.yaml").write_text(SUITE, encoding="utf-8")
    with without_figures():
        for study, more in {"all": [], "women": ["rows.only.sex=F"]}.items():
            where = [f"--config-dir={conf.parent}", f"data.matrix={aside}", f"paths.runs={aside.parent}"]
            assert cli("train", *FIT, *where, f"study={study}", *more) == 0
    return {study: next((aside.parent / study / "independent").iterdir()) for study in ("all", "women")}


def rare_codes(aside: Path) -> list[dict[str, object]]:
    return list(read_json(aside / "low_prevalence.json")["codes"])


def test_a_model_of_a_cohort_sees_nobody_else_and_says_so(aside: Path, runs: dict[str, Path]) -> None:
    women = int((pd.read_parquet(aside / "train.parquet")["sex"] == "F").sum())
    seen = read_json(runs["women"] / "provenance.json")["training_rows"]
    assert (seen["only"], seen["seen"], seen["cohort"]) == ({"sex": "F"}, women, women)
    assert set(pd.read_parquet(runs["women"] / "synthetic.parquet")["sex"]) == {"F"}
    assert "the model saw a cohort only" in (runs["women"] / "card.md").read_text()


def test_merging_brings_in_a_cohort_at_its_share_with_rare_codes_in_every_row(
    aside: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    share = (pd.read_parquet(aside / "train.parquet")["sex"] == "F").mean()
    out = tmp_path / "merged.parquet"
    ehrsynth.generate(runs["all"], 300, out=out, merge=runs["women"], reintroduce="demographics")
    table = pd.read_parquet(out)
    assert (len(table), (table["sex"] == "F").sum()) == (300, round(300 * share))
    assert not table[[code["column"]["name"] for code in rare_codes(aside)]].isna().any(axis=None)
    merged = read_json(tmp_path / "merged.provenance.json")["asked"]["merge"]
    assert (merged["only"], merged["records"], merged["run_id"]) == (
        {"sex": "F"},
        round(300 * share),
        runs["women"].name,
    )
    assert merged["how"]["ways"] == {"sex": "exact"}


def test_mixing_takes_patients_in_the_number_stated_none_twice(
    aside: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    train = pd.read_parquet(aside / "train.parquet")
    out = tmp_path / "mixed.parquet"
    ehrsynth.generate(runs["all"], 200, out=out, mix=0.25)
    mixed, names = pd.read_parquet(out), list(read_json(tmp_path / "mixed.provenance.json")["asked"]["mix"].values())
    assert names == [0.25, 50]
    patients = {tuple(row) for row in train[list(mixed)].astype(str).to_numpy()}
    found = [row for row in map(tuple, mixed.astype(str).to_numpy()) if row in patients]
    assert len(found) == len(set(found)) == 50
    of_women = ehrsynth.generate(runs["women"], 60, mix=0.5)
    assert isinstance(of_women, pd.DataFrame)
    assert set(of_women["sex"]) == {"F"}  # what a run never saw is none of its training rows


def test_codes_of_one_sex_come_back_with_it(aside: Path, runs: dict[str, Path]) -> None:
    known = read_json(aside / "low_prevalence.json")
    table = ehrsynth.generate(runs["all"], 4_000, reintroduce="demographics")
    assert isinstance(table, pd.DataFrame)
    never = {
        (code["column"]["name"], sex)
        for code in known["codes"]
        for sex, factor in zip(known["groups"]["sex"], code["likelier"]["sex"], strict=False)
        if factor == 0
    }
    assert never
    assert sum(table.loc[table["sex"] == sex, name].sum() for name, sex in never) == 0
    assert sum(table[name].sum() for name, _ in never) > 0


def test_in_python_rows_are_chosen_by_the_names_of_columns_too(aside: Path, runs: dict[str, Path]) -> None:
    with pytest.raises(OptionError, match=r"rows\.only\.250\.01\.1: no binary or categorical column of the schema"):
        ehrsynth.train(aside, "independent", rows={"only": {"250.01": 1}}, runs=aside.parent, logger="disabled")
    with pytest.raises(OptionError, match="oversmaple: no such option; use one of oversample, reweight, only"):
        ehrsynth.train(aside, "independent", rows={"oversmaple": {"sex.F": 2}}, runs=aside.parent)


@pytest.mark.parametrize(
    ("run", "options", "message"),
    [
        (
            "all",
            {"mix": 0.5, "reintroduce": True},
            "mix=0.5: training rows have lost the codes that reintroduce brings",
        ),
        ("women", {"merge": "women"}, "it saw a cohort only; merge one into a run that saw everybody"),
        ("all", {"merge": "all"}, "a run that saw a cohort only was expected; train with rows.only"),
    ],
)
def test_what_does_not_go_together_is_named(
    run: str, options: dict[str, object], message: str, runs: dict[str, Path]
) -> None:
    options = {name: runs.get(str(value), value) for name, value in options.items()}
    with pytest.raises(OptionError, match=message):
        ehrsynth.generate(runs[run], 20, **options)  # type: ignore[arg-type]
