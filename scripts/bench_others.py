"""The same attacks by Anonymeter and by us on the same tables, side by side; Anonymeter in an environment of its own.

    python scripts/bench_others.py                      # makes .venv-anonymeter with pip where it is missing
    python scripts/bench_others.py --rows 5000 --attacks 50

Of the tools whose attacks take hours on these tables it is the one that installs from PyPI. It cannot live beside us
(its numpy is older), and its time grows with the number of attacks, so 200 attacks are enough to see the ratio.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parents[1]
SECRET = "died"
NAMES = ("train", "holdout", "synthetic")


def anonymeter(folder: Path, attacks: int) -> None:
    """Print the seconds of Anonymeter's attacks as JSON; runs in its own environment."""
    import warnings

    import pandas as pd
    from anonymeter.evaluators import InferenceEvaluator, LinkabilityEvaluator

    warnings.simplefilter("ignore")
    train, holdout, synthetic = (pd.read_parquet(folder / f"{name}.parquet") for name in NAMES)
    columns = list(train)
    common = {"ori": train, "syn": synthetic, "control": holdout, "n_attacks": attacks}
    others = [name for name in columns if name != SECRET]
    few = {"ori": train[:100], "syn": synthetic[:100], "control": holdout[:100], "n_attacks": 2}
    InferenceEvaluator(**few, aux_cols=others, secret=SECRET).evaluate()  # compiles what is compiled once
    seconds = {}
    for name, attack in {
        "inference": InferenceEvaluator(**common, aux_cols=others, secret=SECRET),
        "linkability": LinkabilityEvaluator(**common, aux_cols=(columns[::2], columns[1::2])),
    }.items():
        start = perf_counter()
        attack.evaluate()
        seconds[name] = perf_counter() - start
    print(json.dumps(seconds))


def ours(folder: Path, rows: int, holdout: int, columns: int, attacks: int) -> dict[str, dict[int, float]]:
    """Write the tables and return our seconds for as many attacks, and for 2,000."""
    from bench_evaluation import crossed, simulate, simulated_schema

    from ehrsynth.data.encoding import Encoder
    from ehrsynth.evaluation.evaluator import RealData
    from ehrsynth.evaluation.privacy.inference import Inference
    from ehrsynth.evaluation.privacy.linkability import Linkability

    schema = simulated_schema(columns)
    real = RealData(schema, simulate(schema, rows, "train"), simulate(schema, holdout, "holdout"))
    synthetic = crossed(real.train)
    for name, table in zip(NAMES, (real.train, real.holdout, synthetic), strict=True):
        Encoder(schema).decode(table).to_parquet(folder / f"{name}.parquet", index=False)
    sides = (schema.names[::2], schema.names[1::2])
    Linkability(attacks=2, known=sides).fit(real, 0)(synthetic, 0)  # compiles what is compiled once
    seconds: dict[str, dict[int, float]] = {"inference": {}, "linkability": {}}
    for number in (attacks, 2000):
        for name, attack in {
            "inference": Inference(attacks=number, secrets=[SECRET]),
            "linkability": Linkability(attacks=number, known=sides),
        }.items():
            start = perf_counter()
            attack.fit(real, 0)(synthetic, 0)
            seconds[name][number] = perf_counter() - start
    return seconds


def environment() -> Path:
    """Return the Python of Anonymeter's environment, made if it is not there."""
    folder = ROOT / ".venv-anonymeter"
    python = folder / "bin" / "python"
    if not python.is_file():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "anonymeter", "pyarrow"], check=True)
    return python


def main() -> None:
    """Print both and their ratio."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=50_063)
    arguments.add_argument("--holdout", type=int, default=21_455)
    arguments.add_argument("--columns", type=int, default=474)
    arguments.add_argument("--attacks", type=int, default=200)
    arguments.add_argument("--theirs", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.theirs:
        anonymeter(given.theirs, given.attacks)
        return
    with tempfile.TemporaryDirectory() as folder:
        mine = ours(Path(folder), given.rows, given.holdout, given.columns, given.attacks)
        command = [environment(), __file__, "--theirs", folder, "--attacks", str(given.attacks)]
        output = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout
    theirs = json.loads(output.splitlines()[-1])
    size = f"{given.rows:,} / {given.holdout:,} / {given.rows:,} x {given.columns}"
    print(f"{given.attacks} attacks on {size} (R / H / S x columns), {platform.machine()}, {os.cpu_count()} cores")
    for name, seconds in theirs.items():
        few, many = mine[name][given.attacks], mine[name][2000]
        print(f"  {name:<12} Anonymeter {seconds:7.1f} s   ehrsynth {few:5.1f} s   ratio {seconds / few:6.1f}", end="")
        print(f"   (ehrsynth, 2,000 attacks: {many:.1f} s)")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
