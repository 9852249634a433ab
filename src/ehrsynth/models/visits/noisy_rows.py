"""Rows of patients by a forest over noisy counts, for models of visits that train privately."""

import numpy as np
from torch import Tensor

from ehrsynth.accounting import ZeroConcentrated, epsilon_of
from ehrsynth.layout import Records
from ehrsynth.models.dp_tree import DPTree
from ehrsynth.schema import Schema


def noisy_rows(
    schema: Schema, static: Tensor, rho: float, delta: float, bins: int, noise: np.random.Generator | None = None
) -> DPTree:
    """Return what draws rows of patients, and has spent so much on it.

    Args:
        schema: of the rows.
        static: float32 [n, s], encoded, without missing values.
        rho: that it spends.
        delta: at which epsilon is told.
        bins: of a number.
        noise: a generator in place of a secret one, for tests alone.
    """
    epsilon = epsilon_of([ZeroConcentrated(rho)], delta).rdp
    tree = DPTree(schema=schema, epsilon=epsilon, delta=delta, bins=bins, counted=0.0)  # codes belong to visits
    tree.noise = noise
    tree.observe(Records.of_dense(tree.layout, static))
    return tree
