"""Work that is done once: for one synthetic table in this process, for real data in any."""

import gc
import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ehrsynth.files import written_aside
from ehrsynth.layout import Records

T = TypeVar("T")
Arrays = Mapping[str, NDArray[Any]]


@cache
def code_hash() -> str:
    """Return a hash of all code that scores and of its cards, so that nothing kept outlives the code that made it."""
    package = Path(__file__).parents[1]
    files = [file for room in ("evaluation", "metrics") for file in (package / room).rglob("*.*")]
    files = sorted(file for file in files if file.suffix in (".py", ".yaml"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class Shared:
    """Results that several evaluators need for the same table; they live as long as the table does."""

    def __init__(self) -> None:
        self._done: WeakKeyDictionary[Records, dict[Hashable, Any]] = WeakKeyDictionary()

    def once(self, records: Records, key: Hashable, compute: Callable[[], T]) -> T:
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

    def latest(self, records: Records, key: Hashable, compute: Callable[[], T]) -> T:
        """Return what ``once`` does, but keep it only for the table asked for last: meant for what is large."""
        dropped = [results.pop(key) for other, results in self._done.items() if other is not records and key in results]
        if dropped:
            dropped.clear()
            gc.collect()  # it may hold on to itself, as metrics of torchmetrics do
        return self.once(records, key, compute)


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
        if not path.is_file():
            result: dict[str, Any] = dict(compute())
            with written_aside(path) as aside, aside.open("wb") as file:
                np.savez(file, **result)
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
