"""Score simulated tables of zeros and ones with the quick suite, and print seconds and peak memory of each size.

    python experiments/wide-tables/run.py 200x1000 200x2000 200x3000 200x10000 50063x474

R and S have the rows given, H a quarter of them (200 at least). Tables of up to 1,000 rows are written as CSV, each
cell 1 with a chance of 5 %; larger ones as Parquet, drawn from 60 latent types of patients.
"""

import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import pandas as pd

CSV_ROWS = 1000
MAIN = "from ehrsynth.cli.main import main; main()"


def write_tables(folder: Path, rows: int, columns: int) -> list[str]:
    """Write R, H and S, and return them as options of ``evaluate``."""
    rng = np.random.default_rng(0)
    types = np.full((1, columns), 0.05) if rows <= CSV_ROWS else rng.beta(0.3, 10, (60, columns))
    options = []
    for role, n in (("train", rows), ("holdout", max(rows // 4, 200)), ("synthetic", rows)):
        bits = rng.random((n, columns)) < types[rng.integers(len(types), size=n)]
        frame = pd.DataFrame(bits.astype(np.int8), columns=[f"c{i}" for i in range(columns)])
        path = folder / f"{role}.{'csv' if rows <= CSV_ROWS else 'parquet'}"
        frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
        options.append(f"{role}={path}")
    return options


def main() -> None:
    """Print a line per size; the peak is that of the largest process so far, so sizes go from small to large."""
    for size in sys.argv[1:]:
        rows, columns = map(int, size.split("x"))
        with TemporaryDirectory() as folder:
            options = [*write_tables(Path(folder), rows, columns), f"out={folder}/report", "suite=quick"]
            start = perf_counter()
            subprocess.run([sys.executable, "-c", MAIN, "evaluate", *options], check=True, stdout=subprocess.DEVNULL)
            seconds, used = perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            print(f"{rows:9,} x {columns:6,}  {seconds:6.1f} s  peak so far {used.ru_maxrss * 1024 / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
