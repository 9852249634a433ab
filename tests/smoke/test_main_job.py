"""The main job on a small demo matrix, through the command line: every file, every verb, every way back in."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import ehrsynth
from ehrsynth.constraints import Rules, load
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import OptionError
from ehrsynth.evaluation.ranking import choose_checkpoint
from ehrsynth.files import sha256
from ehrsynth.schema import Schema
from ehrsynth.study.run_folder import RunFolder
from tests.conftest import WITHOUT_FIGURES, Cli, small

CONTRACT = (
    "config.yaml",
    "checkpoints",
    "metrics.csv",
    "report.json",
    "report.html",
    "synthetic.parquet",
    "schema.json",
    "card.md",
    "provenance.json",
)


def runs_of(study: Path) -> dict[str, RunFolder]:
    return {path.parent.parent.name: RunFolder(path.parent) for path in study.glob("*/*/report.json")}


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_sweep_leaves_every_file_of_the_contract(study: Path, matrix: Path) -> None:
    runs = runs_of(study)
    assert set(runs) == {"vae", "independent"}
    schema = Matrix.open(matrix).schema
    for run in runs.values():
        assert all((run.path / name).exists() for name in CONTRACT)
        metrics = pd.read_csv(run.metrics)
        assert metrics["epoch"].tolist() == [1, 2]
        assert all((run.path / "checkpoints" / name).is_file() for name in metrics["checkpoint"])
        synthetic = pd.read_parquet(run.synthetic)
        assert len(schema.validate(synthetic, "synthetic")) == run.provenance["rows"]["train"]
        assert "subject_id" not in synthetic
        page = run.html.read_text(encoding="utf-8")
        assert "<script" not in page
        page = page.replace("http://www.w3.org", "").replace("http-equiv", "")
        assert "http" not in page, "the report must open offline"
    assert (study / "ranking.html").is_file()
    assert pd.read_csv(study / "ranking.csv")["position"].min() == 1


def test_the_report_says_what_an_independent_computation_says(study: Path, matrix: Path) -> None:
    """Prevalence differences from the files on disk, by pandas alone."""
    opened = Matrix.open(matrix)
    for run in runs_of(study).values():
        real = pd.read_parquet(matrix / "train.parquet")
        synthetic = pd.read_parquet(run.synthetic)
        gaps = []
        for column in opened.schema.columns:
            if column.kind == "binary":
                gaps.append(abs(real[column.name].mean() - synthetic[column.name].mean()))
            elif column.kind == "categorical":
                gaps += [
                    abs((real[column.name] == level).mean() - (synthetic[column.name] == level).mean())
                    for level in column.levels
                ]
            elif column.missing:
                gaps.append(abs(real[column.name].isna().mean() - synthetic[column.name].isna().mean()))
        value = next(score.value for score in run.scores() if score.metric == "fidelity/apd")
        assert value == pytest.approx(sum(gaps) / len(gaps), abs=1e-6)


def test_anchors_stand_where_they_must(study: Path) -> None:
    for run in runs_of(study).values():
        anchors = {score.metric: score.anchors for score in run.scores()}
        assert anchors["fidelity/apd"]["train_copy"] == 0
        assert anchors["fidelity/correlation_distance"]["train_copy"] == pytest.approx(0, abs=1e-9)
        assert anchors["privacy/membership_auc"]["train_copy"] > 0.95
        assert abs(anchors["privacy/membership_auc"]["fresh_real"] - 0.5) < 0.1


def test_repeating_a_sweep_repeats_nothing(study: Path, matrix: Path, cli: Cli) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.glob("*/*/**/*") if path.is_file()}
    assert cli("train", "-m", "model=vae,independent", *small(matrix, study.parent)) == 0
    after = {path: path.stat().st_mtime_ns for path in study.glob("*/*/**/*") if path.is_file()}
    assert after == before


@pytest.mark.usefixtures("no_figures")
def test_the_same_seed_gives_the_same_run_and_another_does_not(
    study: Path, matrix: Path, cli: Cli, tmp_path: Path
) -> None:
    assert cli("train", "-m", "model=vae", "seed=0,1", *small(matrix, tmp_path)) == 0
    again = {
        RunFolder(p.parent).provenance["seed"]: RunFolder(p.parent) for p in tmp_path.glob("small/*/*/report.json")
    }
    first = runs_of(study)["vae"]
    assert again[0].path.name == first.path.name
    assert sha256(again[0].synthetic) == sha256(first.synthetic)
    same = [
        (a.metric, a.value, a.ci) == (b.metric, b.value, b.ci)
        for a, b in zip(again[0].scores(), first.scores(), strict=True)
    ]
    assert all(same)
    assert sha256(again[1].synthetic) != sha256(first.synthetic)


def test_the_chosen_checkpoint_is_the_one_the_profile_ranks_first(study: Path, cli: Cli) -> None:
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from ehrsynth.study.conf import conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train")
    directions = {card.name: card.direction for card in instantiate(cfg.evaluation.quick).cards}
    for run in runs_of(study).values():
        rows = pd.read_csv(run.metrics).set_index("epoch")
        assert run.provenance["epoch"] == choose_checkpoint(rows, directions, instantiate(cfg.profile))


@pytest.mark.usefixtures("no_figures")
def test_a_failed_job_does_not_stop_the_others(
    matrix: Path, cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = cli("train", "-m", "model=independent", "n=0,50", *small(matrix, tmp_path))
    assert status == 2
    sizes = {len(pd.read_parquet(path)) for path in tmp_path.glob("small/independent/*/synthetic.parquet")}
    assert sizes == {50}
    assert "n=0: a whole number, at least 1, was expected" in capsys.readouterr().err


def test_generate(study: Path, matrix: Path, cli: Cli, tmp_path: Path) -> None:
    run = runs_of(study)["vae"].path
    assert cli("generate", f"run={run}", "n=70", f"out={tmp_path / 'a.csv'}") == 0
    assert cli("generate", f"run={run}", "n=70", f"out={tmp_path / 'b.csv'}") == 0
    assert cli("generate", f"run={run}", "n=70", "seed=1", f"out={tmp_path / 'c.parquet'}") == 0
    a = pd.read_csv(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert len(a) == 70
    schema = Matrix.open(matrix).schema
    c = schema.validate(pd.read_parquet(tmp_path / "c.parquet"), "c")
    assert not torch.equal(Encoder(schema).encode(a).dense(), Encoder(schema).encode(c).dense())


def test_generate_with_a_condition_and_the_rare_codes(study: Path, matrix: Path, cli: Cli, tmp_path: Path) -> None:
    run = runs_of(study)["vae"]
    out = tmp_path / "women.parquet"
    assert cli("generate", f"run={run.path}", "n=40", f"out={out}", "condition.sex=F", "reintroduce=true") == 0
    women = pd.read_parquet(out)
    assert len(women) == 40
    assert set(women["sex"]) == {"F"}
    rare = json.loads((matrix / "low_prevalence.json").read_text(encoding="utf-8"))["codes"]
    assert rare
    assert {code["column"]["name"] for code in rare} <= set(women.columns)
    made = json.loads((tmp_path / "women.provenance.json").read_text(encoding="utf-8"))
    assert made["run"]["run_id"] == run.path.name
    assert made["run"]["checkpoint"]["sha256"] == sha256(run.chosen_checkpoint)
    assert made["table"] == {"file": "women.parquet", "sha256": sha256(out), "columns": len(women.columns)}
    assert made["how"]["ways"] == {"sex": "rejection"}
    assert made["how"]["share"] == made["how"]["accepted"] / made["how"]["drawn"]
    assert made["asked"]["condition"] == {"sex": "F"}
    assert made["asked"]["reintroduce"] is True


def test_generate_with_the_outcome_as_often_as_in_training(study: Path, matrix: Path, tmp_path: Path) -> None:
    run, (outcome, *_) = runs_of(study)["independent"], Matrix.open(matrix).schema.outcomes
    said: list[str] = []
    table = ehrsynth.generate(run, 500, post_selection=outcome.name, watch=ehrsynth.Watch(say=said.append))
    assert isinstance(table, pd.DataFrame)
    train = pd.read_parquet(matrix / "train.parquet")[outcome.name]
    assert table[outcome.name].sum() == pytest.approx(500 * train.mean(), abs=0.5)
    assert said == [f"post_selection={outcome.name}: 500 of 1,500 records drawn were kept"]
    with pytest.raises(OptionError, match="it keeps of what the model draws freely; leave out condition"):
        ehrsynth.generate(run, 5, post_selection=outcome.name, condition={"sex": "F"})


def test_partial_records_and_rules(study: Path, tmp_path: Path) -> None:
    run = runs_of(study)["vae"]
    schema = Schema.load(run.schema)
    asked = pd.read_parquet(run.synthetic).head(40)[["sex", "age"]].astype({"age": object})
    asked.loc[::2, "age"] = None
    asked.to_csv(tmp_path / "asked.csv", index=False)
    written = ehrsynth.generate(run, out=tmp_path / "s.parquet", conditions=tmp_path / "asked.csv", policy="reject")
    found = pd.read_parquet(tmp_path / "s.parquet")
    assert found["sex"].tolist() == asked["sex"].tolist()
    assert found["age"][1::2].tolist() == asked["age"][1::2].tolist()
    rules = Rules(load(run.constraints, schema), schema)
    assert len(rules)
    assert not rules.broken(Encoder(schema).encode(found).dense().nan_to_num(0.0)).any()
    made = json.loads(written.provenance.read_text(encoding="utf-8"))
    assert made["asked"]["conditions"] == {"file": "asked.csv", "sha256": sha256(tmp_path / "asked.csv")}
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / "constraints.json").unlink()
    with pytest.raises(OptionError, match=r"constraints.policy=reject: .* has no constraints.json, for the version"):
        ehrsynth.generate(tmp_path / "run", 5, policy="reject")


@pytest.mark.usefixtures("no_figures")
def test_evaluate_scores_two_files_as_train_did(study: Path, matrix: Path, cli: Cli, tmp_path: Path) -> None:
    run = runs_of(study)["vae"]
    status = cli(
        "evaluate",
        f"train={matrix / 'train.parquet'}",
        f"holdout={matrix / 'holdout.parquet'}",
        f"synthetic={run.synthetic}",
        f"schema={matrix / 'schema.json'}",
        f"out={tmp_path / 'report'}",
        "suite=quick",
    )
    assert status == 0
    found = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert set(found) == {"scores", "rows", "versions", "data", "warnings"}
    expected = {score.metric: score for score in run.scores()}
    for score in found["scores"]:
        assert score["value"] == pytest.approx(expected[score["metric"]].value, abs=1e-9), score["metric"]
        assert score["anchors"] == pytest.approx(dict(expected[score["metric"]].anchors), abs=1e-9)


@pytest.mark.usefixtures("no_figures")
def test_evaluate_infers_a_schema_from_foreign_csv_files(matrix: Path, cli: Cli, tmp_path: Path) -> None:
    for name in ("train", "holdout"):
        frame = pd.read_parquet(matrix / f"{name}.parquet")
        frame.iloc[:, :40].to_csv(tmp_path / f"{name}.csv", index=False)
    pd.read_csv(tmp_path / "train.csv").drop(columns="subject_id").to_csv(tmp_path / "s.csv", index=False)
    files = [
        f"{name}={tmp_path / file}.csv"
        for name, file in (("train", "train"), ("holdout", "holdout"), ("synthetic", "s"))
    ]
    assert cli("evaluate", *files, f"out={tmp_path / 'r'}", "suite=quick") == 0
    scores = {
        s["metric"]: s for s in json.loads((tmp_path / "r" / "report.json").read_text(encoding="utf-8"))["scores"]
    }
    assert scores["fidelity/apd"]["value"] == 0
    assert scores["utility/tstr_auroc"]["status"] == "skipped"
    assert (tmp_path / "r" / "schema.json").is_file()


def test_rank_writes_a_table_and_a_comparison(study: Path, cli: Cli, tmp_path: Path) -> None:
    assert cli("rank", f"runs={study}/**", "profile=education", f"out={tmp_path / 'ranking.csv'}") == 0
    assert set(pd.read_csv(tmp_path / "ranking.csv")["group"]) == {"vae", "independent"}
    assert "vae" in (tmp_path / "ranking.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_figures")
def test_reports_of_evaluate_can_be_ranked_too(study: Path, matrix: Path, cli: Cli, tmp_path: Path) -> None:
    real = [f"{name}={matrix / name}.parquet" for name in ("train", "holdout")]
    for name, run in runs_of(study).items():
        files = [*real, f"synthetic={run.synthetic}", f"schema={matrix / 'schema.json'}", f"out={tmp_path / name}"]
        assert cli("evaluate", "suite=quick", *files) == 0
    assert cli("rank", f"runs={tmp_path}/*/report.json", f"out={tmp_path / 'ranking.csv'}") == 0
    assert set(pd.read_csv(tmp_path / "ranking.csv")["group"]) == {str(tmp_path / name) for name in runs_of(study)}


@pytest.mark.study
@pytest.mark.usefixtures("no_figures")
def test_a_sweep_over_the_data_ranks_each_study(cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [option for option in small(tmp_path, tmp_path) if not option.startswith(("study", "data.matrix"))]
    options += [f"paths.matrices={tmp_path / 'matrices'}", "model=independent", "data.n=400,500"]
    assert cli("train", "-m", *options) == 0
    assert capsys.readouterr().out.count("lowest weighted rank is best") == 2
    assert all((tmp_path / name / "ranking.html").is_file() for name in ("demo-n400", "demo-n500"))


@pytest.mark.usefixtures("no_figures")
def test_losses_are_written_even_if_only_the_report_was_left_to_do(
    study: Path, matrix: Path, cli: Cli, tmp_path: Path
) -> None:
    shutil.copytree(study / "vae", tmp_path / "small" / "vae")
    (run,) = (tmp_path / "small" / "vae").iterdir()
    before = (run / "losses.csv").read_bytes()
    for name in ("losses.csv", "report.json"):
        (run / name).unlink()
    assert cli("train", "model=vae", *small(matrix, tmp_path)) == 0
    assert (run / "losses.csv").read_bytes() == before


@pytest.mark.study
def test_ctrl_c_says_how_to_go_on(matrix: Path, tmp_path: Path) -> None:
    options = [*small(matrix, tmp_path), "trainer.max_epochs=100000", "evaluation.checkpoints=50000"]
    command = [sys.executable, "-m", "ehrsynth.cli.train", *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not list(tmp_path.glob("small/vae/*/checkpoints/epoch=*.ckpt")):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "the same command goes on where it stopped" in errors


def heed_ctrl_c() -> None:
    """A shell starts its background jobs deaf to SIGINT, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.usefixtures("no_figures")
