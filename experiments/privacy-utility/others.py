"""Private generators of other tools beside ours: the same patients, columns, states, epsilon and delta.

    others.py tables MATRIX OUT [--widths 10 22 40 100 0]      tables of the first columns, 0 for all; with ehrsynth
    others.py fit OUT DRIVER METHOD ... [--python PYTHON]      each method on each width, until one does not cope
    others.py judge OUT                                        scores of all that was drawn, as a table; with ehrsynth

DRIVER is a script beside this one, such as others_dpmm.py, and PYTHON that of the environment which has its tool. It
is called with a method and a folder, reads ``states.csv`` and ``domain.json`` there and writes states, ``METHOD.csv``,
or, as others_ours.py does, a table, ``METHOD.parquet``. What is there is kept.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

EPSILON = 3.0
SECONDS, GB = 300, 6.0  # of a processor, and of memory, that a fit may take
SHOWN = {
    "fidelity/dimension_wise_distance": "distance of columns",
    "fidelity/correlation_distance": "distance of correlations",
    "fidelity/concept_abundance": "concept abundance",
    "utility/tstr_auroc": "TSTR AUROC",
    "privacy/membership_auc": "membership AUC",
}


def tables(matrix: Path, out: Path, widths: list[int]) -> None:
    """Write, for each width, what is no code and then the most frequent codes: tables, schema, states and domain.

    Numbers have the states of dp_tree, ranges of their bounds. Levels and bounds are those of the matrix, taken as
    public by everybody, and so is which codes are frequent.
    """
    from dataclasses import replace

    import pandas as pd

    from ehrsynth.schema import Schema

    schema = Schema.load(matrix / "schema.json")
    parts = {part: pd.read_parquet(matrix / f"{part}.parquet") for part in ("train", "holdout")}
    codes = [column.name for column in schema.columns if column.is_code]
    frequent = parts["train"][codes].mean().sort_values(ascending=False, kind="stable").index
    names = [*(column.name for column in schema.columns if not column.is_code), *frequent]
    for width in widths or [0]:
        kept = set(names[: width or None])
        folder = out / f"{len(kept):04}"
        folder.mkdir(parents=True, exist_ok=True)
        own = replace(schema, columns=tuple(column for column in schema.columns if column.name in kept))
        own.save(folder / "schema.json")
        for part, table in parts.items():
            table[own.names].to_parquet(folder / f"{part}.parquet")
        states, records = public_states(folder)
        found = pd.DataFrame(states.of(records).numpy(), columns=states.columns)
        found.to_csv(folder / "states.csv", index=False)
        sizes = dict(zip(states.columns, states.sizes, strict=True))
        domain = {"sizes": sizes, "epsilon": EPSILON, "delta": 1 / len(found)}
        (folder / "domain.json").write_text(json.dumps(domain), encoding="utf-8")


def public_states(folder):
    """Return the states of the columns by bounds alone, and the training records of a folder."""
    import pandas as pd

    from ehrsynth.data.encoding import Encoder, fill_missing
    from ehrsynth.models.dp_tree import DPTree
    from ehrsynth.schema import Schema
    from ehrsynth.seeding import torch_rng

    schema = Schema.load(folder / "schema.json")
    records = Encoder(schema).encode(pd.read_parquet(folder / "train.parquet"))
    return DPTree(schema=schema).states, fill_missing(records, records, torch_rng(0, "fill missing"))


def fit(out: Path, driver: str, methods: list[str], python: str) -> None:
    """Have a driver draw by each method, the narrowest table first; what fails on one is not tried on wider ones."""
    script = Path(__file__).parent / driver
    for method in methods:
        for folder in sorted(part for part in out.iterdir() if part.is_dir()):
            kept = folder / f"{method}.json"
            if not kept.exists():
                cost = limited([python, str(script), method, str(folder)], folder / f"{method}.log")
                kept.write_text(json.dumps(cost), encoding="utf-8")
            told = json.loads(kept.read_text(encoding="utf-8"))
            print(folder.name, method, told, flush=True)
            if told["failed"]:
                break


def limited(command: list[str], log: Path) -> dict[str, object]:
    """Run a command within the limits; return its seconds of a processor, peak GB, and how it failed, if it did."""
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5)),
            stdout=file,
            stderr=file,
        )
        peak, failed = 0.0, ""
        while (left := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            peak = max(peak, memory(process.pid))
            if peak > GB and not failed:
                failed = f"more than {GB:g} GB"
                process.kill()
            time.sleep(0.5)
    _, status, used = left
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL) and not failed:
        failed = f"more than {SECONDS} s"
    elif process.returncode and not failed:
        failed = (log.read_text(encoding="utf-8").strip().splitlines() or [f"status {process.returncode}"])[-1]
    return {"seconds": used.ru_utime + used.ru_stime, "GB": max(peak, used.ru_maxrss * 1024 / 1e9), "failed": failed}


def memory(pid: int) -> float:
    """Return the GB that a process holds now."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * resource.getpagesize() / 1e9


