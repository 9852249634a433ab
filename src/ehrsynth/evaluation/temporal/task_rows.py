"""The rows that clinical tasks are learned from and tested on: one visit of each patient, and what came of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.subgroups import AGES, BANDS
from ehrsynth.evaluation.temporal.tasks import Task
from ehrsynth.metrics.temporal.next_visit import fit_logistic
from ehrsynth.metrics.temporal.tasks import Flags, Scale, courses
from ehrsynth.seeding import numpy_rng
from ehrsynth.visits import DAY, UNKNOWN, Integers, Visits, VisitSchema

YEAR = 365.25 * DAY
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class TaskRows:
    """Visits at which a task is asked, one of each patient.

    Attributes:
        x: [m, p], what is looked at.
        y: [m], what came.
        patients: [m], places in the table they were drawn from.
        age: [m] years, NaN if unknown.
    """

    x: Numbers
    y: Flags
    patients: Integers
    age: Numbers

    def has_both(self, least: int) -> bool:
        """Return whether the outcome has ``least`` patients with it, and without."""
        return min(int(self.y.sum()), int((~self.y).sum())) >= least

    def part(self, rows: Integers) -> "TaskRows":
        """Return some of them."""
        return TaskRows(self.x[rows], self.y[rows], self.patients[rows], self.age[rows])

    def followed_by(self, other: "TaskRows") -> "TaskRows":
        """Return these and then those of another table."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("x", "y", "patients", "age"))
        return TaskRows(*map(np.concatenate, pairs))

    def age_bands(self) -> dict[str, Flags]:
        """Return which rows [m] are of each band of age; none if nobody's birth is known."""
        if np.isnan(self.age).all():
            return {}
        band = np.where(np.isnan(self.age), -1, np.searchsorted(BANDS, self.age, side="right"))
        return {f"age={name}": band == i for i, name in enumerate(AGES)}


@dataclass(frozen=True)
class TaskSample:
    """Patients of a table, and what all tasks look at.

    Attributes:
        visits: theirs.
        patients: [n], their places in the table.
        known: [V, p], the history of each visit.
        schema: of the visits.
        scale: of the measurements.
        stream: seed and names of the stream that draws one visit of each.
    """

    visits: Visits
    patients: Integers
    known: Numbers
    schema: VisitSchema
    scale: Scale
    stream: tuple[int, str]

    def rows(self, task: Task) -> TaskRows:
        """Draw one visit of each patient, of those at which the task can be asked, so that rows are independent.

        Raises:
            NotApplicableError: the schema lacks what the task is about.
        """
        visits, (seed, name) = self.visits, self.stream
        asked, came = task.asked(visits, self.schema)
        places = numpy_rng(seed, "tasks/visits", name, task.name).permutation(np.flatnonzero(asked))
        places = places[np.unique(visits.patient[places], return_index=True)[1]]
        looked = [self.known[places]] if task.history else []
        if task.window is not None:
            looked.append(courses(visits, places, task.window, self.scale))
        born = visits.born[visits.patient[places]]
        known = born != UNKNOWN
        age = np.where(known, (visits.starts[places] - np.where(known, born, 0)) / YEAR, np.nan)
        return TaskRows(np.concatenate(looked, axis=1), came[places], self.patients[visits.patient[places]], age)


def weights_of(rows: TaskRows) -> Numbers:
    """Return the weights [p + 1, 1] of a logistic regression; where nearly all answers are the same, of a constant."""
    if rows.has_both(2):
        return fit_logistic(rows.x, rows.y[:, None])
    share = (rows.y.sum() + 0.5) / (len(rows.y) + 1)
    return np.append(np.zeros(rows.x.shape[1]), np.log(share / (1 - share)))[:, None]
