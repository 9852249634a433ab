"""Work that is done once: for one synthetic table in this process, for real data in any."""

import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray
from torchmetrics import Metric

from ehrsynth.errors import MachineError
from ehrsynth.files import written_aside
from ehrsynth.layout import Records
from ehrsynth.visits import Visits

T = TypeVar("T")
M = TypeVar("M", bound=Metric)
Arrays = Mapping[str, NDArray[Any]]

CHECKSUM = "sha256"  # beside the arrays of a file

log = logging.getLogger(__name__)


@cache
def code_hash() -> str:
    """Return a hash of all code that scores and of its cards, so that nothing kept outlives the code that made it."""
    package = Path(__file__).parents[1]
    rooms = [file for room in ("evaluation", "metrics", "constraints") for file in (package / room).rglob("*.*")]
    leaves = ("bits", "kinds", "layout", "schema", "seeding", "visits")  # on which they stand
    below = [package / f"{name}.py" for name in leaves]
    files = sorted(file for file in [*rooms, *below] if file.suffix in (".py", ".yaml"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def checksum(key: str, content: Iterable[bytes]) -> str:
    """Return what is kept beside cached work, so that neither a damaged file nor that of other work is believed.

    Args:
        key: what the work is, with its data and the code that did it.
        content: of the file.
    """
    digest = hashlib.sha256(key.encode())
    for part in content:
        digest.update(part)
    return digest.hexdigest()


class Shared:
    """Results that several evaluators need for the same table; they live as long as the table does."""

    def __init__(self) -> None:
        self._done: WeakKeyDictionary[Records | Visits, dict[Hashable, Any]] = WeakKeyDictionary()
        self._latest: dict[Hashable, tuple[ref[Records], Any]] = {}

    def once(self, records: Records | Visits, key: Hashable, compute: Callable[[], T]) -> T:
        """Return what ``compute`` gives for ``records``, computed when first asked for.

        Args:
            records: the table, known by identity.
            key: what is computed, with all its options.
            compute: takes no argument; nobody may change its result.
        """
        results = self._done.setdefault(records, {})
        if key not in results:
            results[key] = compute()
        found: T = results[key]
        return found

    def latest(self, records: Records, key: Hashable, compute: Callable[[], M]) -> M:
        """Return what ``compute`` gives for ``records``, as ``once`` does, but keep it for the latest table only.

        Meant for what is large. What was kept before is emptied, since metrics of torchmetrics hold on to themselves:
        to drop them frees nothing until all garbage is collected, which takes longer than most scores.
        """
        found: Any
        of, found = self._latest.get(key, (None, None))
        if of is None or of() is not records:
            if found is not None:
                found.reset()
            found = compute()
            self._latest[key] = ref(records), found
        kept: M = found
        return kept


class Memory:
    """Costly work on real data, kept by what it is and by the hash of the data.

    Args:
        data: hash of the data that the work is done on.
        folder: where to keep it for other processes; None keeps it in this one only. The files hold
            results per record, so the folder is as private as the data.
    """

    def __init__(self, data: str, folder: Path | None = None) -> None:
        self._data = data
        self._folder = folder
        self._known: dict[str, Arrays] = {}

    def cached(self, key: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        """Return what ``compute`` gives, or what it gave when the same ``key`` was asked for before.

        Args:
            key: plain values that name the work, its options and the seed of everything drawn for it.
            compute: takes no argument.
        """
        named = json.dumps({**key, "data": self._data, "code": code_hash()}, sort_keys=True)
        digest = hashlib.sha256(named.encode()).hexdigest()[:32]
        if digest not in self._known:
            self._known[digest] = self._from_folder(digest, compute)
        return self._known[digest]

    def array(self, key: Mapping[str, Any], compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return what ``cached`` does where ``compute`` gives a single array."""
        return self.cached(key, lambda: {"array": compute()})["array"]

    def _from_folder(self, digest: str, compute: Callable[[], Arrays]) -> Arrays:
        if self._folder is None:
            return compute()
        path = self._folder / f"{digest}.npz"
        if path.is_file():
            if (found := _intact(path, digest)) is not None:
                return found
            log.warning("%s: damaged or not ours (checksum differs); computed again", path)
        result: dict[str, Any] = {name: np.asarray(array) for name, array in compute().items()}
        kept: dict[str, Any] = {CHECKSUM: np.array(_checksum(digest, result))}
        try:
            with written_aside(path) as aside, aside.open("wb") as file:
                np.savez(file, **result, **kept)
        except OSError as error:
            raise MachineError(f"{path}: the cache cannot be written ({error.strerror}); repeat the command") from error
        return result


def _intact(path: Path, digest: str) -> Arrays | None:
    """Return the arrays of a file, None unless they are those that were written for ``digest``."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            found = {name: content[name] for name in content.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, OSError):  # whatever a flipped byte makes of it
        return None
    wanted = found.pop(CHECKSUM, None)
    return found if wanted is not None and str(wanted) == _checksum(digest, found) else None


def _checksum(digest: str, arrays: Arrays) -> str:
    parts = ((f"{name} {array.dtype} {array.shape}".encode(), array.tobytes()) for name, array in arrays.items())
    return checksum(digest, chain.from_iterable(parts))
