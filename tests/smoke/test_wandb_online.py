"""A run that is told to a server of W&B: without a key or a network, cut off from it, going on, in a sweep of W&B."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.conftest import small
from tests.wandb_server import WandbServer, wandb_server

# ``python -c RUN MATRIX RUNS EPOCH MODE``: a run that is interrupted while it scores that epoch.
RUN = """
import sys
import ehrsynth
from ehrsynth.study import judge
from ehrsynth.study.watch import Watch
from ehrsynth.tracking import wandb
judge.report_figures = lambda *_, **__: []
wandb.UPLOAD = 8.0
matrix, runs, epoch, mode = sys.argv[1:]
places = ("prevalence.Prevalence", "dimension_wise_distance.DimensionWiseDistance")
suite = {
    "_target_": "ehrsynth.evaluation.suite.Suite",
    "evaluators": [{"_target_": f"ehrsynth.evaluation.fidelity.{place}"} for place in places],
}

def look(row):
    if row["epoch"] == int(epoch):
        raise KeyboardInterrupt

ehrsynth.train(
    matrix, "vae", max_epochs=3, batch_size=128, trainer={"accelerator": "cpu"}, suite=suite, quick=suite,
    evaluation={"checkpoints": 3, "rows": 100}, logger=mode, runs=runs, watch=Watch(checkpoint=look, say=print),
)
"""


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with wandb_server() as served:
        yield served


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a person who has never used W&B."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    (tmp_path / "home").mkdir()
    commands = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    home = str(tmp_path / "home")
    return {**kept, "HOME": home, "PATH": commands, "WANDB_DATA_DIR": home, "WANDB_DIR": home}


def called(environment: dict[str, str], *command: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("key", "reachable"),
    [
        pytest.param("x" * 40, True, id="wrong key"),
        pytest.param("k" * 40, False, id="no network", marks=pytest.mark.study),
    ],
)
def test_what_cannot_be_told_online_is_said_before_training(
    key: str, reachable: bool, server: WandbServer, environment: dict[str, str], matrix: Path, tmp_path: Path
) -> None:
    server.reachable = reachable
    environment |= server.environment | {"WANDB_API_KEY": key}
    options = [option for option in small(matrix, tmp_path / "runs") if not option.startswith("logger")]
    done = called(environment, "-m", "ehrsynth.cli.train", *options, "model=independent", "logger.mode=online")
    assert done.returncode == 2, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("ehrsynth train: error"))
    assert "logger.mode=online" in line
    assert "use logger.mode=offline" in line
    assert not list((tmp_path / "runs").rglob("checkpoints"))


@pytest.mark.study
def test_an_interrupted_run_goes_on_where_the_server_knows_it(
    server: WandbServer, environment: dict[str, str], matrix: Path, tmp_path: Path
) -> None:
    environment |= server.environment
    first = called(environment, "-c", RUN, matrix, tmp_path, 3, "online")
    (run_id,) = server.runs
    assert server.summary[run_id]["failure"] == "interrupted"
    known = len(server.history[run_id])
    then = called(environment, "-c", RUN, matrix, tmp_path, 0, "online")
    assert (first.returncode != 0, then.returncode) == (True, 0), then.stderr
    assert list(server.runs) == [run_id]
    assert f"{server.url}/me/ehrsynth/runs/{run_id}" in then.stdout
    assert server.exits[run_id] == [1, 0]
    assert "failure" not in server.summary[run_id]
    (metrics,) = tmp_path.glob("*/vae/*/metrics.csv")
    scores = pd.read_csv(metrics)
    for metric in ("loss/total", "fidelity/apd"):
        told = [row["epoch"] for row in server.history[run_id] if metric in row]
        assert told == [1, 2, 3]
    assert known == 4, "two epochs, each with losses and scores"
    best = {"min": scores["fidelity/apd"].min(), "last": scores["fidelity/apd"].iloc[-1]}
    assert server.summary[run_id]["fidelity/apd"] == pytest.approx(best)
    for name in ("report.html", "privacy.html", "card.md"):
        assert server.files[f"report-{run_id}/{name}"] == metrics.with_name(name).read_bytes()


@pytest.mark.study
def test_a_run_that_loses_its_server_is_sent_later(
    server: WandbServer, environment: dict[str, str], matrix: Path, tmp_path: Path
) -> None:
    environment |= server.environment
    command = [sys.executable, "-c", RUN, str(matrix), str(tmp_path), "0", "online"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as going:
        while going.poll() is None and not server.runs:
            pass
        server.reachable = False
        said, problems = going.communicate()
    assert going.returncode == 0, problems
    (run_id,) = server.runs
    (report,) = tmp_path.glob("*/vae/*/report.json")
    assert "final/fidelity/apd" not in server.summary.get(run_id, {})
    (command,) = re.findall("`wandb (sync .*)`", said)
    server.reachable = True
    sent = called(environment, "-m", "wandb", *command.split())
    assert sent.returncode == 0, sent.stderr
    assert_whole(server, run_id, report.parent)
    assert "the run folder has it" in said, "the pages would have needed the server at once"


def assert_whole(server: WandbServer, run_id: str, folder: Path) -> None:
    """Fail unless the server has all of a run."""
    for metric in ("loss/total", "fidelity/apd"):
        told = [row["epoch"] for row in server.history[run_id] if metric in row]
        assert told == pd.read_csv(folder / "metrics.csv")["epoch"].tolist()
    assert "final/fidelity/apd" in server.summary[run_id]
    assert server.exits[run_id][-1] == 0


@pytest.mark.study
def test_offline_attempts_are_sent_later_as_one_run(
    server: WandbServer, environment: dict[str, str], matrix: Path, tmp_path: Path
) -> None:
    environment |= server.environment
    for epoch in (3, 0):
        before = server.requests
        done = called(environment, "-c", RUN, matrix, tmp_path, epoch, "offline")
        assert server.requests == before, "offline opens no connection"
        (folder,) = tmp_path.glob("small/vae/*")
        (attempt,) = folder.glob("wandb/offline-run-*")
        sent = called(environment, "-m", "wandb", "sync", attempt)
        assert sent.returncode == 0, sent.stderr
        assert list(server.runs) == [folder.name]
        assert server.exits[folder.name][-1] == (epoch != 0) == (done.returncode != 0)
    assert_whole(server, folder.name, folder)
    for name in ("report.html", "privacy.html", "card.md"):
        assert server.files[f"report-{folder.name}/{name}"] == (folder / name).read_bytes()


@pytest.mark.study
def test_a_sweep_of_wandb_drives_the_command(
    server: WandbServer, environment: dict[str, str], matrix: Path, tmp_path: Path
) -> None:
    environment |= server.environment
    file = Path(__file__).parents[2] / "experiments" / "wandb-sweep" / "sweep.yaml"
    made = called(environment, "-m", "wandb", "sweep", "--project", "ehrsynth", file)
    assert made.returncode == 0, made.stderr
    trial = {"model.latent_width": 16, "model.learning_rate": 0.002}
    assert set(trial) == set(yaml.safe_load(file.read_text(encoding="utf-8"))["parameters"])
    tiny = dict(option.split("=", 1) for option in small(matrix, tmp_path) if not option.startswith("logger"))
    server.trials = [{**tiny, **trial}]
    ran = called(environment, "-m", "wandb", "agent", "--count", "1", "me/ehrsynth/sweep1")
    assert ran.returncode == 0, ran.stderr
    (report,) = tmp_path.glob("small/vae/*/report.json")
    (run_id,) = server.runs
    assert run_id == "given1", "a sweep gives the run its id"
    config = json.loads(server.runs[run_id]["config"])
    assert config["run"]["value"]["run_id"] == report.parent.name
    assert (config["model"]["value"]["latent_width"], config["model"]["value"]["learning_rate"]) == (16, 0.002)
    assert server.summary[run_id]["utility/tstr_auroc"]["max"] == pytest.approx(
        pd.read_csv(report.with_name("metrics.csv"))["utility/tstr_auroc"].max()
    )
