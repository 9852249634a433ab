"""How fast every model learns and draws, what a condition costs, and whether a million rows stream in bounded memory.

    OMP_NUM_THREADS=1 python experiments/generator-study/speed.py RUNS OUT [--models vae ...] [--rows 1000000]
        [--seconds 1200] [--into README.md]

RUNS is a folder of finished runs, of which one for each model is taken. Each measurement has a process of its own, of
one thread: training rows a processor second (of the last phase, at the batch of the budget), sampled rows a processor
second, the seconds of 5,000 records with an outcome against 5,000 free ones for models that condition exactly, and a
table of ROWS streamed to a Parquet file by ``generate``. A model too slow for that in SECONDS streams as many as it
can. A tenth of the rows before shows how memory grows. Measurements that are there are kept.
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import pandas as pd
import torch
from budgets import BATCH, adding_up, timed
from table import line, put_into

from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.data.matrix import Matrix
from ehrsynth.models.gradient_free import GradientFree
from ehrsynth.sampling import sample_records
from ehrsynth.study.build import located
from ehrsynth.study.conf import load
from ehrsynth.study.generate import generate
from ehrsynth.study.loaded_run import loaded_run
from ehrsynth.study.rank import find_runs
from ehrsynth.study.watch import NOBODY

LEAST_SECONDS = 5.0  # of a draw that is timed
ASKED, REPEATS = 5000, 3  # records of a condition
MOST_RATIO, MOST_GB = 1.5, 2.0


def main() -> None:
    """Measure what is not there yet, and write the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs")
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--models", nargs="+")
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--seconds", type=float, default=1200)
    arguments.add_argument("--into", type=Path)
    asked = arguments.parse_args()
    (asked.out / "speed").mkdir(parents=True, exist_ok=True)
    finished = sorted(find_runs(f"{asked.runs}/*/*"), key=lambda run: -run.provenance["seed"])
    runs = {run.provenance["model"]: run.path for run in finished}
    rows = []
    for name in asked.models or sorted(runs):
        kept = asked.out / "speed" / f"{name}.json"
        if not kept.exists():
            found = alone(measured, runs[name])
            count = min(asked.rows, int(asked.seconds * found["drawn rows/s"]))
            for part, n in (("before", max(1, count // 10)), ("all", count)):
                found |= {f"{part}: {key}": value for key, value in alone(streamed, runs[name], n, asked.out).items()}
            kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(name, found, flush=True)
        rows.append({"model": name, **json.loads(kept.read_text(encoding="utf-8"))})
    table = pd.DataFrame(rows).set_index("model")
    table.to_csv(asked.out / "speed.csv")
    text = markdown(table)
    if asked.into:
        put_into(asked.into, "speed", text)
    print(text)


def alone(task: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Call in a process of its own, which has used no memory before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def measured(run: Path) -> dict[str, Any]:
    """Return rows a processor second in training and sampling, and what a condition costs."""
    torch.set_num_threads(1)
    loaded = loaded_run(run, "cpu", None, NOBODY)
    model, facts = loaded.model, loaded.folder.provenance
    found: dict[str, Any] = {"learned rows/s": learned(facts), "drawn rows/s": 0.0}
    n, spent = model.sample_batch, 0.0
    while True:
        start = process_time()
        sample_records(model, n, 0)
        if (spent := process_time() - start) >= LEAST_SECONDS:
            break
        n *= 2
    found["drawn rows/s"] = n / spent
    outcome = next((column.name for column in model.schema.outcomes if column.kind == "binary"), None)
    if model.conditioning == "exact" and outcome in model.conditionable:
        ratios = []
        for repeat in range(REPEATS):
            free, told = (drawn(model, repeat, asked) for asked in (None, {outcome: 1}))
            ratios.append(told / free)
        found |= {"condition": outcome, "ratio": median(ratios)}
    return found


def learned(facts: dict[str, Any]) -> float:
    """Return the training rows of a processor second: of a step, or of the look and the pass of what adds up."""
    node = load("model", facts["model"])
    whole = issubclass(located(node["_target_"]), GradientFree)
    data = EhrDataModule(
        matrix=Matrix.open(Path(facts["matrix"]["folder"])), batch_size=4096 if whole else BATCH, seed=0
    )
    data.setup()
    if whole:
        return len(data.filled) / adding_up(node, data)
    clock = timed(node, data)
    return BATCH / clock.batch(max(clock.seconds))


def drawn(model: Any, seed: int, condition: Any) -> float:
    """Return the seconds of a draw."""
    start = process_time()
    sample_records(model, ASKED, seed, condition=condition)
    return process_time() - start


def streamed(run: Path, n: int, out: Path) -> dict[str, Any]:
    """Generate a table to a file and return its rows, seconds, and the most memory that this process ever held."""
    torch.set_num_threads(1)
    file = out / f"speed-{run.name}.parquet"
    start = perf_counter()
    generate(run, n, out=file, device="cpu")
    seconds = perf_counter() - start
    for made in (file, file.with_name(f"speed-{run.name}.provenance.json")):
        made.unlink()
    # getrusage counts what the parent held at the fork too; this starts at the program.
    status = dict(text.split(":", 1) for text in Path("/proc/self/status").read_text().splitlines())
    return {"rows": n, "seconds": seconds, "GB": int(status["VmHWM"].split()[0]) * 1024 / 1e9}


def markdown(table: pd.DataFrame) -> str:
    """Return the table for people; what is beyond a limit is bold."""
    heads = ["learned rows/s", "drawn rows/s", "5,000 with the outcome : free", "streamed rows", "seconds", "peak GB"]
    lines = [line("model", [*heads, "peak GB of a tenth"]), line("---", ["---"] * (len(heads) + 1))]
    for name, row in table.iterrows():
        ratio, peak = row.get("ratio"), row["all: GB"]
        cells = [
            f"{row['learned rows/s']:,.0f}",
            f"{row['drawn rows/s']:,.0f}",
            "" if ratio is None or pd.isna(ratio) else _limited(ratio, MOST_RATIO),
            f"{row['all: rows']:,.0f}",
            f"{row['all: seconds']:,.0f}",
            _limited(peak, MOST_GB),
            f"{row['before: GB']:.2f}",
        ]
        lines.append(line(str(name), cells))
    return "\n".join(lines) + "\n"


def _limited(value: float, most: float) -> str:
    return f"{value:.2f}" if value <= most else f"**{value:.2f}**"


if __name__ == "__main__":
    main()
