"""What there is to predict of a record, and the boosted trees that predict it, fitted once for all who ask."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.bits import as_sparse
from ehrsynth.evaluation.evaluator import NotApplicableError, RealData, Undefined, Value
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics import boosting
from ehrsynth.seeding import derive

MIN_LEVEL = 10  # records with and without a level of a categorical outcome, or it is no task


@dataclass(frozen=True)
class Task:
    """One binary question: a binary outcome, or one level of a categorical one against the rest.

    Attributes:
        outcome: the schema column.
        name: the encoded column.
        place: where it lies in the bits of a record.
    """

    outcome: str
    name: str
    place: int

    def of(self, records: Records) -> NDArray[np.uint8]:
        """Return the answers [n]."""
        return np.asarray(records.bits[:, self.place].numpy())


class Problem:
    """The tasks of a data set, the features they may use, and H.

    What is drawn to learn them comes from the seed of the real data and not from that of an evaluator, so that all
    evaluators speak of the same models.

    Raises:
        NotApplicableError: no binary or categorical outcome, or one that is constant in R or H.
    """

    def __init__(self, real: RealData) -> None:
        self.real = real
        self.seed = real.seed
        fields, columns = real.layout.fields, real.schema.outcomes
        names = {column.name for column in columns}
        asked = [(i, field) for i, field in enumerate(fields) if field.column in names]
        self.features = [i for i, field in enumerate(fields) if field.column not in names]
        self.tasks = tuple(Task(field.column, field.name, i) for i, field in asked if field.kind == "bit")
        if constant := self.constant(real.train):
            raise NotApplicableError(f"outcome {constant!r} is constant in the training rows")
        if constant := self.constant(real.holdout):
            raise NotApplicableError(f"outcome {constant!r} is constant in the held-out rows")
        levels = [Task(f.column, f.name, i) for i, f in asked if f.kind == "level" and f.name != f"{f.column}:missing"]
        self.tasks += tuple(
            task for task in levels if min(_smaller(task, t) for t in (real.train, real.holdout)) >= MIN_LEVEL
        )
        if not self.tasks:
            kinds = ", ".join(f"{column.name!r} is {column.kind}" for column in columns)
            raise NotApplicableError(
                "the schema has no column with the role outcome that is binary, or categorical with levels of"
                f" {MIN_LEVEL} records or more{kinds and f' ({kinds})'}"
            )

    def drawn(self, records: Records, max_rows: int | None, name: str = "utility") -> Records:
        """Return at most ``max_rows`` records, drawn from the stream of that name."""
        return capped(records, max_rows, self.seed, name)

    @cached_property
    def truths(self) -> list[NDArray[np.uint8]]:
        """The answers of H, per task."""
        return [task.of(self.real.holdout) for task in self.tasks]

    @cached_property
    def test(self) -> sparse.csr_matrix:
        """The features of H."""
        return self.x(self.real.holdout)

    def x(self, records: Records) -> sparse.csr_matrix:
        """Return the features [n, p - outcomes], float32; zeros are not stored and missing values are NaN."""
        split = records.layout.binary.stop
        bits = sparse.csr_matrix(as_sparse(records.bits, [i for i in self.features if i < split]), dtype=np.float32)
        values = sparse.csr_matrix(records.values[:, [i - split for i in self.features if i >= split]].numpy())
        return sparse.csr_matrix(sparse.hstack([bits, values], format="csr"))

    def constant(self, records: Records) -> str | None:
        """Return the name of the first task that has the same answer in all records."""
        return next((task.name for task in self.tasks if not _smaller(task, records)), None)


@dataclass(frozen=True)
class TrainedTrees:
    """Trees trained on one table, one model per task.

    Attributes:
        models: [tasks], as bytes.
        risks: [tasks, n_H], predicted for H.
        shares: [tasks], prevalence in the training table: as many are called positive.
    """

    models: tuple[NDArray[np.uint8], ...]
    risks: NDArray[np.float64]
    shares: NDArray[np.float64]

    def model(self, task: int) -> lightgbm.Booster:
        """Return the model of a task, ready to predict."""
        return boosting.unpacked(self.models[task])


@dataclass(frozen=True)
class Trees:
    """Options of the boosted trees; equal options share their models.

    Attributes:
        rounds: trees; 2000 as published.
        learning_rate: 0.01 as published.
        max_rows: to train on, drawn at random; None takes all.
    """

    rounds: int
    learning_rate: float
    max_rows: int | None

    @property
    def key(self) -> dict[str, float | None]:
        """The options as plain values, to know the work on real data by."""
        return asdict(self)

    def on_real(self, problem: Problem) -> TrainedTrees:
        """Train on R; kept with the real data."""

        def compute() -> dict[str, NDArray[np.generic]]:
            trained = self.fit(problem, (problem.drawn(problem.real.train, self.max_rows),))
            models = {f"model/{i}": model for i, model in enumerate(trained.models)}
            return {"risks": trained.risks, "shares": trained.shares, **models}

        known = problem.real.memory.cached({"work": "outcome trees", "seed": problem.seed, **self.key}, compute)
        models = tuple(known[f"model/{i}"] for i in range(len(problem.tasks)))
        return TrainedTrees(models, known["risks"], known["shares"])

    def on_synthetic(self, problem: Problem, synthetic: Records) -> TrainedTrees | str:
        """Train on S, once per table; or say why that cannot be done."""
        drawn = problem.drawn(synthetic, self.max_rows)
        if constant := problem.constant(drawn):
            return f"outcome {constant!r} is constant in the synthetic rows"
        return problem.real.shared.once(synthetic, ("outcome trees", self), lambda: self.fit(problem, (drawn,)))

    def fit(self, problem: Problem, tables: Sequence[Records]) -> TrainedTrees:
        """Train on the rows of all ``tables`` together and predict H."""
        x = sparse.csr_matrix(sparse.vstack([problem.x(table) for table in tables], format="csr"))
        models, risks, shares = [], [], []
        for task in problem.tasks:
            y = np.concatenate([task.of(table) for table in tables])
            model = boosting.fit_trees(x, y, self.rounds, derive(problem.seed, "trees") % 2**31, self.learning_rate)
            models.append(boosting.packed(model))
            risks.append(boosting.risk(model, problem.test))
            shares.append(float(y.mean()))
        return TrainedTrees(tuple(models), np.array(risks), np.array(shares))


def over_outcomes(problem: Problem, values: Sequence[Value]) -> Value:
    """Average over the outcome columns, and within a categorical one over its levels.

    Args:
        problem: the tasks.
        values: one per task.

    Returns:
        The mean, with parts per ``outcome``, and per ``level`` of a categorical one.
    """
    parts: dict[tuple[str, str], Value | Undefined] = {}
    columns: dict[str, list[Value]] = {}
    for task, value in zip(problem.tasks, values, strict=True):
        columns.setdefault(task.outcome, []).append(value)
        if task.name != task.outcome:
            parts["level", task.name] = value
    means = {name: averaged(found) for name, found in columns.items()}
    whole = averaged(list(means.values()))
    return Value(whole.value, whole.ci, {**{("outcome", name): mean for name, mean in means.items()}, **parts})


def averaged(values: Sequence[Value]) -> Value:
    """Average; the interval as if the errors were fully correlated, so never too narrow."""
    low, high = np.mean([value.ci for value in values if value.ci], axis=0)
    return Value(float(np.mean([value.value for value in values])), (float(low), float(high)))


def _smaller(task: Task, records: Records) -> int:
    """Return the size of the smaller class."""
    positives = int(records.bits[:, task.place].sum())
    return min(positives, len(records) - positives)
