"""Other records among generated ones: patients themselves, or what a rare cohort's own model draws."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ehrsynth.data.encoding import Encoder
from ehrsynth.data.training_rows import leaves, of_cohort
from ehrsynth.errors import OptionError
from ehrsynth.sampling import Acceptance, Ruled, sample_records
from ehrsynth.seeding import derive, numpy_rng
from ehrsynth.study.loaded_run import Loaded

ROUNDS = 50  # draws of as many rows as are wanted, before the model counts as drawing hardly anybody else


def interleaved(chunks: Iterable[pd.DataFrame], others: pd.DataFrame, n: int, seed: int) -> Iterator[pd.DataFrame]:
    """Yield the rows of ``chunks`` in order, with those of ``others`` in random order at random places among them.

    Args:
        chunks: tables, one after another, with ``n - len(others)`` rows in all, at least one.
        others: rows with the same columns.
        n: rows in all.
        seed: of order and places.
    """
    rng = numpy_rng(seed, "blend")
    places = np.sort(rng.choice(n, len(others), replace=False))
    before = places - np.arange(len(others))  # how many rows of the chunks come before each
    others = others.iloc[rng.permutation(len(others))]
    own = used = 0
    for chunk in chunks:
        up_to = int(np.searchsorted(before, own + len(chunk), side="right"))
        block = pd.concat([others.iloc[used:up_to], chunk], ignore_index=True)
        order = np.concatenate([before[used:up_to], own + np.arange(len(chunk))])
        yield block.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)
        own, used = own + len(chunk), up_to


def outside(
    draw: Callable[[int], Iterable[pd.DataFrame]], cohort: Mapping[str, Any], n: int, seed: int
) -> Iterator[pd.DataFrame]:
    """Yield ``n`` rows that do not belong to a cohort.

    Args:
        draw: returns tables of ``n`` rows in all for a seed; asked again until enough are found.
        cohort: value by column: who has them all belongs to it.
        n: rows wanted.
        seed: of the first draw; the others derive theirs.

    Raises:
        OptionError: hardly any row is outside.
    """
    left = n
    for number in count():
        if number == ROUNDS:
            raise OptionError(f"merge: only {n - left} of {ROUNDS * n} records are outside the cohort of that run")
        for chunk in draw(derive(seed, "outside", number) if number else seed):
            kept = chunk[~of_cohort(chunk, cohort)].head(left)
            left -= len(kept)
            if len(kept):
                yield kept
            if not left:
                return


class Cohort(NamedTuple):
    """Records of a cohort, by the model of its own.

    Attributes:
        only: value by column: who has them all belongs to it.
        records: its part of the table.
        about: what names it in the provenance, and how its records came about.
    """

    only: dict[str, object]
    records: pd.DataFrame
    about: dict[str, object]


def cohort_of(main: Loaded, own: Loaded, n: int, seed: int, rules: Ruled | None) -> Cohort:
    """Draw a cohort's share of ``n`` records from the run that saw nobody else.

    Raises:
        OptionError: that run saw everybody, or the other one did not, they are of two matrices, or the cohort's part is
            nobody or all.
    """
    if main.seen.get("only"):
        raise OptionError(f"run={main.folder.path}: it saw a cohort only; merge one into a run that saw everybody")
    seen = own.seen
    if not seen.get("only"):
        raise OptionError(f"merge={own.folder.path}: a run that saw a cohort only was expected; train with rows.only")
    if own.model.schema != main.model.schema:
        raise OptionError(f"merge={own.folder.path}: of another matrix; train both on one")
    size = round(n * seen["cohort"] / own.rows)
    if not 0 < size < n:
        raise OptionError(f"merge={own.folder.path}: the cohort's part of n={n} is {size}; ask for more records")
    only, how = dict(leaves(seen["only"])), Acceptance()
    drawn = sample_records(own.model, size, derive(seed, "cohort"), condition=only, ruled=rules, acceptance=how)
    about = {**own.about, "only": seen["only"], "records": size, "how": how.to_dict()}
    return Cohort(only, Encoder(own.model.schema).decode(drawn), about)
