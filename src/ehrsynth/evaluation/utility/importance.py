"""Whether models trained on R and on S explain themselves by the same features."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.evaluator import Value
from ehrsynth.evaluation.utility.outcomes import Problem, TrainedTrees, Trees
from ehrsynth.metrics import boosting
from ehrsynth.metrics.intervals import quantiles, t_mean
from ehrsynth.seeding import numpy_rng

TOP = 20
DRAWS = 200


class Explained:
    """SHAP values of the models of R on some rows of H, to compare those of S with.

    Args:
        problem: the tasks.
        trees: options of the models.
        trained: the models of R.
        rows: how many rows of H to explain, drawn at random.
    """

    def __init__(self, problem: Problem, trees: Trees, trained: TrainedTrees, rows: int) -> None:
        self._problem = problem
        self._x = problem.x(problem.drawn(problem.real.holdout, rows, "explained"))
        known = problem.real.memory.cached(
            {"work": "outcome importance", "rows": rows, "seed": problem.seed, **trees.key},
            lambda: {str(i): part for i, part in enumerate(self._contributions(trained))},
        )
        self._real = [known[str(i)] for i in range(len(problem.tasks))]

    def overlap(self, trained: TrainedTrees) -> Value:
        """Return the overlap with the models of S; the parts tell the importance of every top feature in both."""
        found = self._contributions(trained)
        pairs = list(zip(self._real, found, strict=True))
        rng = numpy_rng(self._problem.seed, "overlap")
        draws = np.mean([boosting.top_overlap_draws(r, s, DRAWS, rng, TOP) for r, s in pairs], axis=0)
        value = float(np.mean([boosting.top_overlap(r.mean(axis=0), s.mean(axis=0), TOP) for r, s in pairs]))
        low, high = quantiles(value, draws)[1]
        return Value(value, (min(low, value), max(high, value)), self._parts(found))

    def _contributions(self, trained: TrainedTrees) -> list[NDArray[np.float32]]:
        return [boosting.contributions(trained.model(i), self._x) for i in range(len(self._problem.tasks))]

    def _parts(self, found: Sequence[NDArray[np.float32]]) -> dict[tuple[str, str], Value]:
        """Return the mean |SHAP| over rows and tasks in both models of what is among the top of either."""
        both = {"importance_real": np.mean(self._real, axis=0), "importance_synthetic": np.mean(found, axis=0)}
        tops = {int(i) for part in both.values() for i in np.argsort(-part.mean(axis=0), kind="stable")[:TOP]}
        names, features = self._problem.real.layout.names, self._problem.features
        return {
            (kind, names[features[i]]): Value(*t_mean(part[:, i], 0.0))
            for kind, part in both.items()
            for i in sorted(tops)
        }
