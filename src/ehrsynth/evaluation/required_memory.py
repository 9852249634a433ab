"""Whether the memory of the machine is large enough for an evaluation, known before it starts."""

from collections.abc import Sequence

from ehrsynth.errors import MachineError
from ehrsynth.evaluation.evaluator import Evaluator, RealData
from ehrsynth.free_memory import free_memory


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
