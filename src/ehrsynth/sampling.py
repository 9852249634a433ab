"""From a trained model to synthetic records and tables."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import pandas as pd
import torch

from ehrsynth.chunks import rows_of
from ehrsynth.data.encoding import Encoder
from ehrsynth.errors import OptionError
from ehrsynth.layout import Records
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.schema import Column
from ehrsynth.seeding import numpy_rng, torch_rng

Way = Literal["none", "model", "rejection"]
Asked = Mapping[str, str] | Condition | None

MOST_DRAWS = 200  # generated rows per wanted row before a condition counts as too rare
PACKED = 4096  # rows of a batch made compact at a time
LEAST_BATCHES = 20  # batches drawn before giving up, however few rows are wanted


@dataclass
class Acceptance:
    """How records came to meet their condition; filled in while they are drawn.

    Attributes:
        way: ``model`` if it drew them under the condition, ``rejection`` if those that met it were kept, or ``none``.
        drawn: records that the model drew.
        accepted: those of them that meet the condition.
    """

    way: Way = "none"
    drawn: int = 0
    accepted: int = 0

    @property
    def share(self) -> float:
        """The share of drawn records that meet the condition."""
        return self.accepted / self.drawn if self.drawn else math.nan

    def __str__(self) -> str:
        if self.way != "rejection":
            return "by the model" if self.way == "model" else "none"
        return f"by rejection, {100 * self.share:.1f} % of {self.drawn:,} records drawn had it"


def sample_records(
    model: SyntheticModel,
    n: int,
    seed: int,
    *,
    batch_size: int | None = None,
    condition: Asked = None,
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
        condition: wanted value by column (a level, or 0 or 1), or encoded values. A model that can be conditioned on
            these columns is given it; of any other, records are drawn until ``n`` meet it.
        acceptance: is told which of the two it was, and how many records met the condition.
        progress: called with the number of records done so far.

    Raises:
        OptionError: ``n`` is not positive, a condition names no level of the schema, the model cannot be conditioned
            on it and rejection cannot help, or hardly any generated record meets it.
    """
    return Records.collected(model.layout, n, _batches(model, n, seed, batch_size, condition, acceptance, progress))


def synthesize(
    model: SyntheticModel,
    n: int,
    seed: int,
    *,
    batch_size: int | None = None,
    condition: Asked = None,
    acceptance: Acceptance | None = None,
    low_prevalence: Sequence[tuple[Column, float]] = (),
    progress: Callable[[int], None] | None = None,
) -> Generator[pd.DataFrame]:
    """Draw ``n`` records and yield them decoded to tables with the model's schema, some rows at a time.

    Args:
        low_prevalence: binary columns that preprocessing removed as too rare to learn, with their training
            prevalence; each is added at the end, drawn independently of everything else.
        model: see ``sample_records``, as for all other arguments and errors.
        n: records.
        seed: of the draws.
        batch_size: records drawn at a time.
        condition: wanted value by column, or encoded values.
        acceptance: is told how the condition was met.
        progress: called with the number of records done so far.
    """
    encoder = Encoder(model.schema)
    streams = [(c.name, share, numpy_rng(seed, "low_prevalence", c.name)) for c, share in low_prevalence]
    rows = rows_of(len(model.schema.columns) + len(streams))
    for records in _even(_batches(model, n, seed, batch_size, condition, acceptance, progress), rows):
        frame = encoder.decode(records)
        rare = {name: (stream.random(len(frame)) < share).astype("int8") for name, share, stream in streams}
        yield pd.concat([frame, pd.DataFrame(rare, index=frame.index)], axis=1) if rare else frame


