"""Writing files and reading JSON so that nothing half-written ever has its final name."""

import hashlib
import json
import math
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, get_args, get_origin
from uuid import uuid4

from ehrsynth.errors import FileError, OptionError, machine_fault

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
    _sweep(folder.rglob(".*") if name is None else folder.glob(".*"), name)


def _sweep(found: Iterable[Path], name: str | None = None) -> None:
    for path in list(found):
        aside = _ASIDE.fullmatch(path.name)
        if aside is not None and name in (None, aside["name"]):
            with suppress(FileNotFoundError, PermissionError):  # another process sweeps too; or it is somebody else's
                here = aside["host"] == _HOST
                if (here and not _runs(int(aside["process"]))) or time.time() - path.lstat().st_mtime > ABANDONED:
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


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
    included, the temporary file is removed and ``path`` is left as it was. What killed processes
    have left beside it is swept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent.glob(".*"))
    aside = aside_of(path)
    try:
        yield aside
        put_in_place(aside, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(aside)):  # a full disk names no file
            error.filename = str(path)
        raise
    finally:
        aside.unlink(missing_ok=True)


def put_in_place(aside: Path, path: Path) -> None:
    """Give a complete file, or a folder that is not there yet, its final name.

    What it holds reaches the disk before its name does, so that a name never stands for less after a power loss.
    """
    for part in [*aside.rglob("*"), aside] if aside.is_dir() else [aside]:
        _onto_disk(part)
    (os.rename if aside.is_dir() else os.replace)(aside, path)
    _onto_disk(path.parent)


def _onto_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


SCRATCH = "ehrsynth-scratch"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a folder for what does not fit into memory; it is removed with the block, and by ``sweep_scratch``."""
    sweep_scratch()
    folder = aside_of(Path(tempfile.gettempdir()) / SCRATCH)
    folder.mkdir(mode=0o700)  # patients lie in it
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch() -> None:
    """Remove the scratch folders of killed processes."""
    sweep_leftovers(Path(tempfile.gettempdir()), SCRATCH)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON; NaN and infinity are refused, they are not JSON."""
    write_text(path, as_json(content))


def as_json(content: Any) -> str:
    """Return the text that ``write_json`` writes."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileError: the file is missing or is not JSON; NaN and numbers beyond a float's range are not, nor is what is
            nested deeper than any file of ours.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, parse_float=_finite, parse_int=_whole, parse_constant=_finite)
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; a JSON file was expected here") from None
    except (ValueError, OSError, RecursionError) as error:
        why = error if type(error) is ValueError else type(error).__name__
        raise FileError(f"{path}: not readable as JSON ({why})") from None


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"found {text[:40]!r}; finite numbers were expected")
    return number


def _whole(text: str) -> int:
    _finite(text)
    return int(text)


def read_object(path: Path, **wanted: Any) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: of the file.
        wanted: keys that must be there, with the type of their values (``dict[str, int]`` for an object of these);
            for an object with what must be in it; for a list of objects with a list of what must be in each.

    Raises:
        FileError: the file is missing or not JSON, no object, or without one of the keys.
    """
    content = read_json(path)
    _require_keys(path, content, wanted)
    return dict(content)


def _require_keys(path: Path, content: Any, wanted: Mapping[str, Any]) -> None:
    for key, kind in wanted.items():
        outer = type(kind) if isinstance(kind, dict | list) else get_origin(kind) or kind
        if not isinstance(content, dict) or not isinstance(content.get(key), outer):
            raise FileError(
                f"{path}: no {key!r} in it; a JSON object with a {outer.__name__} of that name was expected"
            )
        if isinstance(kind, dict):
            _require_keys(path, content[key], kind)
        elif isinstance(kind, list):
            for entry in content[key]:
                _require_keys(path, entry, kind[0])
        elif get_args(kind):
            _require_keys(path, content[key], dict.fromkeys(content[key], get_args(kind)[1]))


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def writable(option: str, place: Path, *, file: bool = False) -> Path:
    """Return ``place`` if a folder, or a ``file``, of that name can be written; nothing of it is made yet.

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
        probe = aside_of(there / "probe")  # nothing but trying tells of /proc, or of a share that is read only
        probe.touch()
        probe.unlink()
    except OSError as error:  # a name that is too long, a loop of links, a folder that may not be looked into
        if (fault := machine_fault(error)) is not None:
            raise fault from None
        raise OptionError(f"{option}={place}: cannot be written to ({error.strerror})") from None
    return place


def require(path: Path) -> Path:
    """Return ``path`` if it is an existing file, else raise a ``FileError`` that names it."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing there"
        raise FileError(f"{path}: no such file (found {found})")
    return path
