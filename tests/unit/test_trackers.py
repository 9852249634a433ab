"""What is asked of a tracker before a run, and what happens when one of several fails."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyLogger

from ehrsynth.errors import OptionError
from ehrsynth.tracking import About, Tracker, require_login, tracking
from ehrsynth.tracking.destination import Asked, Destination, Ending, Outcome, Say
from tests.wandb_file import WandbFile

ABOUT = About("study", "vae", 0, "data", "f" * 64, "r" * 10)
MLFLOW = {"mlflow": {"tracking_uri": None}}


@pytest.mark.parametrize(
    ("asked", "package"),
    [
        ({"tensorboard": {"flush_secs": 10}}, "tensorboard"),
        (MLFLOW, "mlflow"),
        (MLFLOW, "sqlalchemy"),
        (MLFLOW, "alembic"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_what_brings_it(
    asked: Asked, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    require_login(asked)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(OptionError, match=rf"needs the package {package}; pip install 'ehrsynth\[trackers\]'"):
        require_login(asked)


def test_a_server_needs_no_database_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    require_login({"mlflow": {"tracking_uri": "http://127.0.0.1:9"}})


def test_a_server_that_is_not_there_is_said_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    asked = {"mlflow": {"tracking_uri": "http://127.0.0.1:9"}}
    with pytest.raises(OptionError, match=r"logger=mlflow: http://127\.0\.0\.1:9 does not take the run"):
        tracking(asked, ABOUT, tmp_path / "study/vae/r", print).__enter__()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"mode": "ofline", "project": "p", "entity": None},
            "logger.mode=ofline: unknown; use offline, online, disabled",
        ),
        ({"mode": "offline", "project": "a/b", "entity": None}, "logger.project=a/b: .*cannot contain"),
    ],
)
def test_what_wandb_does_not_take(asked: Asked, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        require_login(asked)


def test_what_a_model_logs_by_batch_stands_at_its_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    asked = {"mode": "offline", "project": "p", "entity": None}
    with tracking(asked, ABOUT, tmp_path, print) as tracker:
        (logger,) = tracker.loggers
        logger.log_metrics({"gradient": 0.5, "epoch": 0}, step=17)  # as Lightning does it
        logger.log_metrics({"loss/total": 2.0}, step=1)
    told = WandbFile(tmp_path)
    assert (told.by_epoch("gradient"), told.by_epoch("loss/total")) == ([(1, 0.5)], [(1, 2.0)])


def test_no_tracker_is_imported_before_it_is_asked_for() -> None:
    code = "import sys, ehrsynth.tracking; print({'wandb', 'tensorboard', 'mlflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class Broken(Destination):
    """A tracker that takes nothing."""

    title = "Broken"

    def __init__(self, asked: Asked, about: About, folder: Path, say: Say) -> None:
        self.logger: Logger = DummyLogger()

    @classmethod
    def wanted(cls, asked: Asked) -> bool:
        return True

    @classmethod
    def require(cls, asked: Asked) -> None: ...

    def log_config(self, config: Mapping[str, Any]) -> None:
        raise ConnectionError("cut\noff")

    def log_outcome(self, outcome: Outcome) -> None:
        raise ConnectionError("cut off")

    def close(self, ending: Ending, reason: str) -> None:
        raise ConnectionError("cut off")


def test_a_tracker_that_fails_costs_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrsynth.tracking.tracker.KINDS", (Broken,))
    said: list[str] = []
    with tracking({}, ABOUT, tmp_path, said.append) as tracker:
        assert isinstance(tracker, Tracker)
        tracker.log_config({})
        tracker.log_final([], {}, [])
    assert said == ["Broken was not told everything (ConnectionError: cut off); the run folder has it"] * 3
