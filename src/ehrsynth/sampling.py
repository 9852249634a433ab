"""From a trained model to synthetic records and tables."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

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
    """Draw ``n`` hard records from ``model``, on its device, and return them on the CPU.

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
    if n < 1:
        raise OptionError(f"n={n}: a whole number above zero was expected")
    batch_size = batch_size or model.sample_batch
    wanted = [_indicator(model, name, value) for name, value in (condition or {}).items()]
    limit = max(MOST_DRAWS * n, LEAST_BATCHES * batch_size)
    parts: list[Records] = []
    done = drawn = 0
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            while done < n:
                if drawn >= limit:
                    named = ", ".join(f"{name}={value}" for name, value in (condition or {}).items())
                    raise OptionError(
                        f"condition {named}: only {done} of {drawn} generated records meet it, {n} are wanted;"
                        " ask for fewer records or a less rare condition"
                    )
                size = batch_size if wanted else min(batch_size, n - done)
                rows = model.sample(size, torch_rng(seed, "sample", len(parts), device=model.device)).cpu()
                drawn += size
                parts.append(Records.of_dense(model.layout, rows[_meets(rows, wanted)][: n - done]))
                done += len(parts[-1])
                if progress is not None:
                    progress(done)
    finally:
        model.train(was_training)
    return Records(model.layout, torch.cat([part.bits for part in parts]), torch.cat([part.values for part in parts]))


def synthesize(
    model: SyntheticModel,
    n: int,
    seed: int,
    *,
    batch_size: int | None = None,
    condition: Mapping[str, str] | None = None,
    low_prevalence: Sequence[tuple[Column, float]] = (),
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Draw ``n`` records and decode them to a table with the model's schema.

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
    records = sample_records(model, n, seed, batch_size=batch_size, condition=condition, progress=progress)
    frame = Encoder(model.schema).decode(records)
    rare = {
        column.name: (numpy_rng(seed, "low_prevalence", column.name).random(n) < prevalence).astype("int8")
        for column, prevalence in low_prevalence
    }
    return pd.concat([frame, pd.DataFrame(rare, index=frame.index)], axis=1) if rare else frame


def _indicator(model: SyntheticModel, name: str, value: str) -> tuple[int, bool]:
    """Return the encoded column that tells whether a record has ``value``, and what it must be."""
    column = model.schema.by_name.get(name)
    if column is None:
        raise OptionError(f"condition.{name}: no such column; the model's schema has {len(model.schema.columns)}")
    if column.kind == "binary" and value in ("0", "1"):
        return model.layout.names.index(name), value == "1"
    if column.kind == "categorical" and value in column.levels:
        return model.layout.names.index(f"{name}={value}"), True
    right = {"binary": "0 or 1", "categorical": f"one of {', '.join(column.levels)}"}
    raise OptionError(
        f"condition.{name}={value}: "
        + right.get(column.kind, "only binary and categorical columns can be conditioned on")
    )


def _meets(rows: Tensor, wanted: Sequence[tuple[int, bool]]) -> Tensor:
    fits = torch.ones(len(rows), dtype=torch.bool)
    for position, one in wanted:
        fits &= (rows[:, position] > 0.5) == one
    return fits
