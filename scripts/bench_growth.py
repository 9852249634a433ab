"""How evaluation, training and sampling grow with rows and columns: seconds, memory, fitted exponents, a figure.

    scripts/bench growth                                      # 10^4 to 10^6 rows, 500 to 5,000 columns: hours
    scripts/bench growth --what quick training --rows 10000 30000 --columns 500 1000

The tables are those of ``bench_evaluation.py``: R of so many rows, S as many, H three sevenths. Rows grow at the fewest
columns, columns at the fewest rows, each measurement in a process of its own. ``training`` is the seconds of an epoch
in batches of 512 (the first fifty batches, scaled up), ``sampling`` those of drawing as many records as R has. An
exponent is the slope of log seconds over log size, by the last three sizes. Evaluators that grow faster than the table
are named. Results are kept in ``growth.json``; what is there is not run again. The full suite, which compares all pairs
of records, ends at 300,000 rows.
"""

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from bench_evaluation import simulate, simulated_schema
from benching import BATCH, bare, exponent, in_child, kept_in, machine, maker, resident
from matplotlib.figure import Figure

from ehrsynth.data.datamodule import IndexBatches
from ehrsynth.sampling import sample_records

HERE = Path(__file__).resolve().parents[1] / "experiments" / "benchmarks"
EVALUATION = Path(__file__).with_name("bench_evaluation.py")
BATCHES = 50  # of an epoch that are timed
NOTABLE = 1.0  # seconds, below which growth is start-up
FASTER = 1.15  # an exponent that is more than the table's own
MOST_IN_FULL = 300_000  # rows


def modelled(what: str, model: str, rows: int, columns: int) -> dict[str, float]:
    """Return the seconds of an epoch, or of drawing as many records."""
    schema = simulated_schema(columns)
    train = simulate(schema, rows, "train").packed()
    made = maker(model)(schema=schema, seed=0)
    made.observe(train)
    served = IndexBatches(train, batch_size=BATCH, seed=0, epoch=lambda: 0, drop_last=True)
    batches = min(BATCHES, len(served))
    seconds = bare(made, train[: batches * BATCH].dense(), 1, batches).seconds * len(served) / batches
    if what == "training":  # what serving the batches takes belongs to it
        start = perf_counter()
        for _ in served:
            pass
        return {"total": seconds + perf_counter() - start, "peak_gb": resident()}
    start = perf_counter()
    sample_records(made, rows, seed=0)
    return {"total": perf_counter() - start, "peak_gb": resident()}


def measured(what: str, model: str, rows: int, columns: int) -> dict[str, Any]:
    """Measure one thing at one size, in a process of its own."""
    print(f"  {what}, {rows:,} x {columns:,} ...", flush=True)
    sizes = ["--rows", rows, "--columns", columns]
    if what in ("training", "sampling"):
        return in_child(__file__, "--one", what, "--model", model, *sizes)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        more = ["--suite", what, "--holdout", rows * 3 // 7, "--json", path]
        subprocess.run([sys.executable, EVALUATION, *map(str, [*sizes, *more])], check=True, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found


def main() -> None:
    """Measure what is not known yet, print the exponents, save the figure."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--what", nargs="+", default=["quick", "full", "training", "sampling"])
    arguments.add_argument("--rows", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000, 1_000_000])
    arguments.add_argument("--columns", type=int, nargs="+", default=[500, 1000, 2000, 5000])
    arguments.add_argument("--model", default="vae")
    arguments.add_argument("--out", type=Path, default=HERE, help="folder of growth.json and growth.png")
    arguments.add_argument("--one", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        print(json.dumps(modelled(given.one, given.model, given.rows[0], given.columns[0])))
        return
    if min(given.rows) < BATCH:
        sys.exit(f"--rows {min(given.rows)}: at least a batch of {BATCH} was expected")
    print(f"growth on {machine()}")
    rows, columns = sorted(given.rows), sorted(given.columns)
    axes = {"rows": [(n, columns[0]) for n in rows], "columns": [(rows[0], p) for p in columns]}
    figure = Figure((10, 4), layout="constrained")
    for (axis, sizes), plot in zip(axes.items(), figure.subplots(1, 2), strict=True):
        for what in given.what:
            asked = [size for size in sizes if what != "full" or size[0] <= MOST_IN_FULL]
            numbers = [size[axis == "columns"] for size in asked]
            name = f"{what} of {given.model}" if what in ("training", "sampling") else f"{what} suite"
            found = [
                kept_in(given.out / "growth.json", f"{name}, {n} x {p}", partial(measured, what, given.model, n, p))
                for n, p in asked
            ]
            plot.loglog(numbers, seconds := [one["total"] for one in found], "o-", label=name)
            if len(asked) > 1:
                grows = exponent(numbers, seconds)
                plot.get_lines()[-1].set_label(f"{name}: {axis}^{grows:.2f}")
                print(f"{name}: grows as {axis}^{grows:.2f}")
                for evaluator in found[-1].get("seconds", {}):
                    parts = [one["seconds"].get(evaluator, 0) for one in found]
                    if min(parts) > 0 and parts[-1] >= NOTABLE and (faster := exponent(numbers, parts)) > FASTER:
                        print(f"    {evaluator} grows as {axis}^{faster:.2f}, {parts[-1]:.1f} s in the end")
            for (n, p), one in zip(asked, found, strict=True):
                print(f"  {n:9,} x {p:5,}  {one['total']:8.1f} s  {one['peak_gb']:.2f} GB")
        fixed = f"{columns[0]:,} columns" if axis == "rows" else f"{rows[0]:,} rows"
        plot.set(xlabel=axis, ylabel="seconds", title=fixed)
        plot.set_xticks(ticks := [size[axis == "columns"] for size in sizes], [f"{tick:,}" for tick in ticks])
        plot.xaxis.minorticks_off()
        plot.grid(alpha=0.3)
        plot.legend(fontsize=8)
    figure.savefig(given.out / "growth.png", dpi=110)


if __name__ == "__main__":
    main()
