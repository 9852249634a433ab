"""From a trained model to synthetic records and tables."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import count

import pandas as pd
import torch
from torch import Tensor

from ehrsynth.chunks import rows_of
from ehrsynth.data.encoding import Encoder
from ehrsynth.errors import OptionError
from ehrsynth.layout import Records
from ehrsynth.models.base import SyntheticModel
from ehrsynth.schema import Column
from ehrsynth.seeding import numpy_rng, torch_rng

MOST_DRAWS = 200  # generated rows per wanted row before a condition counts as too rare
LEAST_BATCHES = 20  # batches drawn before giving up, however few rows are wanted


def sample_records(
    model: SyntheticModel,
    n: int,
    seed: int,
    *,
    batch_size: int | None = None,
    condition: Mapping[str, str] | None = None,
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
        condition: wanted value by column (a level, or 0 or 1): rows are drawn until ``n`` have it.
        progress: called with the number of records done so far.

    Raises:
        OptionError: ``n`` is not positive, a condition names no level of the schema, or hardly any
            generated record meets it.
    """
    return Records.joined(_batches(model, n, seed, batch_size, condition, progress))


def synthesize(
    model: SyntheticModel,
    n: int,
    seed: int,
    *,
    batch_size: int | None = None,
    condition: Mapping[str, str] | None = None,
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
        condition: wanted value by column.
        progress: called with the number of records done so far.
    """
    encoder = Encoder(model.schema)
    streams = [(c.name, share, numpy_rng(seed, "low_prevalence", c.name)) for c, share in low_prevalence]
    rows = rows_of(len(model.schema.columns) + len(streams))
    for records in _even(_batches(model, n, seed, batch_size, condition, progress), rows):
        frame = encoder.decode(records)
        rare = {name: (stream.random(len(frame)) < share).astype("int8") for name, share, stream in streams}
        yield pd.concat([frame, pd.DataFrame(rare, index=frame.index)], axis=1) if rare else frame


def _batches(
    model: SyntheticModel,
    n: int,
    seed: int,
    batch_size: int | None,
    condition: Mapping[str, str] | None,
    progress: Callable[[int], None] | None,
) -> Iterator[Records]:
    """Yield ``n`` records, packed, a batch of the model at a time; see ``sample_records``."""
    if n < 1:
        raise OptionError(f"n={n}: a whole number above zero was expected")
    batch_size = batch_size or model.sample_batch
    wanted = [_indicator(model, name, value) for name, value in (condition or {}).items()]
    limit = max(MOST_DRAWS * n, LEAST_BATCHES * batch_size)
    done = drawn = 0
    was_training = model.training
    model.eval()
    try:
        for batch in count():
            if drawn >= limit:
                named = ", ".join(f"{name}={value}" for name, value in (condition or {}).items())
                raise OptionError(
                    f"condition {named}: only {done} of {drawn} generated records meet it, {n} are wanted;"
                    " ask for fewer records or a less rare condition"
                )
            size = batch_size if wanted else min(batch_size, n - done)
            with torch.inference_mode():
                rows = model.sample(size, torch_rng(seed, "sample", batch, device=model.device)).cpu()
                records = Records.of_dense(model.layout, rows[_meets(rows, wanted)][: n - done]).packed()
            drawn += size
            done += len(records)
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


def _indicator(model: SyntheticModel, name: str, value: str) -> tuple[int, bool]:
    """Return the encoded column that tells whether a record has ``value``, and what it must be."""
    column = model.schema.by_name.get(name)
    if column is None:
        raise OptionError(f"condition.{name}: no such column; the model's schema has {len(model.schema.columns)}")
    if column.kind == "binary" and value in ("0", "1"):
        return model.layout.names.index(name), value == "1"
    if column.kind == "categorical" and value in column.levels:
        return model.layout.names.index(f"{name}={value}"), True
    right = {"binary": "0 or 1 was expected", "categorical": f"one of {', '.join(column.levels)} was expected"}
    raise OptionError(
        f"condition.{name}={value}: "
        + right.get(column.kind, "only binary and categorical columns can be conditioned on")
    )


def _meets(rows: Tensor, wanted: Sequence[tuple[int, bool]]) -> Tensor:
    fits = torch.ones(len(rows), dtype=torch.bool)
    for position, one in wanted:
        fits &= (rows[:, position] > 0.5) == one
    return fits