def judge(out: Path) -> None:
    """Score every table, with independent columns and fresh real patients as anchors, and print all, failures too."""
    print("| columns | | " + " | ".join(SHOWN.values()) + " | processor s | peak GB | failed |")
    print("|" + " --- |" * (len(SHOWN) + 5))
    for folder in sorted(part for part in out.iterdir() if part.is_dir()):
        found: dict[str, dict] = {}
        for told in sorted(set(folder.glob("*.json")) - {folder / "schema.json", folder / "domain.json"}):
            cost, cells = json.loads(told.read_text(encoding="utf-8")), [None] * len(SHOWN)
            if not cost["failed"]:
                found = scored(folder, told.stem)
                cells = [found[metric]["value"] for metric in SHOWN]
            print(row(folder, told.stem, [*cells, cost["seconds"], cost["GB"]], cost["failed"]), flush=True)
        for anchor in ("fresh_real", "independent") if found else ():
            cells = [found[metric]["anchors"].get(anchor) for metric in SHOWN]
            print(row(folder, f"*{anchor.replace('_', ' ')}*", [*cells, None, None]))


def scored(folder: Path, method: str) -> dict[str, dict]:
    """Return the scores by metric of what a method drew, kept beside it."""
    kept = folder / "scores" / f"{method}.json"
    if not kept.exists():
        table = folder / f"{method}.parquet"
        found = scores(folder, table if table.exists() else table.with_suffix(".csv"))
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(found), encoding="utf-8")
    return {score["metric"]: score for score in json.loads(kept.read_text(encoding="utf-8"))}


def scores(folder: Path, drawn: Path) -> list[dict]:
    """Return the scores of what was drawn, states or a table."""
    import pandas as pd
    import torch

    from ehrsynth import evaluate
    from ehrsynth.data.encoding import Encoder
    from ehrsynth.evaluation.fidelity.concept_abundance import ConceptAbundance
    from ehrsynth.evaluation.fidelity.correlation import Correlation
    from ehrsynth.evaluation.fidelity.dimension_wise_distance import DimensionWiseDistance
    from ehrsynth.evaluation.privacy.membership import Membership
    from ehrsynth.evaluation.suite import Suite
    from ehrsynth.evaluation.utility.prediction import OutcomePrediction
    from ehrsynth.layout import Records
    from ehrsynth.schema import Schema
    from ehrsynth.seeding import torch_rng

    schema = Schema.load(folder / "schema.json")
    if drawn.suffix == ".parquet":
        table = pd.read_parquet(drawn)
    else:
        states, _ = public_states(folder)
        cells = torch.from_numpy(pd.read_csv(drawn)[states.columns].to_numpy())
        rows = states.records(cells, torch_rng(0, "within ranges"), None)
        table = Encoder(schema).decode(Records.of_dense(states.layout, rows))
    asked = [DimensionWiseDistance(), Correlation(), ConceptAbundance(), Membership(theta=5)]
    suite = Suite(evaluators=[*asked, OutcomePrediction(rounds=100, learning_rate=0.1, ratios=None, explained_rows=0)])
    real = [pd.read_parquet(folder / f"{part}.parquet") for part in ("train", "holdout")]
    return evaluate(*real, table, suite=suite, schema=schema, cache=folder / "cache").to_dict()["scores"]


def row(folder: Path, name: str, cells: list[float | None], failed: str = "") -> str:
    """Return a row of the table."""
    texts = ["" if cell is None else f"{cell:.4g}" for cell in cells]
    return f"| {' | '.join([str(int(folder.name)), name, *texts, failed])} |"


def main() -> None:
    """Do what is asked."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = arguments.add_subparsers(dest="verb", required=True)
    made = verbs.add_parser("tables")
    made.add_argument("matrix", type=Path)
    made.add_argument("out", type=Path)
    made.add_argument("--widths", type=int, nargs="+", default=[10, 22, 40, 100, 0])
    fitted = verbs.add_parser("fit")
    fitted.add_argument("out", type=Path)
    fitted.add_argument("driver")
    fitted.add_argument("methods", nargs="+")
    fitted.add_argument("--python", default=sys.executable)
    verbs.add_parser("judge").add_argument("out", type=Path)
    asked = vars(arguments.parse_args())
    {"tables": tables, "fit": fit, "judge": judge}[asked.pop("verb")](**asked)


if __name__ == "__main__":
    main()
