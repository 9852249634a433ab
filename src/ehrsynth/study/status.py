"""Where a study stands: every run that was asked for or begun, how far it came, and why it went no further."""

import csv
from dataclasses import dataclass
from pathlib import Path
from time import time

from ehrsynth.errors import FileError
from ehrsynth.study.attempt import Attempt, seconds_of
from ehrsynth.study.conf import parsed
from ehrsynth.study.plan import planned
from ehrsynth.study.run_folder import RunFolder

ORDER = ("running", "failed", "diverged", "killed", "interrupted", "missing", "trial", "done")


@dataclass(frozen=True)
class RunStatus:
    """One run of a study.

    Attributes:
        run: ``MODEL/RUN_ID``; empty for a job that was refused before it had one.
        status: ``done``, ``running``, ``failed``, ``diverged``, ``killed``, ``interrupted``, ``missing``, or
            ``trial`` of a search that goes no further.
        epoch, epochs: the last one that ended, of how many; None before the first, and of what is missing.
        seconds: of all attempts; None of what is missing.
        reason: why it failed, or what else is to be said.
        command: that asks for it.
    """

    run: str
    status: str
    epoch: int | None
    epochs: int | None
    seconds: float | None
    reason: str
    command: str


def status_of(study: Path) -> list[RunStatus]:
    """Return what stands of a study, what is running or went wrong first.

    Raises:
        FileError: there is no study, or its plan is damaged.
    """
    folders = {str(config.parent.relative_to(study)): config.parent for config in study.glob("*/*/config.yaml")}
    asked = {each.known_by: each for each in planned(study)}
    if not folders and not asked:
        found = "no run" if study.is_dir() else "no such folder"
        raise FileError(f"{study}: {found}; the folder of a study, as runs/STUDY, was expected")
    runs = [_of_run(name, folder, asked[name].command if name in asked else "") for name, folder in folders.items()]
    for name, each in asked.items():
        if name not in folders:
            what = "failed" if each.refused else "missing"
            runs.append(RunStatus(each.run, what, None, None, None, each.refused, each.command))
    return sorted(runs, key=lambda run: (ORDER.index(run.status), run.run))


def _of_run(name: str, path: Path, command: str) -> RunStatus:
    folder = RunFolder(path)
    try:
        epochs = int(parsed(folder.config.read_text(encoding="utf-8"), folder.config)["trainer"]["max_epochs"])
        epoch = _last_epoch(folder)
        if folder.finished:
            facts = folder.facts(command=str, seconds=dict)
            absent = [file for file in folder.hashes or {} if not (path / file).is_file()]
            reason = f"lacks {', '.join(absent)}; the same command makes it again" if absent else ""
            status = "missing" if absent else "done"
            return RunStatus(name, status, epoch, epochs, sum(facts["seconds"].values()), reason, facts["command"])
        last = Attempt.of(path)
    except (FileError, LookupError, TypeError, ValueError) as error:  # of one run; the others are told all the same
        return RunStatus(name, "failed", None, None, None, f"damaged: {error}", command)
    if last is None:  # begun by a version that kept no note
        return RunStatus(name, "interrupted", epoch, epochs, None, "", command)
    spent = time() - last.started if last.status == "running" else seconds_of(last, path)
    return RunStatus(name, last.status, epoch, epochs, last.seconds + spent, last.reason, last.command)


def _last_epoch(folder: RunFolder) -> int | None:
    found = 0
    for file in (folder.losses, folder.metrics):
        if file.is_file():
            with file.open(encoding="utf-8", newline="") as stream:
                found = max([found, *(int(row["epoch"]) for row in csv.DictReader(stream))])
    return found or None
