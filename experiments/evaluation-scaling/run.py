"""Run the full suite at growing sizes, each in a process of its own, and draw seconds and memory against rows.

    python experiments/evaluation-scaling/run.py --rows 7908 15815 31631 63261 126522 --columns 1460

H has three sevenths of the rows of R, S as many as R; the tables are those of ``scripts/bench_evaluation.py``. What
rests on moments and what rests on distances is run once more alone, because in the full suite evaluators share their
work and it counts for the first that asks. Results are kept in ``results.json``; what is there is not run again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
BENCH = HERE.parents[1] / "scripts" / "bench_evaluation.py"
RESULTS = HERE / "results.json"
KINDS = {
    "full suite": (),
    "moments": ("Correlation", "Prevalence", "DimensionWiseDistance", "ColumnDistributions", "ConceptAbundance"),
    "distances": ("Membership", "AdversarialAccuracy", "NearCopies", "DensityAttack"),
}


def measured(kind: str, rows: int, columns: int) -> dict[str, float]:
    """Return seconds, one plain pass over the distances and peak memory at one size; run it if it is not known."""
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    key = f"{kind}, {rows} x {columns}"
    if key not in known:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "result.json"
            sizes = ["--rows", rows, "--holdout", rows * 3 // 7, "--columns", columns, "--json", path]
            only = ["--only", *KINDS[kind]] if KINDS[kind] else []
            subprocess.run([sys.executable, str(BENCH), *map(str, sizes), *only], check=True)
            known[key] = json.loads(path.read_text(encoding="utf-8"))
        RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    found: dict[str, float] = known[key]
    return found


def main() -> None:
    """Print a table, the slopes over the last doublings, and save the figure."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, nargs="+", required=True)
    arguments.add_argument("--columns", type=int, default=1460)
    given = arguments.parse_args()
    results = {kind: [measured(kind, rows, given.columns) for rows in given.rows] for kind in KINDS}
    figure = Figure((6, 4), layout="constrained")
    axis = figure.subplots()
    for kind, found in results.items():
        seconds = [result["total"] for result in found]
        slope = np.polyfit(np.log(given.rows[-3:]), np.log(seconds[-3:]), 1)[0]
        axis.loglog(given.rows, seconds, "o-", label=f"{kind}: grows as rows^{slope:.2f}")
        print(f"{kind}: grows as rows^{slope:.2f} over the last three sizes")
        for rows, result in zip(given.rows, found, strict=True):
            passes = result["total"] / result["loop"]
            print(f"  {rows:9,}  {result['total']:7.1f} s  {passes:5.2f} plain passes  {result['peak_gb']:.2f} GB")
    axis.set(xlabel="rows of R (S as many, H three sevenths)", ylabel="seconds", title=f"{given.columns:,} columns")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(HERE / "curve.png", dpi=110)


if __name__ == "__main__":
    main()
