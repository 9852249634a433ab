"""Other records among generated ones: patients themselves, or what a rare cohort's own model draws."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ehrsynth.seeding import numpy_rng


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


def outside(chunks: Iterable[pd.DataFrame], cohort: Mapping[str, Any], n: int) -> Iterator[pd.DataFrame]:
    """Yield ``n`` rows that do not belong to a cohort, out of as many tables as that takes.

    Args:
        chunks: tables; no more of them are asked for than needed.
        cohort: value by column: who has them all belongs to it.
        n: rows wanted.
    """
    left = n
    for chunk in chunks:
        inside = np.logical_and.reduce([chunk[name].astype(str) == str(value) for name, value in cohort.items()])
        kept = chunk[~inside].head(left)
        left -= len(kept)
        if len(kept):
            yield kept
        if not left:
            break