def test_a_killed_sweep_goes_on_where_it_stopped(
    matrix: Path, cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL after the second checkpoint of the second run; then the same command again."""
    changed = ("trainer.max_epochs", "evaluation.checkpoints", "paths.runs")
    options = [option for option in small(matrix, tmp_path) if not option.startswith(changed)]
    options += ["trainer.max_epochs=12", "evaluation.checkpoints=6"]
    sweep = ["-m", "model=independent,vae", f"paths.runs={tmp_path}", *options]
    command = [sys.executable, "-c", WITHOUT_FIGURES, *sweep]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("small/vae/*/checkpoints/epoch=*.ckpt"))) < 2:
        assert process.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    (vae,) = tmp_path.glob("small/vae/*")
    (done,) = tmp_path.glob("small/independent/*")
    assert not (vae / "report.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in (vae / "checkpoints").glob("epoch=*.ckpt")}
    finished = contents(done)

    assert cli("train", *sweep) == 0
    assert "finished already" in capsys.readouterr().out
    assert contents(done) == finished
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in kept.items())
    metrics = pd.read_csv(vae / "metrics.csv")
    assert metrics["epoch"].tolist() == [2, 4, 6, 8, 10, 12]
    assert pd.read_csv(vae / "losses.csv")["epoch"].tolist() == list(range(1, 13))
    for path in [*tmp_path.rglob("*.json"), *tmp_path.rglob("*.parquet")]:
        assert not path.name.startswith("."), f"half-written file left behind: {path}"

    unbroken = tmp_path / "unbroken"
    assert cli("train", "model=vae", f"paths.runs={unbroken}", *options) == 0
    (reference,) = unbroken.glob("small/vae/*")
    assert sha256(vae / "synthetic.parquet") == sha256(reference / "synthetic.parquet")
    drop = ["seconds"]
    pd.testing.assert_frame_equal(metrics.drop(columns=drop), pd.read_csv(reference / "metrics.csv").drop(columns=drop))
