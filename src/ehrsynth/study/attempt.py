"""What is known of a run that has not finished: who works on it since when, or how its last attempt ended."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from time import time
from typing import Any, Literal

from filelock import FileLock, Timeout

from ehrsynth.errors import EhrsynthError, TrainingError, machine_fault
from ehrsynth.files import read_object, write_json
from ehrsynth.words import printable

FILE, LOCK = ".attempt.json", ".lock"
MOST_KILLS = 3  # attempts of one run that may die without a word, as by a lack of memory, before it is left aside

Status = Literal["running", "failed", "diverged", "interrupted", "killed", "trial"]


@dataclass(frozen=True)
class Attempt:
    """The last attempt at a run; a finished run has none.

    Attributes:
        status: ``running``, ``failed``, ``diverged`` (which would repeat itself), ``interrupted`` by a person, or
            ``killed``: it was running, and nobody holds its lock; or ``trial``: a search has ended it.
        reason: why it failed, in one line without values of the data.
        command: that asked for the run.
        process, machine: who works or worked on it.
        started, ended: seconds since the epoch; ``ended`` is None while it runs or if it was killed.
        seconds: of the attempts before.
        kills: attempts that were killed.
    """

    status: Status
    command: str
    process: int
    machine: str
    started: float
    ended: float | None = None
    reason: str = ""
    seconds: float = 0.0
    kills: int = 0

    @classmethod
    def of(cls, folder: Path) -> "Attempt | None":
        """Return the last attempt at the run in a folder; None if there was none or it finished.

        Raises:
            FileError: the file is damaged.
        """
        found = _noted(folder)
        if found is None or found.status != "running" or held(folder):
            return found
        return _killed(found)

    @property
    def hopeless(self) -> bool:
        """Whether the next attempt would end like this one, so that only ``retry=failed`` makes one."""
        return self.status == "diverged" or self.kills >= MOST_KILLS


@contextmanager
def attempt(folder: Path, command: str) -> Iterator[None]:
    """Keep a note in the folder of a run while the block works on it; it goes when the run has finished.

    Args:
        folder: of the run, whose lock is held.
        command: that asked for it.
    """
    before, file = _noted(folder), folder / FILE
    now = Attempt("running", command, os.getpid(), platform.node(), time())
    if before is not None:
        before = _killed(before) if before.status == "running" else before  # it cannot be: the lock is ours
        spent = before.seconds + seconds_of(before, folder)
        now = replace(now, seconds=round(spent, 1), kills=before.kills)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(now))
    try:
        yield
    except BaseException as error:
        status, reason = _told(error)
        with suppress(OSError):  # the disk may be what failed; the run then counts as killed, which is as good
            write_json(file, asdict(replace(now, status=status, reason=reason, ended=time())))
        raise
    file.unlink()


def _noted(folder: Path) -> Attempt | None:
    file = folder / FILE
    if not file.is_file():
        return None
    wanted: dict[str, Any] = {"status": str, "command": str, "process": int, "machine": str, "started": float}
    content = read_object(file, **wanted)
    return Attempt(**{field.name: content[field.name] for field in fields(Attempt) if field.name in content})


def _killed(found: Attempt) -> Attempt:
    kills = found.kills + 1
    reason = f"its process was killed {kills} times, perhaps for want of memory" if kills >= MOST_KILLS else ""
    return replace(found, status="killed", kills=kills, reason=reason)


def _told(error: BaseException) -> tuple[Status, str]:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", ""
    ours = error if isinstance(error, EhrsynthError) else machine_fault(error)
    # Whatever a library says may quote the data.
    reason = type(error).__name__ if ours is None else printable(" ".join(str(ours).split()))
    return "diverged" if isinstance(ours, TrainingError) else "failed", reason


def held(folder: Path) -> bool:
    """Whether a living process works on the run in a folder."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def seconds_of(last: Attempt, folder: Path) -> float:
    """Return how long an attempt took; of one that was killed, until it last wrote a file."""
    if last.ended is not None:
        return max(0.0, last.ended - last.started)
    written = [path.stat().st_mtime for path in folder.glob("*.csv")]
    return max([0.0, *(moment - last.started for moment in written)])


def end_trial(folder: Path, command: str, reason: str, seconds: float) -> None:
    """Note that a run was a trial of a search and goes no further, unless it is one of its winners.

    Args:
        folder: of the run.
        command: that would carry it out.
        reason: what became of the trial.
        seconds: that it took.
    """
    now = time()
    write_json(
        folder / FILE, asdict(Attempt("trial", command, os.getpid(), platform.node(), now, now, reason, seconds))
    )


def forget(folder: Path) -> None:
    """Let a run that failed be tried again as if it had not been."""
    (folder / FILE).unlink(missing_ok=True)
