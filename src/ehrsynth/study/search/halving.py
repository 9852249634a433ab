"""Successive halving: at a few checkpoints only the best trials go on, and the hours go where they pay.

The asynchronous form of Li et al. (MLSys 2020): a trial is compared with whatever has reached its rung before it, so
that nobody waits for others.
"""

from collections.abc import Sequence


def rungs(eta: int, grace: int, checkpoints: int) -> list[int]:
    """Return the checkpoints at which trials are compared: ``grace``, and ``eta`` times as many each time.

    The last checkpoint is none of them: there is nothing left to save.
    """
    found = []
    while grace < checkpoints:
        found.append(grace)
        grace *= eta
    return found


def goes_on(score: float, others: Sequence[float], eta: int) -> bool:
    """Return whether a trial may go on.

    Args:
        score: of the trial at the rung; higher is better.
        others: those of all trials that reached it before, whatever became of them.
        eta: one of so many goes on; of fewer than ``eta`` trials the best one.
    """
    ranked = sorted([score, *others], reverse=True)
    return score >= ranked[max(len(ranked) // eta, 1) - 1]
