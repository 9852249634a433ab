"""Attribute inference and membership at 50,000 training x 50,000 synthetic x 460 columns: seconds and peak memory.

A plain blocked loop over the same distances (numpy, float32) runs beside them, so that the ratio means something on
any machine.
"""

import os
import platform
import resource
from time import perf_counter

import numpy as np
import torch

from ehrsynth.evaluation.attributes import AttributeInference, PublishedAttributeInference
from ehrsynth.evaluation.evaluator import Evaluator, RealData
from ehrsynth.evaluation.privacy import Membership
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Column, Schema
from ehrsynth.seeding import numpy_rng

ROWS, HOLDOUT, COLUMNS = 50_000, 21_455, 460


def simulate(layout: Layout, rows: int, name: str) -> Records:
    """Draw sparse records with a shared burden per row, so that rows differ in how many codes they have."""
    rng = numpy_rng(0, "bench", name)
    prevalence = 0.25 / (1 + np.arange(COLUMNS - 2)) ** 0.9
    burden = rng.gamma(2.0, 0.5, (rows, 1))
    codes = rng.random((rows, COLUMNS - 2)) < np.clip(prevalence * burden, 0, 0.95)
    sex = rng.integers(0, 2, rows)
    bits = np.column_stack([codes, sex == 0, sex == 1]).astype(np.uint8)
    return Records(layout, torch.from_numpy(bits), torch.empty((rows, 0)))


def blocked_loop(left: np.ndarray, right: np.ndarray, block: int = 2000) -> np.ndarray:
    """Squared distance from every row of ``left`` to its nearest row of ``right``, the plain way."""
    right_norm = (right**2).sum(1)
    best = [
        ((part**2).sum(1)[:, None] + right_norm - 2 * part @ right.T).min(1)
        for part in (left[start : start + block] for start in range(0, len(left), block))
    ]
    return np.concatenate(best)


def timed(evaluator: Evaluator, real: RealData, synthetic: Records) -> float:
    """Seconds of fitting and scoring."""
    start = perf_counter()
    evaluator.fit(real, 0)(synthetic, 0)
    return perf_counter() - start


def main() -> None:
    """Print seconds, their sum against the loop, and the peak of the process's memory."""
    codes = tuple(Column(f"c{i}", "binary", domain="diagnosis") for i in range(COLUMNS - 2))
    sex = Column("sex", "categorical", levels=("F", "M"), role="sensitive", domain="demographics")
    schema = Schema((*codes, sex))
    layout = Layout.of(schema)
    train, holdout, synthetic = (
        simulate(layout, rows, name) for rows, name in ((ROWS, "train"), (HOLDOUT, "holdout"), (ROWS, "synthetic"))
    )
    real = RealData(schema, train, holdout)
    seconds = {
        type(e).__name__: timed(e, real, synthetic)
        for e in (AttributeInference(), PublishedAttributeInference(), Membership())
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = perf_counter()
    blocked_loop(train.dense().numpy(), synthetic.dense().numpy())
    loop = perf_counter() - start
    print(
        f"attacks on {ROWS:,} x {ROWS:,} x {layout.width}, {platform.machine()}, {os.cpu_count()} cores,"
        f" {torch.get_num_threads()} threads"
    )
    for name, value in seconds.items():
        print(f"  {name:<28} {value:7.1f} s")
    total = sum(seconds.values())
    print(f"  together {total:.1f} s, {total / loop:.1f} times one plain pass over the distances; peak {peak:.2f} GB")


if __name__ == "__main__":
    main()
