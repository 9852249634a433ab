"""What is noted of runs that have not finished, and of those that were asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

from ehrsynth.errors import FileError, MachineError, TrainingError
from ehrsynth.study.attempt import FILE, LOCK, MOST_KILLS, Attempt, attempt, forget, held
from ehrsynth.study.plan import Planned, plan, planned
from ehrsynth.study.shared import owned

KILLED = """
import os, signal
from pathlib import Path
from ehrsynth.study.attempt import attempt
with attempt(Path({folder!r}), "ehrsynth train"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def failed(folder: Path, error: BaseException) -> Attempt:
    with pytest.raises(type(error)), attempt(folder, "ehrsynth train seed=1"):
        raise error
    found = Attempt.of(folder)
    assert found is not None
    return found


def test_a_finished_attempt_leaves_no_note(tmp_path: Path) -> None:
    with owned(tmp_path / LOCK, "x", print), attempt(tmp_path, "ehrsynth train"):
        running = Attempt.of(tmp_path)
        assert running is not None
        assert (running.status, running.command, running.kills) == ("running", "ehrsynth train", 0)
        assert held(tmp_path)
    assert Attempt.of(tmp_path) is None
    assert not held(tmp_path)


@pytest.mark.parametrize(
    ("error", "status", "reason", "hopeless"),
    [
        (TrainingError("loss/total is nan"), "diverged", "loss/total is nan", True),
        (MachineError("no space"), "failed", "no space", False),
        (MemoryError("of 3 GB"), "failed", "not enough memory (of 3 GB); free some and repeat the command", False),
        (KeyboardInterrupt(), "interrupted", "", False),
        (ValueError("Mrs Smith, 83"), "failed", "ValueError", False),  # what a library says may quote a patient
    ],
)
def test_how_it_ended(tmp_path: Path, error: BaseException, status: str, reason: str, hopeless: bool) -> None:
    found = failed(tmp_path, error)
    assert (found.status, found.reason, found.hopeless) == (status, reason, hopeless)
    assert found.ended is not None
    assert "Smith" not in (tmp_path / FILE).read_text()


def test_the_third_kill_is_the_last(tmp_path: Path) -> None:
    for count in range(1, MOST_KILLS + 1):
        command = [sys.executable, "-c", KILLED.format(folder=str(tmp_path))]
        assert subprocess.run(command, check=False).returncode == -9
        found = Attempt.of(tmp_path)
        assert found is not None
        assert (found.status, found.kills, found.hopeless) == ("killed", count, count == MOST_KILLS)
    assert "killed 3 times" in found.reason
    assert failed(tmp_path, MachineError("no space")).kills == MOST_KILLS  # a later one adds to what was
    forget(tmp_path)
    assert failed(tmp_path, MachineError("no space")).kills == 0


def test_seconds_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 107.0, 200.0, 201.0])
    monkeypatch.setattr("ehrsynth.study.attempt.time", lambda: next(clock))
    failed(tmp_path, MachineError("no space"))
    assert failed(tmp_path, MachineError("no space")).seconds == 7


def test_a_damaged_note_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    with pytest.raises(FileError, match=FILE):
        Attempt.of(tmp_path)


def test_a_plan_grows_and_forgets_what_was_mended(tmp_path: Path) -> None:
    assert planned(tmp_path) == []
    refused = Planned("", "ehrsynth train n=0", "n=0: a whole number, at least 1, was expected")
    first = Planned("vae/1", "ehrsynth train model=vae")
    plan(tmp_path, [first, refused], print)
    plan(tmp_path, [Planned("vae/2", "ehrsynth train seed=2")], print)
    assert [each.run for each in planned(tmp_path)] == ["vae/1", "", "vae/2"]
    begun = Planned("vae/3", refused.command)  # the same words, and now they make a run
    plan(tmp_path, [begun, first], print)
    assert [each.run for each in planned(tmp_path)] == ["vae/1", "vae/2", "vae/3"]
    (tmp_path / "plan.json").write_text('{"runs": [{"run": 1}]}')
    with pytest.raises(FileError, match=r"plan\.json"):
        planned(tmp_path)
