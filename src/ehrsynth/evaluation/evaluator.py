"""The seam of evaluation: fit on real records once, score many synthetic tables.

An evaluator asks rows (``RealData``, scored on ``Records``) or trajectories (``RealVisits``, scored on ``Visits``).
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ehrsynth.constraints import Constraint
from ehrsynth.constraints.over_time import RuleOverTime
from ehrsynth.errors import EhrsynthError, OptionError
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.memory import Memory, Shared
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Schema
from ehrsynth.visits import Visits, VisitSchema

Form = Literal["rows", "trajectories"]


class NotApplicableError(EhrsynthError):
    """The data lack what the metric needs (an outcome, a sex column, ...); the score is skipped."""


@dataclass(frozen=True)
class RealData:
    """The real side of an evaluation.

    Attributes:
        schema: the columns.
        train: R, the rows the generator was trained on.
        holdout: H, real rows it never saw (the validation rows while a run is still choosing).
        constraints: the rules declared for the data.
        cache: folder that keeps costly work on these rows for other processes; None keeps nothing.
        seed: of the draws that all evaluators must share, such as groups of records and models of outcomes. A suite
            puts its own here.
        shared: what several evaluators need for the same synthetic table, done once.
    """

    form: ClassVar[Form] = "rows"

    schema: Schema
    train: Records
    holdout: Records
    constraints: tuple[Constraint, ...] = ()
    cache: Path | None = None
    seed: int = 0
    shared: Shared = field(default_factory=Shared, init=False, repr=False, compare=False)

    @property
    def layout(self) -> Layout:
        """The encoded columns, the same for R, H and S."""
        return self.train.layout

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the schema and of every cell of R and H."""
        digest = hashlib.sha256(json.dumps(self.schema.to_dict()).encode())
        for table in (self.train, self.holdout):
            digest.update(table.digest())
        return digest.hexdigest()

    @cached_property
    def memory(self) -> Memory:
        """Costly work on R and H that need not be done again."""
        return Memory(self.fingerprint, self.cache)


@dataclass(frozen=True)
class RealVisits:
    """The real side of an evaluation of trajectories.

    Attributes:
        schema: what the visits are made of.
        train: R, the patients the generator was trained on.
        holdout: H, real patients it never saw (the validation patients while a run is still choosing).
        over_time: rules that were declared for the visits.
        subgroups: of H, by a label such as ``sex=F``: which of its patients [n] belong to it; none if nobody knows.
        seed: of the draws that all evaluators must share, such as groups of patients. A suite puts its own here.
        shared: what several evaluators need for the same synthetic visits, done once.
    """

    form: ClassVar[Form] = "trajectories"

    schema: VisitSchema
    train: Visits
    holdout: Visits
    over_time: tuple[RuleOverTime, ...] = ()
    subgroups: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False, compare=False)
    seed: int = 0
    shared: Shared = field(default_factory=Shared, init=False, repr=False, compare=False)

    @property
    def width(self) -> int:
        """The number of codes of the schema."""
        return len(self.schema.codes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the schema and of every number of R and H."""
        digest = hashlib.sha256(json.dumps(asdict(self.schema)).encode())
        for visits in (self.train, self.holdout):
            for column in fields(visits):
                content = getattr(visits, column.name)
                digest.update(f"{column.name} {content.dtype} {content.shape}".encode())
                digest.update(content.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Value:
    """One number of one metric.

    Attributes:
        value: in raw units.
        ci: 95 % interval; None only for what describes an attack and measures nothing.
        parts: the same metric on parts of the table, or what it was made of, by kind and name:
            ``("column", "age")``, ``("domain", "lab")``, ``("subgroup", "sex=F")``.
    """

    value: float
    ci: tuple[float, float] | None = None
    parts: "Parts" = field(default_factory=dict)


@dataclass(frozen=True)
class Undefined:
    """Why a metric has no value for this synthetic table (a constant outcome, a code that never occurs)."""

    reason: str


Parts = Mapping[tuple[str, str], Value | Undefined]


Real = TypeVar("Real", RealData, RealVisits)
Synthetic = TypeVar("Synthetic", Records, Visits)
Scored = TypeVar("Scored", contravariant=True)


class Scorer(Protocol[Scored]):
    """Scores a synthetic table against the real data it was fitted on."""

    def __call__(self, synthetic: Scored, seed: int) -> Mapping[str, Value | Undefined]:
        """Return one result per card name; ``Undefined`` and a card that is left out count as failed."""


class Evaluator(ABC, Generic[Real, Synthetic]):
    """One question put to a synthetic table.

    An evaluator is stateless: its constructor takes the options of the question, ``fit`` does all
    work that needs only real rows, and the scorer it returns may be called any number of times.
    ``fit`` and the scorer draw only from streams derived from the seed they are given.
    """

    asks: ClassVar[Form] = "rows"
    cards: tuple[Card, ...]
    uses_holdout: bool = False
    """Whether the scores look at H; then fresh real rows must be taken out of H to stand in for S."""
    column_options: ClassVar[Mapping[str, str]] = {}
    """Attributes that hold names of columns, None for none, and what messages call them."""

    def check(self, schema: Any) -> None:
        """Look at the options before any work is done.

        Raises:
            InputError: one names a column that the schema does not have, or a file that is not there.
        """
        for attribute, option in self.column_options.items():
            check_names(option, getattr(self, attribute) or (), schema)

    @abstractmethod
    def fit(self, real: Real, seed: int) -> Scorer[Synthetic]:
        """Prepare for scoring.

        Raises:
            NotApplicableError: the data lack what the question needs; all its cards are skipped.
        """

    def peak_memory(self, real: Real, rows: int) -> int:
        """Return the bytes it takes at most, beside the tables, to score up to so many synthetic rows.

        Zero where that is little. What the machine does not have is refused before an evaluation starts.
        """
        return 0

    def undefined(self, reason: str) -> "dict[str, Value | Undefined]":
        """Return the results of a table for which none of the cards has a value."""
        return {card.name: Undefined(reason) for card in self.cards}


class VisitEvaluator(Evaluator[RealVisits, Visits]):
    """One question put to synthetic trajectories."""

    asks = "trajectories"


def check_names(option: str, names: Collection[str], schema: Schema) -> None:
    """Refuse names of columns that the schema does not have.

    Raises:
        OptionError: there is one.
    """
    if unknown := sorted(map(str, set(names) - set(schema.names))):
        raise OptionError(f"{option}: the schema has no column {unknown[0]!r}")
