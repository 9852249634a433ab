"""Trials that several processes share: none is lost, none is done twice, and a database that is none is named."""

import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from ehrsynth.errors import FileError
from ehrsynth.study.search.database import database
from ehrsynth.study.search.record import importance, recorded, trial_table, winners_of
from ehrsynth.study.search.spaces import Choices, Range, Space
from ehrsynth.study.search.trials import Taken, Trials

SPACE: Space = {"model.x": Range(0.0, 1.0), "model.n": Range(2, 64, True), "model.c": Choices(([1], "two", True))}
FIRST = {"model.x": 0.5, "model.n": 8}
FACTS: dict[str, Any] = {
    "model": "m",
    "command": "ehrsynth train",
    "space": {"model.x": "0 to 1"},
    "objectives": {"utility": {"a": 1.0}, "privacy": {"b": 1.0}},
    "weights": {"utility": 0.5, "privacy": 0.5},
    "left_out": {},
}


def trials_in(folder: Path, seed: int = 0) -> Trials:
    return Trials(
        folder / "search.db", "m-1", space=SPACE, objectives=["utility", "privacy"], seed=seed, first=FIRST, facts=FACTS
    )


def take(trials: Trials, limit: int = 100, seconds: float | None = None) -> Taken:
    taken = trials.take(limit, seconds)
    assert isinstance(taken, Taken)
    return taken


def note(score: float, utility: float = 0.0, privacy: float = 0.0) -> dict[str, Any]:
    return {"epoch": 1, "score": score, "objectives": {"utility": utility, "privacy": privacy}}


def finish(trials: Trials, taken: Taken, utility: float, privacy: float) -> None:
    reached = note((utility + privacy) / 2, utility, privacy)
    trials.finish(taken, [utility, privacy], chosen=reached, checkpoints={"1": reached}, values=taken.values)
    trials.release(taken)


def carry_out(trials: Trials, limit: int) -> list[dict[str, Any]]:
    """Carry out trials one after the other: utility is x, privacy is against it."""
    drawn = []
    while taken := trials.take(limit, None):
        if taken is True:  # another process is at the last one
            sleep(0.1)
            continue
        assert isinstance(taken, Taken)
        drawn.append(taken.values)
        finish(trials, taken, taken.values["model.x"], 1 / taken.values["model.n"])
    return drawn


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a? {x} %20#b&c=d"
    drawn = carry_out(trials_in(folder), 1)
    assert drawn[0]["model.x"] == 0.5
    assert drawn[0]["model.n"] == 8
    assert sorted(path.name for path in folder.iterdir()) == [".search.db.lock", "search.db"]


def test_as_many_as_were_asked_for_and_more_go_on_from_there(tmp_path: Path) -> None:
    assert len(carry_out(trials_in(tmp_path), 3)) == 3
    assert carry_out(trials_in(tmp_path), 3) == []
    assert len(carry_out(trials_in(tmp_path), 5)) == 2
    assert [trial.number for trial in trials_in(tmp_path).all()] == [0, 1, 2, 3, 4]


def test_a_search_that_was_interrupted_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    undisturbed = carry_out(trials_in(tmp_path / "a"), 10)
    parts = [carry_out(trials_in(tmp_path / "b"), limit) for limit in (2, 7, 10)]
    assert [values for part in parts for values in part] == undisturbed
    assert len({str(values) for values in undisturbed}) == 10
    assert carry_out(trials_in(tmp_path / "c", seed=1), 10)[1:] != undisturbed[1:]


