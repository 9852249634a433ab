"""Whether the memory of the machine is large enough for an evaluation, known before it starts."""

import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

from ehrsynth.errors import MachineError
from ehrsynth.evaluation.evaluator import Evaluator, RealData

LIMIT, USED = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))  # of a container
SYSTEM, OWN = Path("/proc/meminfo"), Path("/proc/self/status")


def require_memory(evaluators: Sequence[Evaluator], real: RealData, rows: int) -> None:
    """Refuse what would not fit into memory.

    Args:
        evaluators: that will be asked.
        real: R and H.
        rows: of S.

    Raises:
        MachineError: one of them needs more than there is.
    """
    rows = max(rows, len(real.train), len(real.holdout))  # the anchors take the place of S too
    needs = {type(evaluator).__name__: evaluator.peak_memory(real, rows) for evaluator in evaluators}
    largest = max(needs, key=lambda name: needs[name], default="")
    free = free_memory()
    if largest and free is not None and needs[largest] > free:
        size = f"{len(real.train):,} training and {rows:,} other rows of {real.layout.width:,} columns"
        raise MachineError(
            f"memory: {largest} on {size} takes {needs[largest] / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; leave"
            " columns out, take a suite without it or with max_rows, or a larger machine"
        )


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
