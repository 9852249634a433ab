"""The SQLite file in which optuna keeps trials, and what can be wrong with it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ehrsynth.errors import FileError, MachineError, OptionError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

DATABASE = "search.db"
WAIT = 60  # seconds for another process that writes
AGAIN = "move it away, and the same command asks for the trials again; those whose runs lie beside it are not repeated"


def opened(file: Path) -> "RDBStorage":
    """Return optuna's storage in a SQLite file, which is made if it is not there."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Connected by hand: in an address, the signs of a path would have meanings of their own.
    connect = {"creator": lambda: sqlite3.connect(file, timeout=WAIT, check_same_thread=False)}
    return optuna.storages.RDBStorage(f"sqlite:///{DATABASE}", engine_kwargs=connect)


def require_optuna() -> None:
    """Raise an ``OptionError`` if optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise OptionError("search needs the package optuna; pip install 'ehrsynth[search]' brings it") from None


@contextmanager
def database(file: Path) -> Iterator[None]:
    """Turn what goes wrong with a database while the block runs into an error of ours.

    Raises:
        FileError: it is damaged, of another version of optuna, or none at all.
        MachineError: the disk is full, or another process writes and does not end.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        root = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        said = " ".join(str(getattr(root, "orig", None) or root).split())
        if "is full" in said or "locked" in said or "disk I/O" in said:
            raise MachineError(f"{file}: {said}; mend that and repeat the command") from error
        raise FileError(f"{file}: not readable as a database of optuna ({said}); {AGAIN}") from error
    except RuntimeError as error:
        if "optuna version" not in str(error):
            raise
        raise FileError(f"{file}: by another version of optuna; {AGAIN}") from error
