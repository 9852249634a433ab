"""A study that survives: launchers agree, what fails is noted, what is killed is launched again."""

import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.files import read_json, write_json
from ehrsynth.study.attempt import Attempt
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.status import status_of
from tests.conftest import Cli, small

MORTAL = """\
import os, signal
from pathlib import Path
from ehrsynth.models.independent import IndependentMarginals

class Mortal(IndependentMarginals):
    \"\"\"Its process dies as often as lives are left in a file.\"\"\"
    def __init__(self, *, schema, seed=0, lives=""):
        super().__init__(schema=schema, seed=seed)
        self.lives = lives
    def observe(self, records):
        left = int(Path(self.lives).read_text())
        if left:
            Path(self.lives).write_text(str(left - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        super().observe(records)
"""
SUITE = """\
_target_: ehrsynth.evaluation.suite.Suite
_convert_: all
evaluators:
  - _target_: ehrsynth.evaluation.fidelity.dimension_wise_distance.DimensionWiseDistance
"""
pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("no_figures")]


@pytest.fixture
def options(matrix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of runs of a second, with a model that can be killed."""
    (tmp_path / "conf" / "suite").mkdir(parents=True)
    (tmp_path / "conf" / "model").mkdir()
    (tmp_path / "conf" / "suite" / "tiny.yaml").write_text(SUITE)
    (tmp_path / "conf" / "model" / "mortal.yaml").write_text(
        f"# @package _global_\nmodel:\n  _target_: mortal.Mortal\n  _convert_: all\n  lives: {tmp_path / 'lives'}\n"
        "trainer: {max_epochs: 1}\n"
    )
    (tmp_path / "mortal.py").write_text(MORTAL)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(str(tmp_path))
    tiny = ["suite@evaluation.quick=tiny", "suite@evaluation.full=tiny", "evaluation.checkpoints=1"]
    kept = [option for option in small(matrix, tmp_path / "runs") if "suite" not in option and "checkp" not in option]
    return ["-m", f"--config-dir={tmp_path / 'conf'}", *kept, *tiny]


def scores(study: Path) -> dict[str, pd.DataFrame]:
    runs = sorted(path.parent for path in study.glob("*/*/report.json"))
    return {"/".join(run.parts[-2:]): RunFolder(run).frame for run in runs}


LAUNCHERS = [
    pytest.param(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], "joblib", id="joblib", marks=pytest.mark.study),
    pytest.param(["hydra/launcher=submitit_local"], "submitit", id="submitit", marks=pytest.mark.study),
    pytest.param(["hydra/launcher=ray"], "ray", id="ray", marks=pytest.mark.study),
]


@pytest.mark.parametrize(("launcher", "package"), LAUNCHERS)
def test_launchers_agree(options: list[str], cli: Cli, tmp_path: Path, launcher: list[str], package: str) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    sweep = [*options, "model=independent", "seed=0,1"]
    assert cli("train", *sweep, "study=alone") == 0
    assert cli("train", *sweep, "study=together", *launcher) == 0
    alone, together = (scores(tmp_path / "runs" / name) for name in ("alone", "together"))
    assert list(alone) == list(together)
    assert len(alone) == 2
    for name, frame in alone.items():
        pd.testing.assert_frame_equal(frame, together[name])
    assert (tmp_path / "runs" / "together" / "ranking.html").is_file()
    assert len(list((tmp_path / "runs" / ".anchors").glob("*.json"))) == 1


@pytest.mark.study
def test_what_is_killed_is_launched_again_but_the_third_time(
    options: list[str], cli: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One run dies with the worker that has it, twice the other does, which has died once before."""
    study, lives = tmp_path / "runs" / "small", tmp_path / "lives"
    joblib = ["model=independent,mortal", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    lives.write_text("1")
    assert cli("train", *options, *joblib) == 0
    assert "a process of the sweep was killed" in capfd.readouterr().out
    assert lives.read_text() == "0"
    assert {each.status for each in status_of(study)} == {"done"}

    (mortal,) = study.glob("mortal/*")
    shutil.rmtree(mortal)
    mortal.mkdir()
    note = {"status": "running", "command": "x", "process": 1, "machine": "m", "started": 1.0, "kills": 1}
    write_json(mortal / ".attempt.json", note)  # killed twice
    lives.write_text("1")
    assert cli("train", *options, *joblib) == 1
    assert "its process was killed 3 times, perhaps for want of memory" in capfd.readouterr().err
    assert sorted(each.status for each in status_of(study)) == ["done", "killed"]
    assert cli("train", *options, "model=mortal,independent") == 1  # it would be done now, but is not tried
    assert "retry=failed tries it again" in capfd.readouterr().err
    assert cli("train", *options, "model=mortal,independent", "retry=failed") == 0
    assert {each.status for each in status_of(study)} == {"done"}


def test_where_a_study_stands(options: list[str], cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run done, one diverged, one refused, one missing: each is told, and goes on as far as it can."""
    study = tmp_path / "runs" / "small"
    sweep = [*options, "model=vae", "model.learning_rate=0.001,1e30", "n=50,0"]
    assert cli("train", *sweep) == 2  # for the first that failed, n=0
    capsys.readouterr()
    found = status_of(study)
    assert sorted(each.status for each in found) == ["diverged", "done", "failed", "failed"]
    diverged = next(each for each in found if each.status == "diverged")
    assert re.search(r"nan|inf", diverged.reason)
    assert {each.reason for each in found if each.status == "failed"} == {
        "n=0: a whole number, at least 1, was expected"
    }
    (done,) = [each for each in found if each.status == "done"]
    assert (done.epoch, done.epochs) == (2, 2)
    assert done.seconds
    assert done.seconds > 0

    assert cli("train", *sweep) == 2  # the same again: what diverged would diverge again
    assert "left aside, retry=failed tries it again" in capsys.readouterr().err
    noted = Attempt.of(study / diverged.run)
    shutil.rmtree(study / done.run)
    assert {each.status for each in status_of(study)} == {"diverged", "failed", "missing"}

    assert cli("study", study, "retry=failed") == 0
    shown = capsys.readouterr().out
    assert "failed again" in shown
    assert "2 failed, 1 diverged, 1 missing" in shown
    again = Attempt.of(study / diverged.run)
    assert noted is not None
    assert again is not None
    assert again.started > noted.started
    assert cli("study", tmp_path / "none") == 2
    assert "the folder of a study, as runs/STUDY, was expected" in capsys.readouterr().err
    assert cli("study", study, "retry=all") == 2


def test_a_retried_run_is_the_same_run(options: list[str], cli: Cli, tmp_path: Path) -> None:
    """What `study retry=failed` makes from a run's own config has the identity that its options gave it."""
    (tmp_path / "lives").write_text("0")
    assert cli("train", *options, "model=mortal", "rows.oversample.sex.F=2", "n=40,50") == 0
    study = tmp_path / "runs" / "small"
    before = scores(study)
    for run in study.glob("mortal/*"):
        (run / "report.json").unlink()
        for file in ("synthetic.parquet", "manifest.json"):
            (run / file).unlink()
        note = {"status": "failed", "command": "x", "process": 1, "machine": "m", "started": 1.0, "ended": 2.0}
        write_json(run / ".attempt.json", note)
    assert cli("study", study, "retry=failed") == 0
    after = scores(study)
    assert list(before) == list(after)
    for name, frame in before.items():
        pd.testing.assert_frame_equal(frame, after[name])
    assert read_json(study / "plan.json")["runs"][0]["run"] in before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["trainer=ddp", "trainer.strategy=ddp"], "would begin the whole sweep again"),
        (
            ["hydra/launcher=joblib", "trainer.accelerator=gpu", "trainer=ddp"],
            "hydra/launcher=joblib gives every run one device",
        ),
        (["hydra/launcher=none"], "'hydra/launcher/none': no such option"),
        (["retry=all"], "retry=all: failed was expected"),
    ],
)
def test_what_cannot_be_combined_is_refused(
    options: list[str], cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str], said: str
) -> None:
    assert cli("train", *options, "model=vae", "seed=0,1", *asked) == 2
    assert said in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("small/*"))


