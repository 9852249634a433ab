"""Run the full suite at growing sizes, each in a process of its own, and draw seconds and memory against rows.

    python experiments/evaluation-scaling/run.py --rows 7908 15815 31631 63261 126522 --columns 1460

H has three sevenths of the rows of R, S as many as R; the tables are those of
``scripts/bench_evaluation.py``. A size whose
result is already there is not run again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
BENCH = HERE.parents[1] / "scripts" / "bench_evaluation.py"
KINDS = {  # what the first of them to run computes serves the others, so they are added up
    "moments": (
        "Correlation",
        "Prevalence",
        "DimensionWiseDistance",
        "ColumnDistributions",
        "Wasserstein",
        "ConceptAbundance",
    ),
    "distances": ("Membership", "AdversarialAccuracy", "NearCopies", "DensityAttack", "MembershipGap"),
}


def measured(rows: int, columns: int) -> dict[str, object]:
    """Return the result at one size, run if it is not there."""
    path = HERE / f"{rows}x{columns}.json"
    if not path.is_file():
        sizes = ["--rows", rows, "--holdout", rows * 3 // 7, "--columns", columns, "--json", path]
        subprocess.run([sys.executable, str(BENCH), "--suite", "full", *map(str, sizes)], check=True)
    content: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return content


def main() -> None:
    """Print a table, the slopes over the last doublings, and save the figure."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, nargs="+", required=True)
    arguments.add_argument("--columns", type=int, default=1460)
    given = arguments.parse_args()
    results = [measured(rows, given.columns) for rows in given.rows]
    curves = {"all": [result["total"] for result in results]} | {
        kind: [sum(result["seconds"].get(name, 0) for name in names) for result in results]
        for kind, names in KINDS.items()
    }
    print("rows of R  " + "  ".join(f"{kind:>10}" for kind in curves) + "   peak GB")
    for i, (rows, result) in enumerate(zip(given.rows, results, strict=True)):
        print(
            f"{rows:9,}  "
            + "  ".join(f"{seconds[i]:8.1f} s" for seconds in curves.values())
            + f"   {result['peak_gb']:.2f}"
        )
    figure = Figure((6, 4), layout="constrained")
    axis = figure.subplots()
    for kind, seconds in curves.items():
        slope = np.polyfit(np.log(given.rows[-3:]), np.log(seconds[-3:]), 1)[0]
        axis.loglog(given.rows, seconds, "o-", label=f"{kind}: grows as rows^{slope:.2f}")
        print(f"{kind}: grows as rows^{slope:.2f} over the last three sizes")
    axis.set(
        xlabel="rows of R (S as many, H three sevenths)",
        ylabel="seconds",
        title=f"Full suite, {given.columns:,} columns",
    )
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(HERE / "curve.png", dpi=110)


if __name__ == "__main__":
    main()
