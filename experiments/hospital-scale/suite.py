"""The quick suite on 200,000 real and 200,000 synthetic records x 2,004 columns: seconds, peak memory, scores.

python experiments/hospital-scale/suite.py [--bytes]
"""

import argparse
import hashlib
import resource
from time import perf_counter

import numpy as np
import torch

from ehrsynth.bits import unpack
from ehrsynth.evaluation.anchors import independent
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Column, Schema
from ehrsynth.study.evaluate import load_suite

CODES = 2000
BLOCK = 10_000
SCHEMA = Schema(
    (
        *(Column(f"c{i}", "binary", domain="diagnosis") for i in range(CODES)),
        Column("died", "binary", role="outcome", domain="outcome"),
        Column("sex", "categorical", ("F", "M"), domain="demographics"),
        Column("age", "continuous", bounds=(0.0, 1.0), domain="demographics"),
    )
)
SHARES = np.minimum(0.3, 0.5 / np.arange(1, CODES + 2) ** 0.8)


def made(n: int, seed: int, packed: bool) -> Records:
    """Return ``n`` records whose codes rise together with a hidden burden."""
    rng, parts = np.random.default_rng(seed), []
    for _ in range(0, n, BLOCK):
        drawn = rng.random((BLOCK, CODES + 1), dtype=np.float32)
        codes = (drawn < SHARES * rng.gamma(2, 0.5, (BLOCK, 1)).astype(np.float32)).astype(np.uint8)
        female = (rng.random((BLOCK, 1)) < 0.5).astype(np.uint8)
        bits = torch.from_numpy(np.hstack([codes, female, 1 - female]))
        values = torch.from_numpy(rng.random((BLOCK, 1), dtype=np.float32))
        parts.append(Records(Layout.of(SCHEMA), bits, values).packed())
    table = Records.joined(parts)
    return table if packed else Records(table.layout, unpack(table.bits), table.values)


def told(what: str, start: float) -> None:
    """Print what has been done, the seconds it took and the most memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"{what}: {perf_counter() - start:.1f} s, {peak:.2f} GB", flush=True)


def main() -> None:
    """Score once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", action="store_true", help="hold a byte a code instead of a bit")
    packed = not parser.parse_args().bytes
    start = perf_counter()
    train, holdout, synthetic = (made(n, seed, packed) for seed, n in enumerate((140_000, 60_000, 200_000)))
    told("tables", start)
    start = perf_counter()
    scores = load_suite("quick").fit(RealData(SCHEMA, train, holdout), 0).score(synthetic)
    told("quick suite", start)
    found = repr([(score.metric, score.value, score.ci) for score in scores])
    print(f"scores {hashlib.sha256(found.encode()).hexdigest()[:12]}")
    start = perf_counter()
    independent(train, 0)
    told("independent columns", start)


if __name__ == "__main__":
    main()
