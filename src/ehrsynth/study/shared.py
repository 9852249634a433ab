"""What several processes may want at the same time is made by the first; the others wait and find it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ehrsynth.errors import OptionError, machine_fault


@contextmanager
def owned(lock: Path, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold ``lock`` while the block runs; whoever comes second waits, and should look whether its work is done.

    The lock is the operating system's, so it dies with its process.

    Args:
        lock: a hidden file beside or in what is made.
        what: is made, for the line that says that it is waited for.
        say: takes that line.

    Raises:
        OptionError: the file cannot be made.
    """
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=0)
        except Timeout:
            say(f"{what}: another process is at it; waiting for it")
            held.acquire()
    except OSError as error:
        if (fault := machine_fault(error)) is not None:
            raise fault from None
        raise OptionError(f"{lock.parent}: cannot be written to ({error.strerror})") from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        held.release()
