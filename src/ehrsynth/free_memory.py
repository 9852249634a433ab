"""How much memory the machine has left, before work begins that would take more."""

import resource
from collections.abc import Iterator
from pathlib import Path

LIMIT, USED = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))  # of a container
SYSTEM, OWN = Path("/proc/meminfo"), Path("/proc/self/status")


def free_memory() -> int | None:
    """Return the bytes that this process may still take; None where the system does not say."""
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    if SYSTEM.exists():
        yield _kilobytes(SYSTEM, "MemAvailable")
    if LIMIT.exists() and USED.exists() and (most := LIMIT.read_text().strip()).isdigit():
        yield int(most) - int(USED.read_text())
    most_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most_space != resource.RLIM_INFINITY and OWN.exists():
        yield most_space - _kilobytes(OWN, "VmSize")


def _kilobytes(file: Path, name: str) -> int:
    """Return a number of bytes from a line ``name: 123 kB``."""
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(f"{name}:")) * 1024
