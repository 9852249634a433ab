"""The log of what made a folder, or a file: one record a step, each bound to the one before it.

A folder that a verb writes (a matrix, a run, a report) has a ``log.jsonl`` in it, and so has that of a study, into
which ``compare`` and ``search`` write; a table that ``generate`` or ``rank`` writes has ``NAME.log.jsonl`` beside it,
as it has ``NAME.provenance.json``: one rule for all, and the log travels with what it speaks of. A record names by
SHA-256 what went in and what came out, and the last record of each log that vouched for what went in: so a table leads
to its run, the run to its matrix, the matrix to the raw tables. Places are relative to the folder of the log, so that
folders that move together still lead to one another. It holds hashes, options and scores; no row and no value of a
table. Who can rewrite every file can rewrite a chain too: only a signature (``signing``) says who wrote it.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from math import isfinite
from numbers import Integral, Real
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ehrsynth import __version__
from ehrsynth.files import TABLE_SUFFIXES, sha256, write_bytes
from ehrsynth.study.shared import owned
from ehrsynth.study.watch import NOBODY

LOG = "log.jsonl"
SIGNED = "sign"  # the step that adds a signature over all records before it


class Input(NamedTuple):
    """Something that a step has read: its SHA-256, and its file if it came from one."""

    sha256: str
    file: Path | None = None

    @classmethod
    def of(cls, file: Path) -> "Input":
        """Hash a file."""
        return cls(sha256(file), file)


@dataclass(frozen=True)
class Record:
    """One step.

    Attributes:
        record: its number, from 1.
        step: the verb.
        time: when it ended, UTC.
        version: of ehrsynth.
        code: SHA-256 of its source files.
        options: all that decide what comes out, the default ones too.
        inputs: ``{"file": place, "sha256": ..., "log": place}`` by name; what came from memory has no file, and what no
            log vouched for has no log.
        origins: place of each of these logs -> its last record.
        outputs: SHA-256 by place; None for what the step removed.
        scores: file -> the scores in it by name, so that an altered one can be named; None for one without a value.
        previous: the record before it; None for the first.
    """

    record: int
    step: str
    time: str
    version: str
    code: str
    options: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, str | None]]
    origins: Mapping[str, str]
    outputs: Mapping[str, str | None]
    scores: Mapping[str, Mapping[str, float | None]]
    previous: str | None

    @property
    def digest(self) -> str:
        """What the next record calls it by: the SHA-256 of its JSON."""
        return hashlib.sha256(json.dumps(vars(self)).encode()).hexdigest()

    @property
    def line(self) -> bytes:
        """The record as it stands in a log, with its own digest at the end."""
        return json.dumps({**vars(self), "sha256": self.digest}).encode()


class Entry(NamedTuple):
    """A line of a log: the record, None if there is none in it; what the next one must call it by; what is wrong."""

    record: Record | None
    digest: str
    fault: str = ""


def log_in(folder: Path) -> Path:
    """Return the log of a folder."""
    return folder / LOG


def log_beside(file: Path) -> Path:
    """Return the log of a table, a page, or a folder of MEDS events, that others may read as they read any other."""
    suffix = next((end for end in (*TABLE_SUFFIXES, ".html") if file.name.endswith(end)), file.suffix)
    return file.with_name(f"{file.name.removesuffix(suffix)}.{LOG}")


def log_of(file: Path) -> Path | None:
    """Return the log that vouches for a file, if one does: beside it, or in or beside its folder or the one above."""
    above = [folder for folder in file.absolute().parents[:2] if folder.name]
    for log in (log_beside(file), *(log for folder in above for log in (log_in(folder), log_beside(folder)))):
        if log.is_file() and place_of(file, log) in last_written(read(log)):
            return log
    return None


def last_written(entries: Sequence[Entry]) -> dict[str, Record]:
    """Return file -> the last record that speaks of it; what a step removed, and none wrote again, is left out."""
    found = {name: entry.record for entry in entries if entry.record for name in entry.record.outputs}
    return {name: record for name, record in found.items() if record.outputs[name] is not None}


def append(
    log: Path,
    step: str,
    *,
    options: Mapping[str, Any],
    inputs: Mapping[str, Input] | None = None,
    outputs: Mapping[str, str | None] | None = None,
    scores: Mapping[str, Mapping[str, float | None]] | None = None,
) -> Record:
    """Add a record to a log, in one piece and one process at a time.

    Args:
        log: that of the folder, or the file, that the step has written.
        step: the verb.
        options: what decides about the outputs.
        inputs: what was read, by name.
        outputs: SHA-256 of what was written, by place below the folder of the log.
        scores: by file, of those among the outputs that hold some.
    """
    given, origins = {}, {}
    for name, (digest, file) in (inputs or {}).items():
        given[name] = {"file": None, "sha256": digest, "log": None}
        if file is not None:
            given[name]["file"] = place_of(file, log)
            if (origin := log_of(file)) is not None and not (log.exists() and origin.samefile(log)):
                given[name]["log"] = place_of(origin, log)
                origins[place_of(origin, log)] = read(origin)[-1].digest
    with owned(log.with_name(f".{log.name}.lock"), str(log), NOBODY.say):
        before = log.read_bytes() if log.is_file() else b""
        entries = [_entry(line) for line in before.splitlines()]
        record = Record(
            record=len(entries) + 1,
            step=step,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            version=__version__,
            code=code_digest(),
            options=_plain(options),
            inputs=_plain(given),
            origins=origins,
            outputs=dict(outputs or {}),
            scores=_plain(scores or {}),
            previous=entries[-1].digest if entries else None,
        )
        whole = before if not before or before.endswith(b"\n") else before + b"\n"
        write_bytes(log, whole + record.line + b"\n")
    return record


def read(log: Path) -> list[Entry]:
    """Return the lines of a log as they are; whether they belong together is for ``verify`` to say."""
    return [_entry(line) for line in log.read_bytes().splitlines()]


@cache
def code_digest() -> str:
    """Return the SHA-256 of the package's source files, which tells versions apart that call themselves the same."""
    root, found = Path(__file__).parents[1], hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        content = file.read_bytes()
        found.update(f"{file.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()


def place_of(file: Path, log: Path) -> str:
    """Return where a file lies, seen from the folder of a log; links are followed, as the way back from there will."""
    return PurePosixPath(os.path.relpath(os.path.realpath(file), os.path.realpath(log.parent))).as_posix()


def _entry(line: bytes) -> Entry:
    try:
        content = json.loads(line)
        digest = str(content.pop("sha256"))
        record = _record(content)
        own, same = record.digest, record.line == line
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Entry(None, hashlib.sha256(line).hexdigest(), "expected a record in JSON, found something else")
    return Entry(record, digest, "" if same else f"edited: expected sha256 {short(digest)}, found {short(own)}")


def short(digest: str | None) -> str:
    """Return the beginning of a digest, enough to compare by eye."""
    return "nothing" if digest is None else f"{digest[:12]}..."


KINDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("step", "time", "version", "code"), str),
    **dict.fromkeys(("options", "inputs", "origins", "outputs", "scores"), dict),
    "record": int,
    "previous": (str, type(None)),
}


def _record(content: dict[str, Any]) -> Record:
    """Return a record from its JSON; a ``TypeError`` or ``ValueError`` says that it is none."""
    maybe = (str, type(None))
    number = (int, float, type(None))
    fits = (
        all(isinstance(content[field.name], KINDS[field.name]) for field in fields(Record))
        and all(isinstance(digest, str) for digest in content["origins"].values())
        and all(isinstance(digest, maybe) and _below(name) for name, digest in content["outputs"].items())
        and all(isinstance(one["sha256"], str) for one in content["inputs"].values())
        and all(isinstance(one[place], maybe) for one in content["inputs"].values() for place in ("file", "log"))
        and all(isinstance(value, number) for own in content["scores"].values() for value in own.values())
    )
    if not fits:
        raise ValueError
    return Record(**content)


def _below(name: str) -> bool:
    """Whether a place is in the folder of the log: a stranger's log shall not make us look elsewhere for outputs."""
    place = PurePosixPath(name)
    return not place.is_absolute() and ".." not in place.parts


def _plain(value: Any) -> Any:
    """Return options as JSON can hold them, and reads them back the same."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and isfinite(value):
        return float(value)
    return str(value)
