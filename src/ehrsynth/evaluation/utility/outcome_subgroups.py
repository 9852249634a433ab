"""The subgroups of H in which an outcome can be judged."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.evaluator import Parts, Undefined, Value
from ehrsynth.evaluation.subgroups import MIN_CLASS, protected, subgroups
from ehrsynth.evaluation.utility.outcomes import Problem, averaged
from ehrsynth.metrics.classification import auroc
from ehrsynth.metrics.intervals import normal

Mask = NDArray[np.bool_]


class OutcomeSubgroups:
    """Subgroups of H with enough records, and of both answers, to judge each task in.

    Args:
        problem: the tasks.
        attributes: columns to split by; by default the protected ones, of which there may be none.
        min_rows: of H in a subgroup.

    Raises:
        NotApplicableError: an attribute that the schema does not have.
    """

    def __init__(self, problem: Problem, attributes: Sequence[str] | None, min_rows: int) -> None:
        self._problem = problem
        self._min_rows = min_rows
        real, names = problem.real, protected(problem.real.schema) if attributes is None else attributes
        found = subgroups(real.schema, real.holdout, names, real.train) if names else {}
        self._masks = {a: {label: mask.numpy() for label, mask in labels.items()} for a, labels in found.items()}

    @cached_property
    def scored(self) -> list[dict[str, dict[str, Mask]]]:
        """Per task: attribute -> label -> rows, of the subgroups that are large enough."""
        return [
            {
                attribute: {label: mask for label, mask in labels.items() if self._large(mask, truth)}
                for attribute, labels in self._masks.items()
            }
            for truth in self._problem.truths
        ]

    def parts(self, values: Sequence[Mapping[str, Value]], kind: str = "subgroup") -> Parts:
        """Return the value of every subgroup, averaged over the tasks in which it has one.

        Args:
            values: per task, label -> value.
            kind: of the parts.
        """
        found: dict[tuple[str, str], Value | Undefined] = {}
        for labels in self._masks.values():
            for label in labels:
                known = [value[label] for value in values if label in value]
                small = Undefined(
                    f"too small: fewer than {self._min_rows} held-out records, or than {MIN_CLASS} with or without"
                    " the outcome"
                )
                found[kind, label] = averaged(known) if known else small
        return found

    def auroc(self, risks: NDArray[np.float64]) -> Parts:
        """Return the AUROC in every subgroup (DeLong interval); ``risks`` is [tasks, n_H]."""
        return self.parts(
            [
                {
                    label: Value(*normal(*auroc(truth[mask], risk[mask])))
                    for labels in scored.values()
                    for label, mask in labels.items()
                }
                for scored, truth, risk in zip(self.scored, self._problem.truths, risks, strict=True)
            ]
        )

    def _large(self, mask: Mask, truth: NDArray[np.uint8]) -> bool:
        rows, positives = int(mask.sum()), int(truth[mask].sum())
        return rows >= self._min_rows and MIN_CLASS <= positives <= rows - MIN_CLASS
