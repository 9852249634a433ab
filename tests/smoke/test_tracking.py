"""What trackers receive of a run, all of it, and what they must not."""

import json
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ehrsynth
from ehrsynth.errors import TrainingError
from ehrsynth.evaluation.card import card_of
from ehrsynth.study.conf import parsed
from ehrsynth.study.watch import Watch
from ehrsynth.tracking.destination import nested
from tests.conftest import WITHOUT_FIGURES, Cli, small
from tests.wandb_file import WandbFile

ALL = "logger=[wandb,tensorboard,mlflow]"
ROWS = 160

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # in MLflow


@pytest.fixture(scope="module", autouse=True)
def _at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whoever tests this may have settings of their own."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("WANDB_MODE", "offline")
        patched.setenv("WANDB_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A row per patient, with names and numbers that are nowhere else."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "patient": [f"patient-{i:03d}-of-ours" for i in range(ROWS)],
            "ward": rng.choice(["A", "B"], ROWS),
            "lab": rng.normal(7, 1, ROWS).round(9),
            "fate": rng.choice(["home", "hospice"], ROWS),
            **{f"code{i}": rng.integers(0, 2, ROWS) for i in range(10)},
        }
    )
    table.loc[0, ["ward", "code0"]] = ["Zanzibarium", 1]
    file = tmp_path_factory.mktemp("raw") / "patients.csv"
    table.to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def planted(table: Path, tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """The matrix of it."""
    folder = tmp_path_factory.mktemp("matrices") / "planted"
    options = ["source=flat", f"source.path={table}", "source.subject=patient", "source.outcomes=[fate]"]
    assert cli("prepare", *options, f"out={folder}", "split.holdout=0.2") == 0
    return folder


@pytest.fixture(scope="module")
def run(planted: Path, tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """A run that was told to all of them."""
    options = [option for option in small(planted, tmp_path_factory.mktemp("runs")) if not option.startswith("logger")]
    assert cli("train", "model=vae", ALL, *options, "seed=3") == 0
    runs = Path(next(option for option in options if option.startswith("paths.runs")).partition("=")[2])
    (report,) = runs.glob("small/vae/*/report.json")
    return report.parent


@pytest.fixture(scope="module")
def at_wandb(run: Path) -> WandbFile:
    return WandbFile(run)


def test_who_the_run_is(run: Path, at_wandb: WandbFile) -> None:
    (told,) = at_wandb.of("run")
    assert told["project"] == "ehrsynth"
    assert told["run_group"] == "small"
    assert told["job_type"] == "vae"
    assert told["run_id"] == run.name
    assert told["display_name"] == f"vae-seed3-{run.name}"
    assert told["tags"] == ["seed 3", "planted"]
    assert at_wandb.exit_code == 0


def test_the_configuration_can_be_compared_by_option(run: Path, at_wandb: WandbFile) -> None:
    config = at_wandb.config
    assert config["model"]["latent_width"] == 64
    assert config["evaluation"]["quick"]["evaluators"]["Membership"]["theta"] == 5
    assert config["run"]["run_id"] == run.name
    assert config["run"]["fingerprint"]
    assert not {"logger", "paths"} & set(config)


def test_several_objects_of_a_class_have_names_of_their_own() -> None:
    found = nested({"suite": [{"_target_": "a.Lift", "below": 1}, {"_target_": "a.Lift", "below": 2}], "sizes": [1, 2]})
    assert found == {
        "suite": {"Lift": {"_target_": "a.Lift", "below": 1}, "Lift 2": {"_target_": "a.Lift", "below": 2}},
        "sizes": [1, 2],
    }


def assert_told_once(told: list[tuple[int, float]], values: pd.Series) -> None:
    assert [epoch for epoch, _ in told] == values.index.tolist()
    assert [value for _, value in told] == pytest.approx(values.tolist())


def test_scores_and_losses_stand_by_epoch_with_the_best_and_the_last(run: Path, at_wandb: WandbFile) -> None:
    scores, losses = (pd.read_csv(run / f"{name}.csv").set_index("epoch") for name in ("metrics", "losses"))
    assert losses.index.tolist() == [1, 2]
    for name, values in losses.items():
        assert_told_once(at_wandb.by_epoch(str(name)), values)
    defined = {told.get("name", told.get("glob_name")): told for told in at_wandb.of("metric")}
    for name, values in scores.drop(columns=["checkpoint", "seconds"]).items():
        if values.isna().any():
            continue
        assert_told_once(at_wandb.by_epoch(str(name)), values)
        lower = card_of(str(name)).direction == "lower"
        assert defined[name]["step_metric"] == "epoch"
        assert defined[name]["summary"] == {"last": True, "min" if lower else "max": True}
        best = values.min() if lower else values.max()
        assert at_wandb.summary[name] == pytest.approx({"min" if lower else "max": best, "last": values.iloc[-1]})


def test_final_scores_stand_beside_their_anchors(run: Path, at_wandb: WandbFile) -> None:
    scores = json.loads((run / "report.json").read_text(encoding="utf-8"))["scores"]
    expected = {f"final/{score['metric']}": score["value"] for score in scores}
    expected |= {f"anchor/{name}/{s['metric']}": value for s in scores for name, value in s["anchors"].items()}
    expected = {name: value for name, value in expected.items() if value is not None}
    found = {name: value for name, value in at_wandb.summary.items() if name.startswith(("final/", "anchor/"))}
    assert found == pytest.approx(expected)
    (file,) = at_wandb.folder.glob("files/media/table/scores_*.table.json")
    table = json.loads(file.read_text(encoding="utf-8"))
    assert table["columns"][0] == "metric"
    assert [row[:2] for row in table["data"]] == [[score["metric"], score["value"]] for score in scores]


def test_the_pages_are_one_artifact(run: Path, at_wandb: WandbFile) -> None:
    (pages,) = (told for told in at_wandb.of("artifact") if told["type"] == "report")
    assert pages["name"] == f"report-{run.name}"
    contents = {entry["path"]: Path(entry["local_path"]) for entry in pages["manifest"]["contents"]}
    assert contents == {name: run / name for name in ("report.html", "privacy.html", "card.md")}


def kinds(names: Any) -> set[str]:
    """Return the families of metrics, and of what else has names."""
    return {str(name).partition("/")[0] for name in names if not str(name).startswith("_")}


def test_a_tracker_receives_this_and_nothing_else(run: Path, at_wandb: WandbFile) -> None:
    config = {"run", *parsed((run / "config.yaml").read_text(encoding="utf-8"), run)} - {"logger", "paths"}
    scored = kinds(pd.read_csv(run / "metrics.csv").dropna(axis=1).drop(columns="checkpoint"))
    records = {record["type"] for record in at_wandb.records}
    about_wandb = {
        "header",
        "telemetry",
        "environment",
        "stats",
        "files",
        "exit",
    }  # packages, command, machine, its load
    assert records == about_wandb | {"run", "config", "metric", "history", "summary", "artifact"}
    assert scored == {"epoch", "seconds", "fidelity", "privacy", "validity"}
    assert set(at_wandb.config) == config | {"_wandb"}
    rows = [record["item"] for record in at_wandb.of("history")]
    media = {name.partition(".")[0] for row in rows for name in row}  # which have facts such as ``scores.path``
    assert kinds(media) == scored | {"loss", "scores", "figures"}
    named = {name.partition(".")[0] for name in at_wandb.summary}
    assert kinds(named) == scored | {"loss", "scores", "figures", "final", "anchor"}
    files = {path.relative_to(at_wandb.folder) for path in at_wandb.folder.rglob("*") if path.is_file()}
    figures = "|".join(path.stem for path in (run / "figures").glob("*.png"))
    allowed = (
        rf"run-{run.name}\.wandb",
        r"files/requirements\.txt",
        r"logs/debug[\w-]*\.log",
        r"files/media/table/scores_\w+\.table\.json",
        rf"files/media/images/figures/({figures})_\w+\.png",
    )
    assert [str(file) for file in files if not re.fullmatch("|".join(allowed), str(file))] == []

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tags: dict[str, set[str]] = {}
    for file in (run / "tensorboard").iterdir():
        if file.name == "hparams.yaml":
            continue
        for kind, names in EventAccumulator(str(file)).Reload().Tags().items():
            tags.setdefault(kind, set()).update(names if isinstance(names, list) else ())
    assert {kind for kind, names in tags.items() if names} == {"scalars", "images"}
    assert kinds(tags["scalars"]) == scored - {"epoch"} | {"loss", "final", "anchor"}
    assert kinds(tags["images"]) == {"figures"}

    (found,) = mlflow_runs(run)
    assert kinds(found.data.params) == config - {"rows"}  # which are empty
    assert kinds(found.data.metrics) == scored - {"epoch"} | {"loss", "final", "anchor"}
    assert set(found.data.tags) == {"ehrsynth.run_id", "model", "seed", "data", "mlflow.runName"}
    artifacts = run.parents[2] / ".mlflow" / "artifacts" / found.info.run_id / "artifacts"
    names = {str(path.relative_to(artifacts)) for path in artifacts.rglob("*") if path.is_file()}
    pages = {f"report/{name}" for name in ("report.html", "privacy.html", "card.md")}
    assert names == pages | {f"figures/{path.name}" for path in (run / "figures").glob("*.png")}


def mlflow_runs(run: Path) -> list[Any]:
    """Return what MLflow has of the study."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.parents[2] / '.mlflow' / 'mlflow.db'}")
    return list(client.search_runs([client.get_experiment_by_name(run.parents[1].name).experiment_id]))


def test_no_cell_of_the_table_reaches_a_tracker(run: Path, table: Path) -> None:
    places = [run / "wandb", run / "tensorboard", run.parents[2] / ".mlflow"]
    contents = [file.read_bytes() for place in places for file in place.rglob("*") if file.is_file()]
    assert len(contents) > 10
    rows = pd.read_csv(table)
    synthetic = pd.read_parquet(run / "synthetic.parquet")
    numbers = [*rows["lab"], *synthetic["lab"]]
    cells = [b"Zanzibarium", *(name.encode() for name in rows["patient"])]
    cells += [repr(float(number)).encode() for number in numbers]
    cells += [struct.pack(order, number) for order in ("<d", ">d") for number in numbers]
    assert [cell for cell in cells for content in contents if cell in content] == []
    assert any(b"code0" in content for content in contents), "names of columns may be there, and are found"


def test_trackers_are_no_part_of_a_run(run: Path, planted: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    names = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert not [name for name in names if "wandb" in name or "tensorboard" in name or "mlflow" in name]
    assert cli("train", "model=vae", *small(planted, run.parents[2]), "seed=3") == 0
    assert f"finished already  {run}" in capsys.readouterr().out


def attempt(planted: Path, runs: Path, problem: BaseException | None) -> None:
    """Train four epochs; at the third there is a problem."""

    def look(row: Any) -> None:
        if problem is not None and row["epoch"] == 3:
            raise problem

    ehrsynth.train(
        planted,
        "vae",
        max_epochs=4,
        batch_size=64,
        trainer={"accelerator": "cpu"},
        suite="quick",
        evaluation={"checkpoints": 4, "rows": 100},
        logger=["wandb", "tensorboard", "mlflow"],
        runs=runs,
        watch=Watch(checkpoint=look),
    )


@pytest.mark.usefixtures("no_figures")
def test_a_run_that_ends_early_says_why_and_is_told_once_when_it_goes_on(planted: Path, tmp_path: Path) -> None:
    problems: list[tuple[BaseException, str, str]] = [
        (KeyboardInterrupt(), "interrupted", "KILLED"),
        (ValueError("patient 4711 has 12 mg"), "ValueError", "FAILED"),
        (TrainingError("the loss\nis nan"), "the loss is nan", "FAILED"),
    ]
    for problem, reason, status in problems:
        with pytest.raises(type(problem)):
            attempt(planted, tmp_path, problem)
        (config,) = tmp_path.glob("planted/vae/*/config.yaml")
        run = config.parent
        file = WandbFile(run)
        assert (file.summary["failure"], file.exit_code) == (reason, 1)
        assert [epoch for epoch, _ in file.by_epoch("loss/total")] == [1, 2]
        (told,) = mlflow_runs(run)
        assert (told.data.tags["failure"], told.info.status) == (reason, status)
        assert pd.read_csv(run / "losses.csv")["epoch"].tolist() == [1, 2, 3]
        places = [run / "wandb", run / "tensorboard", tmp_path / ".mlflow"]
        assert not any(
            b"patient 4711" in path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()
        )
    attempt(planted, tmp_path, None)
    file = WandbFile(run)
    assert file.exit_code == 0
    assert "failure" not in file.summary
    (again,) = mlflow_runs(run)
    assert again.info.run_id == told.info.run_id
    assert again.info.status == "FINISHED"
    assert "failure" not in again.data.tags
    from mlflow import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    client = MlflowClient(f"sqlite:///{tmp_path / '.mlflow' / 'mlflow.db'}")
    for metric in ("loss/total", "fidelity/apd"):
        assert [epoch for epoch, _ in file.by_epoch(metric)] == [1, 2, 3, 4]
        assert [told.step for told in client.get_metric_history(again.info.run_id, metric)] == [1, 2, 3, 4]
        files = sorted((run / "tensorboard").glob("events*"))
        told_by = [EventAccumulator(str(path)).Reload() for path in files]
        steps = [
            event.step for events in told_by if metric in events.Tags()["scalars"] for event in events.Scalars(metric)
        ]
        assert steps == [1, 2, 3, 4]


@pytest.mark.study
def test_of_two_processes_one_tells_the_run(planted: Path, tmp_path: Path) -> None:
    options = [
        option for option in small(planted, tmp_path) if not option.startswith(("logger", "trainer.accelerator"))
    ]
    command = [sys.executable, "-c", WITHOUT_FIGURES, *options, "model=vae", "trainer=ddp", ALL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "told" not in done.stdout
    (report,) = tmp_path.glob("small/vae/*/report.json")
    file = WandbFile(report.parent)
    (told,) = mlflow_runs(report.parent)
    for metric in ("loss/total", "fidelity/apd"):
        assert [epoch for epoch, _ in file.by_epoch(metric)] == [1, 2]
        assert metric in told.data.metrics
    assert file.exit_code == 0
    assert "final/fidelity/apd" in file.summary
    assert told.info.status == "FINISHED"