def test_of_a_finished_run_the_best_checkpoints_are_kept_and_can_be_gone_on_from(
    options: list[str], cli: Cli, tmp_path: Path
) -> None:
    one = [option for option in options if option != "-m" and not option.startswith("evaluation.checkpoints")]
    four = [*one, "model=vae", "trainer.max_epochs=4", "evaluation.checkpoints=4"]
    assert cli("train", *four) == 0
    assert cli("train", *four, "keep=2", "study=pruned") == 0
    (all_of,), (best,) = ((tmp_path / "runs" / name).glob("vae/*") for name in ("small", "pruned"))
    names = [path.name for path in sorted((all_of / "checkpoints").iterdir())]
    kept = [path.name for path in sorted((best / "checkpoints").iterdir())]
    assert len(names) == 4
    assert len(kept) == 2
    run = RunFolder(best)
    assert run.chosen_checkpoint.name in kept
    assert sorted([*read_json(run.pruned)["checkpoints"], *kept]) == names
    assert all_of.name == best.name  # what is kept of a run does not change what it is
    before = run.frame
    pd.testing.assert_frame_equal(before, RunFolder(all_of).frame)

    run.synthetic.unlink()
    assert cli("train", *four, "keep=2", "study=pruned") == 0
    pd.testing.assert_frame_equal(before, RunFolder(best).frame)
    assert [path.name for path in sorted((best / "checkpoints").iterdir())] == kept
    assert cli("train", *four, "keep=0") == 2
