"""Writing files and reading JSON so that nothing half-written ever has its final name."""

import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from ehrsynth.errors import FileError, OptionError

TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet")
ABANDONED = 86_400  # seconds after which nobody is still writing

_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_ASIDE = re.compile(r"\.(?P<host>[0-9a-f]{8})-(?P<process>\d{1,7})-[0-9a-f]{8}\.(?P<name>.+)")


def aside_of(path: Path) -> Path:
    """Return a hidden name beside ``path`` to write under; it tells the machine and the process that write."""
    return path.with_name(f".{_HOST}-{os.getpid()}-{uuid4().hex[:8]}.{path.name}")


def sweep_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes have left under names of ``aside_of``.

    A leftover is a file or folder whose process is gone from this machine, or that nobody has touched for a day: the
    process may have run on another machine, or its number may be in use again.

    Args:
        folder: where to look, at any depth.
        name: only what was to become ``folder / name``.
    """
    for path in list(folder.rglob(".*") if name is None else folder.glob(".*")):
        aside = _ASIDE.fullmatch(path.name)
        if aside is not None and name in (None, aside["name"]):
            with suppress(FileNotFoundError):  # another process sweeps too
                here = aside["host"] == _HOST
                if (here and not _runs(int(aside["process"]))) or time.time() - path.stat().st_mtime > ABANDONED:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that is renamed to it only if the block succeeds.

    The suffix is kept, since writers choose their format by it. On any error, a full disk
    included, the temporary file is removed and ``path`` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON; NaN and infinity are refused, they are not JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; a JSON file was expected here") from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise FileError(f"{path}: not readable as JSON ({type(error).__name__})") from None


def read_object(path: Path, **wanted: type) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: of the file.
        wanted: keys that must be there, with the type of their values (``list`` or ``dict``).

    Raises:
        FileError: the file is missing or not JSON, no object, or without one of the keys.
    """
    content = read_json(path)
    for key, kind in wanted.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), kind):
            raise FileError(f"{path}: no {key!r} in it; a JSON object with a {kind.__name__} of that name was expected")
    return dict(content)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def writable(option: str, place: Path, *, file: bool = False) -> Path:
    """Return ``place`` if a folder, or a ``file``, of that name can be written; nothing is made yet.

    To be asked before the work begins whose result is to lie there.

    Raises:
        OptionError: it cannot; the message names the option.
    """
    try:
        if file and place.is_dir():
            raise OptionError(f"{option}={place}: it is a folder; the name of a file was expected")
        target = place.parent if file else place
        there = next(parent for parent in (target.absolute(), *target.absolute().parents) if parent.exists())
        if not there.is_dir():
            raise OptionError(f"{option}={place}: {there} is a file; a folder was expected")
        if not os.access(there, os.W_OK | os.X_OK):
            raise OptionError(f"{option}={place}: {there} cannot be written to")
    except OSError as error:  # a name that is too long, a loop of links, a folder that may not be looked into
        raise OptionError(f"{option}={place}: cannot be written to ({error.strerror})") from None
    return place


def require(path: Path) -> Path:
    """Return ``path`` if it is an existing file, else raise a ``FileError`` that names it."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing there"
        raise FileError(f"{path}: no such file (found {found})")
    return path
