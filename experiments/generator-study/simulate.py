"""Write 66,457 simulated patients with 1,782 codes and a sex, 41,868 to train on: as wide as EHRDiff's MIMIC-III.

    python experiments/generator-study/simulate.py codes.parquet

Codes have prevalences like Zipf's law, patients are of 60 types which make some codes likelier, and have more or less
of everything; 9.8 codes a record. Nothing here is taken from patients.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROWS, CODES, TYPES, MEAN = 66_457, 1_782, 60, 11.7
BLOCK = 4096


def main(out: str) -> None:
    """Draw the table and write it."""
    rng = np.random.default_rng(0)
    base = 1 / (np.arange(CODES) + 10.0)
    base[rng.permutation(CODES)] = base.copy()
    likelier = rng.lognormal(0.0, 1.6, (TYPES, CODES))  # what a type makes of each code
    share = rng.dirichlet(np.full(TYPES, 1.0))
    rates = likelier * base
    rates *= MEAN / (share @ rates).sum()
    kind = rng.choice(TYPES, ROWS, p=share)
    burden = rng.gamma(1.5, 1 / 1.5, ROWS)
    codes = np.empty((ROWS, CODES), np.int8)
    for start in range(0, ROWS, BLOCK):
        rows = slice(start, start + BLOCK)
        chances = 1 - np.exp(-rates[kind[rows]] * burden[rows, None])
        codes[rows] = rng.random(chances.shape) < chances
    names = [f"dx_{place:04d}" for place in range(CODES)]
    table = pd.DataFrame(codes, columns=names)
    table.insert(0, "sex", np.where(kind % 2 == rng.integers(0, 4, ROWS) // 2, "F", "M"))
    table.insert(0, "subject_id", np.arange(ROWS))
    table.to_parquet(Path(out), index=False)
    print(f"{ROWS:,} x {CODES:,}, {codes.sum(1).mean():.2f} codes a record, rarest {codes.sum(0).min()} records")


if __name__ == "__main__":
    main(*sys.argv[1:])