def _batches(
    model: SyntheticModel,
    n: int,
    seed: int,
    batch_size: int | None,
    asked: Asked,
    acceptance: Acceptance | None,
    progress: Callable[[int], None] | None,
) -> Iterator[Records]:
    """Yield ``n`` records, packed, a batch of the model at a time; see ``sample_records``."""
    if n < 1:
        raise OptionError(f"n={n}: a whole number above zero was expected")
    batch_size = batch_size or model.sample_batch
    condition = _encoded(model, asked) if isinstance(asked, Mapping) else asked
    way = _way(model, n, condition)
    acceptance = acceptance or Acceptance()
    acceptance.way, acceptance.drawn, acceptance.accepted = way, 0, 0
    limit = max(MOST_DRAWS * n, LEAST_BATCHES * batch_size)
    done = drawn = 0
    was_training = model.training
    model.eval()
    try:
        for batch in count():
            if drawn >= limit:
                raise OptionError(
                    f"condition {_named(asked)}: only {done} of {drawn} generated records meet it, {n} are wanted;"
                    " ask for fewer records or a less rare condition"
                )
            size = batch_size if way == "rejection" else min(batch_size, n - done)
            generator = torch_rng(seed, "sample", batch, device=model.device)
            with torch.inference_mode():
                if condition is not None and way == "model":
                    rows = model.sample(
                        size, generator, condition.of_rows(slice(done, done + size)).to(model.device)
                    ).cpu()
                else:
                    rows = model.sample(size, generator).cpu()
                if condition is not None and way == "rejection":
                    rows = rows[condition.met_by(rows)]
                wanted = rows[: n - done]
                parts = (Records.of_dense(model.layout, part) for part in wanted.split(PACKED))
                records = Records.collected(model.layout, len(wanted), parts)
            drawn += size
            done += len(records)
            acceptance.drawn = drawn
            acceptance.accepted += len(rows)
            if progress is not None:
                progress(done)
            yield records
            if done == n:
                break
    finally:
        model.train(was_training)


def _even(parts: Iterable[Records], rows: int) -> Iterator[Records]:
    """Yield the rows of all parts in tables of so many rows; the last may have less."""
    waiting: list[Records] = []
    for part in parts:
        waiting.append(part)
        if sum(map(len, waiting)) >= rows:
            *full, rest = Records.joined(waiting).blocks(rows)
            yield from full
            if len(rest) == rows:
                yield rest
            waiting = [rest] if len(rest) < rows else []
    if waiting:
        yield Records.joined(waiting)


def _encoded(model: SyntheticModel, asked: Mapping[str, str]) -> Condition | None:
    """Return the condition that levels by column are; None if there is none."""
    values = torch.zeros(1, model.layout.width)
    given = torch.zeros_like(values, dtype=torch.bool)
    for name, value in asked.items():
        column = model.schema.by_name.get(name)
        if column is None:
            raise OptionError(f"condition.{name}: no such column; the model's schema has {len(model.schema.columns)}")
        places = model.layout.places[name]
        if column.kind == "binary" and value in ("0", "1"):
            values[0, places] = float(value)
        elif column.kind == "categorical" and value in column.levels:
            values[0, places[column.levels.index(value)]] = 1
        else:
            right = {
                "binary": "0 or 1 was expected",
                "categorical": f"one of {', '.join(column.levels)} was expected",
            }.get(column.kind, "only binary and categorical columns can be conditioned on")
            raise OptionError(f"condition.{name}={value}: {right}")
        given[0, places] = True
    return Condition(model.layout, values, values, given) if asked else None


def _named(asked: Asked) -> str:
    if isinstance(asked, Mapping):
        return ", ".join(f"{name}={value}" for name, value in asked.items())
    return "" if asked is None else ", ".join(sorted(asked.columns))


def _way(model: SyntheticModel, n: int, condition: Condition | None) -> Way:
    """Return how the condition is met.

    Raises:
        OptionError: only the model could meet it, and it cannot.
    """
    if condition is None or not condition.columns:
        return "none"
    if len(condition) not in (1, n):
        raise OptionError(f"condition: {len(condition)} rows for n={n} records; one, or one for each was expected")
    others = sorted(condition.columns - set(model.conditionable))
    if not others:
        return "model"
    numbers = [name for name in others if model.schema.by_name[name].numeric]
    if numbers or len(condition) > 1:
        what = f"the number {numbers[0]!r}" if numbers else f"{others[0]!r} by one value for each record"
        raise OptionError(f"condition: {type(model).__name__} cannot be conditioned on {what}, nor can rejection help")
    return "rejection"
