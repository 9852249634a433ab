"""A model draws until every record has what it was asked for."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.chunks import rows_of
from ehrsynth.constraints import Rules
from ehrsynth.constraints.policy import Policy, enforced
from ehrsynth.data.encoding import Encoder
from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.sampling.acceptance import Acceptance
from ehrsynth.sampling.calibrated import Calibration
from ehrsynth.sampling.questions import Answering, Demand, Indices, Questions, assigned
from ehrsynth.sampling.wanted import conditions, wanted
from ehrsynth.sampling.weighed import Weighing
from ehrsynth.schema import Column
from ehrsynth.seeding import numpy_rng, torch_rng

Asked = Mapping[str, object] | Condition | Demand | None
Chances = float | Callable[[pd.DataFrame], NDArray[np.float64]]
Keeping = Calibration | Weighing  # of more records than are wanted

MOST_DRAWS = 200  # generated rows per wanted row before a condition counts as too rare
PACKED = 4096  # rows of a batch made compact at a time
LEAST_BATCHES = 20  # batches drawn before giving up, however few rows are wanted
HELD_CELLS = 4_000_000  # of the conditions, a row for each record, that are held at a time


@dataclass(frozen=True)
class Ruled:
    """The rules that drawn records are to keep, and what becomes of those that do not."""

    rules: Rules = field(repr=False)
    policy: Policy = "reject"


def sample_records(
    model: SyntheticModel,
    n: int,
    seed: int,
    *,
    batch_size: int | None = None,
    condition: Asked = None,
    ruled: Ruled | None = None,
    keeping: Keeping | None = None,
    acceptance: Acceptance | None = None,
    progress: Callable[[int], None] | None = None,
) -> Records:
    """Draw ``n`` hard records from ``model``, on its device, and return them on the CPU, packed.

    Every batch has its own stream, so whole batches do not depend on ``n``. The model is in evaluation
    mode meanwhile and in its former mode afterwards; no other random stream moves.

    Args:
        model: a trained model.
        n: records to return, at least 1.
        seed: of the draws.
        batch_size: records drawn at a time, the model's own choice by default; another size gives other
            records.
        condition: wanted value by column, as ``wanted`` takes them, encoded values and ranges, one for all records or
            one for each, or a demand for ``n`` of them. The model is given what it can be conditioned on; records are
            drawn until ``n`` meet the rest.
        ruled: rules to be kept; None hands over what breaks some.
        keeping: which of more records that are drawn: by shares of the training rows, which no condition goes with, for
            it asks for others; or by the likelihood of records under a condition, which is to be the one asked for.
        acceptance: is told which of the two it was for each column, and how many records met the condition.
        progress: called with the number of records done so far.

    Raises:
        OptionError: ``n`` is not positive, a condition names nothing that the schema has, or hardly any generated
            record meets it, or keeps the rules; or they cannot be calibrated.
    """
    batches = record_batches(model, n, seed, batch_size, condition, ruled, acceptance, progress, keeping)
    return Records.collected(model.layout, n, batches)


def synthesize(
    model: SyntheticModel,
    n: int,
    seed: int,
    *,
    batch_size: int | None = None,
    condition: Asked = None,
    ruled: Ruled | None = None,
    keeping: Keeping | None = None,
    acceptance: Acceptance | None = None,
    low_prevalence: Sequence[tuple[Column, Chances]] = (),
    progress: Callable[[int], None] | None = None,
) -> Generator[pd.DataFrame]:
    """Draw ``n`` records and yield them decoded to tables with the model's schema, some rows at a time.

    Args:
        low_prevalence: binary columns that preprocessing removed as too rare to learn, with their training
            prevalence, or with what gives each row's chance; each is added at the end, drawn alone.
        model: see ``sample_records``, as for all other arguments and errors.
        n: records.
        seed: of the draws.
        batch_size: records drawn at a time.
        condition: what records must have.
        ruled: rules to be kept.
        keeping: which of more records that are drawn.
        acceptance: is told how the condition was met.
        progress: called with the number of records done so far.
    """
    batches = record_batches(model, n, seed, batch_size, condition, ruled, acceptance, progress, keeping)
    yield from with_rare_codes(decoded(model, batches, len(low_prevalence)), low_prevalence, seed)


def decoded(model: SyntheticModel, batches: Iterable[Records], more: int = 0) -> Iterator[pd.DataFrame]:
    """Yield records as tables of even size, to which so many more columns will be added."""
    encoder = Encoder(model.schema)
    yield from map(encoder.decode, Records.even(batches, rows_of(len(model.schema.columns) + more)))


def with_rare_codes(
    frames: Iterable[pd.DataFrame], low_prevalence: Sequence[tuple[Column, Chances]], seed: int
) -> Iterator[pd.DataFrame]:
    """Yield tables with the rare codes at their end; see ``synthesize``."""
    streams = [(c.name, share, numpy_rng(seed, "low_prevalence", c.name)) for c, share in low_prevalence]
    for frame in frames:
        chances = {name: share(frame) if callable(share) else share for name, share, _ in streams}
        rare = {name: (stream.random(len(frame)) < chances[name]).astype("int8") for name, _, stream in streams}
        yield pd.concat([frame, pd.DataFrame(rare, index=frame.index)], axis=1) if rare else frame


def record_batches(
    model: SyntheticModel,
    n: int,
    seed: int,
    batch_size: int | None = None,
    asked: Asked = None,
    ruled: Ruled | None = None,
    acceptance: Acceptance | None = None,
    progress: Callable[[int], None] | None = None,
    keeping: Keeping | None = None,
) -> Iterator[Records]:
    """Yield ``n`` records, packed, some at a time; see ``sample_records``."""
    if n < 1:
        raise OptionError(f"n={n}: a whole number above zero was expected")
    if keeping is not None:
        if asked and isinstance(keeping, Calibration):
            raise OptionError("calibration: its shares are those of all training rows, and a condition asks for some")
        drawn = keeping.drawn(n)
        told = None if progress is None else lambda done: progress(done * n // drawn)
        batches = record_batches(model, drawn, seed, batch_size, asked, ruled, acceptance, told)
        yield from keeping.kept(batches, n, seed)
        return
    demand = _demand(model, n, asked)
    drawing = _Drawing(model, seed, batch_size or model.sample_batch, ruled, acceptance or Acceptance())
    drawing.acceptance.start(model, demand.columns)
    held = max(1, HELD_CELLS // (drawing.batch_size * model.layout.width)) * drawing.batch_size
    done = 0
    was_training = model.training
    model.eval()
    try:
        for questions in demand.windows(held):
            drawing.first = done
            for records in drawing.served(questions, demand.named):
                done += len(records)
                if progress is not None:
                    progress(done)
                yield records
    finally:
        model.train(was_training)


def _demand(model: SyntheticModel, n: int, asked: Asked) -> Demand:
    """Return what is asked of ``n`` records."""
    if isinstance(asked, Demand):
        return asked
    words = [f"{column}={value}" for column, value in asked.items()] if isinstance(asked, Mapping) else []
    if not isinstance(asked, Condition):
        asked = conditions(model.schema, 1, wanted(model.schema, asked or {}))
    if len(asked) not in (1, n):
        raise OptionError(f"condition: {len(asked)} rows for n={n} records; one, or one for each was expected")
    questions = Questions(asked, np.zeros(n, np.int64) if len(asked) == 1 else np.arange(n))
    name = f"condition {', '.join(words or sorted(asked.columns))}" if asked.columns else "constraints.policy"
    return Demand(asked.columns, lambda _: iter([questions]), lambda _: name)


class _Drawing:
    """Batches of a model, each from a stream of its own, handed to those that asked for what they hold."""

    def __init__(
        self, model: SyntheticModel, seed: int, batch_size: int, ruled: Ruled | None, acceptance: Acceptance
    ) -> None:
        self.model, self.seed, self.batch_size, self.ruled = model, seed, batch_size, ruled
        self.acceptance = acceptance
        self.batch = 0
        self.first = 0  # the number of the record that the first of the questions is for

    def served(self, questions: Questions, named: Callable[[int], str]) -> Iterator[Records]:
        """Yield a record for each question, in order, packed."""
        able = set(self.model.conditionable)
        given = questions.distinct.on(able)
        rest = questions.distinct.on(set(self.model.schema.names) - able)
        if not rest.columns and self.ruled is None:
            for start in range(0, len(questions), self.batch_size):
                rows = self._draw(given, questions.of[start : start + self.batch_size])
                self.acceptance.accepted += len(rows)
                yield _packed(self.model.layout, rows)
        else:
            yield from self._tried(questions, given, rest, named)

    def _tried(
        self, questions: Questions, given: Condition, rest: Condition, named: Callable[[int], str]
    ) -> Iterator[Records]:
        """Yield a record for each question, drawn until each is answered."""
        answering = Answering(self.model.schema, given, rest)
        of = answering.same[questions.of]
        waiting = np.arange(len(of))
        early = _Early(self.model.layout)
        limit = max(MOST_DRAWS * len(of), LEAST_BATCHES * self.batch_size)
        drawn = since = 0  # since somebody was last served
        while len(waiting):
            if drawn >= limit or since >= LEAST_BATCHES * max(self.batch_size, MOST_DRAWS):
                kept = [*["meet it"] * bool(rest.columns), *["keep the rules"] * (self.ruled is not None)]
                raise OptionError(
                    f"{named(self.first + int(waiting[0]))}: only {len(of) - len(waiting)} of {drawn} generated records"
                    f" {' and '.join(kept)}, {len(of)} are wanted; ask for fewer records or a less rare condition"
                )
            asked = of[np.resize(waiting, self.batch_size)]
            rows = self._draw(given, asked)
            answered = answering.answered(rows, asked)
            answered[~np.isin(answered, of[waiting])] = -1  # those who asked this have what they want
            self.acceptance.accepted += int((answered >= 0).sum())
            rows, answered = self._ruled(rows, answered, questions.distinct)
            records, places = assigned(answered, of[waiting])
            drawn, since = drawn + len(rows), 0 if len(records) else since + len(rows)
            early.take(waiting[places], rows[torch.from_numpy(records)])
            waiting = np.delete(waiting, places)
            yield from early.ready(int(waiting[0]) if len(waiting) else len(of))

    def _draw(self, given: Condition, asked: Indices) -> Tensor:
        """Return a record for each of the questions ``asked``, under what the model is given of it."""
        generator = torch_rng(self.seed, "sample", self.batch, device=self.model.device)
        self.batch += 1
        self.acceptance.drawn += len(asked)
        with torch.inference_mode():
            if not given.columns:
                return self.model.sample(len(asked), generator).cpu()
            told = given.of_rows(torch.from_numpy(asked)).to(self.model.device)
            return self.model.sample(len(asked), generator, told).cpu()

    def _ruled(self, rows: Tensor, answered: Indices, asked: Condition) -> tuple[Tensor, Indices]:
        """Return records, mended if they are to be, and which question each answers, if it keeps the rules."""
        if self.ruled is None:
            return rows, answered
        some = torch.from_numpy(np.flatnonzero(answered >= 0))
        given = asked.of_rows(torch.from_numpy(answered)[some]).given
        result = enforced(self.ruled.policy, self.ruled.rules, rows[some], given)
        self.acceptance.broken += int(result.broken.sum())
        self.acceptance.changed += int(result.changed.sum())
        answered[some[~result.kept].numpy()] = -1
        return rows.index_copy(0, some, result.rows), answered


class _Early:
    """Records that wait for those before them."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.places: list[Indices] = []
        self.records: list[Records] = []

    def take(self, places: Indices, rows: Tensor) -> None:
        """Keep rows, packed, for these places."""
        if len(places):
            self.places.append(places)
            self.records.append(_packed(self.layout, rows))

    def ready(self, before: int) -> Iterator[Records]:
        """Yield, in order, what is there for the places ``before`` this one, if that is anything."""
        if not any((places < before).any() for places in self.places):
            return
        places, records = np.concatenate(self.places), Records.joined(self.records)
        order = np.argsort(places, kind="stable")
        count = int((places < before).sum())
        self.places = [places[order[count:]]] if count < len(places) else []
        self.records = [records[torch.from_numpy(order[count:])]] if count < len(places) else []
        yield records[torch.from_numpy(order[:count])]


def _packed(layout: Layout, rows: Tensor) -> Records:
    parts = (Records.of_dense(layout, part) for part in rows.split(PACKED))
    return Records.collected(layout, len(rows), parts)