@pytest.mark.study
def test_a_trial_whose_process_died_is_gone_on_with(tmp_path: Path) -> None:
    """The other process has drawn the second trial, noted a checkpoint and its time, and is killed."""
    carry_out(trials_in(tmp_path), 1)
    script = (
        "from pathlib import Path; from tests.unit.test_search_trials import *; import time\n"
        f"trials = trials_in(Path({str(tmp_path)!r})); taken = take(trials)\n"
        "taken.note(checkpoints={'1': note(0.25)}, extra=1)\n"
        "print(taken.number, taken.values, flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert other.stdout is not None
    said = other.stdout.readline().strip()
    trials = trials_in(tmp_path)
    assert trials.take(2, None) is True, "it is still at work, and may come back"
    third = take(trials)
    assert third.number == 2
    other.kill()
    other.wait()
    other.stdout.close()
    taken = take(trials)
    assert f"{taken.number} {taken.values}" == said
    assert taken.notes == {"1": note(0.25)}
    assert trials.scores_at(1, third) == [0.5 * (0.5 + 1 / 8), 0.25]
    assert trials.scores_at(1, taken) == [0.5 * (0.5 + 1 / 8)]
    before = trials.all()[1].user_attrs["seconds"]
    taken.note()
    assert trials.all()[1].user_attrs["seconds"] >= before > 0
    finish(trials, taken, 1, 1)
    finish(trials, third, 1, 1)
    assert trials.take(3, None) is False
    assert [trial.state.name for trial in trials.all()] == ["COMPLETE"] * 3


def test_a_trial_that_was_let_go_is_taken_first(tmp_path: Path) -> None:
    trials = trials_in(tmp_path)
    taken = take(trials)
    trials.release(taken)  # as when a person interrupts
    assert (again := take(trials)).number == taken.number
    assert again.values == taken.values


@pytest.mark.study
def test_two_processes_share_the_trials(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from tests.unit.test_search_trials import *\n"
        f"print(len(carry_out(trials_in(Path({str(tmp_path)!r})), 12)))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
        for _ in "ab"
    ]
    done = [int(process.communicate(timeout=200)[0]) for process in started]
    assert sum(done) == 12
    trials = trials_in(tmp_path).all()
    assert [trial.number for trial in trials] == list(range(12))
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert max(Counter(str(trial.params) for trial in trials).values()) == 1


def test_settings_that_the_machine_failed_are_tried_again(tmp_path: Path) -> None:
    """By the next process, as the first thing, and once: what fails for want of memory each time must not go on."""
    trials, drawn = trials_in(tmp_path), []
    for counts in (True, False, False):
        taken = take(trials, 4)
        taken.note(checkpoints={"1": note(0.5)})
        drawn.append(taken.values)
        trials.end(taken, "FAIL", "why", counts=counts)
        trials.release(taken)
    again = take(trials_in(tmp_path), 4)
    assert again.values == drawn[1]
    assert trials.scores_at(1, again) == [0.5], "what the machine failed is compared with none"
    trials.release(again)
    done = carry_out(trials_in(tmp_path), 4)
    assert done[:2] == drawn[1:]
    assert len(done) == 3
    assert len(trials_in(tmp_path).all()) == 6


def test_no_trial_begins_when_the_seconds_are_spent(tmp_path: Path) -> None:
    trials = trials_in(tmp_path)
    taken = take(trials, seconds=0.001)
    sum(range(300_000))
    taken.note()
    assert trials.take(100, 0.001) is True, "the one that took them is at work"
    finish(trials, taken, 1, 1)
    assert trials.take(100, 0.001) is False
    assert take(trials, seconds=1000).number == 1


def test_the_record_tells_of_every_trial(tmp_path: Path) -> None:
    trials = trials_in(tmp_path)
    for utility, privacy in ((0.1, 0.9), (0.8, 0.7), (0.5, 0.6), (0.8, 0.7)):
        finish(trials, take(trials), utility, privacy)
    pruned = take(trials)
    pruned.note(checkpoints={"1": note(0.9, 0.9, 0.9), "10": note(0.3, 0.2, 0.4), "2": note(0.4)})
    trials.end(pruned, "PRUNED", "behind")
    running = take(trials)
    found = recorded(trials.study)
    assert found.table["state"].tolist() == ["finished"] * 4 + ["pruned", "running"]
    assert found.table["front"].tolist() == [True, True, False, True, False, False]
    assert found.table.loc[4, ["score", "utility", "reason"]].tolist() == [0.3, 0.2, "behind"]
    assert winners_of(found)["trial"].tolist() == [1, 3, 0]
    assert found.best is not None
    assert found.best["trial"] == 1
    assert found.budget.startswith("6 trials (4 finished, 1 pruned, 1 running), ")
    assert found.thin
    trials.release(running)


def test_importance_finds_the_option_that_matters(tmp_path: Path) -> None:
    trials = trials_in(tmp_path)
    carry_out(trials, 16)
    found = importance(trials.study, ["utility", "privacy"])
    assert found["utility"].idxmax() == "model.x"
    assert found["privacy"].idxmax() == "model.n"
    assert found.sum().tolist() == [pytest.approx(1), pytest.approx(1)]


def test_importance_needs_trials_that_differ(tmp_path: Path) -> None:
    trials = trials_in(tmp_path)
    assert importance(trials.study, ["utility", "privacy"]).empty
    for _ in "abc":
        finish(trials, take(trials), 1.0, 1.0)
    assert importance(trials.study, ["utility", "privacy"]).empty
    assert trial_table(trials.all(), ["utility", "privacy"])["front"].all()


@pytest.mark.parametrize("damage", ["text", "cut", "holes"])
def test_a_damaged_database_is_named(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "search.db"
    carry_out(trials_in(tmp_path), 3)
    whole = file.read_bytes()
    file.write_bytes(
        {
            "text": b"no database" * 500,
            "cut": whole[: len(whole) // 3],
            "holes": whole[:2000] + bytes(len(whole) - 2000),
        }[damage]
    )
    with (
        pytest.raises(FileError, match=r"search.db: not readable as a database of optuna \(.*\); move it away"),
        database(file),
    ):
        carry_out(trials_in(tmp_path), 5)
    file.rename(tmp_path / "old.db")
    assert len(carry_out(trials_in(tmp_path), 5)) == 5


def test_a_database_of_another_optuna_is_named(tmp_path: Path) -> None:
    carry_out(trials_in(tmp_path), 1)
    with sqlite3.connect(tmp_path / "search.db") as known:
        known.execute("UPDATE alembic_version SET version_num = 'v9.9.9'")
    known.close()
    with (
        pytest.raises(FileError, match=r"search.db: by another version of optuna; move it away"),
        database(tmp_path / "search.db"),
    ):
        trials_in(tmp_path)


def test_a_disk_that_takes_no_more_is_the_machines(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from tests.unit.test_search_trials import *; import os, resource\n"
        f"folder = Path({str(tmp_path)!r}); trials = trials_in(folder); taken = take(trials)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(folder / 'search.db'),) * 2)\n"
        "from ehrsynth.errors import MachineError\n"
        "with pytest.raises(MachineError, match='mend that and repeat'), database(folder / 'search.db'):\n"
        "    taken.note(fact='x' * 200_000)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=200, cwd=Path.cwd())
    finish(trials := trials_in(tmp_path), take(trials), 1, 1)


def test_every_second_trial_is_near_the_best_so_far(tmp_path: Path) -> None:
    """Utility is x and privacy 1 / n; steps are of an eighth of a range, and none here is of four times that."""
    trials, drawn = trials_in(tmp_path), list[dict[str, Any]]()
    for number in range(12):
        taken = take(trials)
        if number % 2:
            best = max(drawn, key=lambda values: values["model.x"] + 1 / values["model.n"])
            assert abs(taken.values["model.x"] - best["model.x"]) < 0.5
            assert 1 / 2 <= taken.values["model.n"] / best["model.n"] <= 4
        drawn.append(taken.values)
        finish(trials, taken, taken.values["model.x"], 1 / taken.values["model.n"])


def test_without_an_end_to_be_near_to_the_sampler_draws(tmp_path: Path) -> None:
    one, other = trials_in(tmp_path), trials_in(tmp_path)
    first, second = take(one), take(other)
    assert first.values["model.x"] == FIRST["model.x"]
    assert second.values["model.x"] != FIRST["model.x"]
    for trials, taken in ((one, first), (other, second)):
        trials.end(taken, "PRUNED", "behind")
        trials.release(taken)
    assert take(trials_in(tmp_path)).number == 2
