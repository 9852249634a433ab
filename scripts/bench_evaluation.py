"""What evaluation costs: seconds of every evaluator of a suite, and the peak of memory, at any size.

    python scripts/bench_evaluation.py --suite full                       # simulated, the size of diabetes130
    python scripts/bench_evaluation.py --suite full --matrix FOLDER       # a prepared matrix, train and validation as R
    python scripts/bench_evaluation.py --rows 126522 --holdout 54224 --columns 1460     # the size of MIMIC-IV

S has the rows of R with each code taken from one of two neighbouring records, so that it is neither a copy nor noise. A
plain blocked loop over the distances from S to R (numpy, float32) runs beside the suite, so that the ratio means
something on any machine.
"""

import argparse
import json
import os
import platform
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from benching import resident
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from ehrsynth.bits import unpack
from ehrsynth.data.matrix import Matrix
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.suite import Suite
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Column, Schema
from ehrsynth.seeding import numpy_rng

CONF = Path(__file__).resolve().parents[1] / "conf"
RACES = tuple("ABCDEF")
TYPES = 60  # kinds of patients, each with its own frequent codes


def simulated_schema(columns: int) -> Schema:
    """Codes, race in six levels, sex, an outcome, age and three measurements: ``columns`` encoded columns in all."""
    codes = tuple(Column(f"c{i}", "binary", domain="diagnosis") for i in range(columns - 12))
    return Schema(
        (
            *codes,
            Column("died", "binary", role="outcome", domain="outcome"),
            Column("sex", "binary", domain="demographics", role="sensitive"),
            Column("race", "categorical", levels=RACES, domain="demographics", role="sensitive"),
            Column("age", "count", bounds=(18.0, 100.0), domain="demographics"),
            *(
                Column(name, "continuous", bounds=(0.0, 1.0), domain="vital")
                for name in ("bmi", "systolic", "diastolic")
            ),
        )
    )


def simulate(schema: Schema, rows: int, name: str) -> Records:
    """Draw records of latent types with a burden of their own: about 12 codes each, with a Zipf-like prevalence."""
    layout, rng, law = Layout.of(schema), numpy_rng(0, "bench", name), numpy_rng(0, "bench", "law")
    codes = sum(column.is_code for column in schema.columns)
    prevalence = 1 / (5 + np.arange(codes)) ** 0.95
    prevalence *= 12 / prevalence.sum()
    tilt = np.exp(law.normal(0, 1, (TYPES, codes)) - 0.5)
    bits = np.zeros((rows, layout.binary.stop), np.uint8)
    kind, burden = rng.integers(0, TYPES, rows), rng.gamma(2.0, 0.5, rows)
    for start in range(0, rows, 8192):  # the probabilities are eight bytes a cell
        part = slice(start, start + 8192)
        chance = np.clip(prevalence * tilt[kind[part]] * burden[part, None], 0, 0.95)
        bits[part, :codes] = rng.random(chance.shape) < chance
    age = np.clip(rng.normal(50 + 8 * burden, 15), 18, 100).round()
    bits[:, codes] = rng.random(rows) < 1 / (1 + np.exp(6 - 0.04 * age - 0.6 * burden))
    bits[:, codes + 1] = rng.random(rows) < 0.5
    bits[np.arange(rows), codes + 2 + rng.choice(len(RACES), rows, p=[0.6, 0.15, 0.1, 0.08, 0.05, 0.02])] = 1
    values = np.column_stack([(age - 18) / 82, rng.beta(3, 5, (rows, 3))]).astype(np.float32)
    return Records(layout, torch.from_numpy(bits), torch.from_numpy(values))


def opened(folder: Path) -> RealData:
    """Take train and validation of a matrix as R, and its holdout as H."""
    matrix = Matrix.open(folder)
    train = Records.joined([matrix.records("train"), matrix.records("validation")])
    return RealData(matrix.schema, train, matrix.records("holdout"), matrix.constraints)


def crossed(records: Records) -> Records:
    """Take each independent column of a record from it or from the next one, at random."""
    rng, last = numpy_rng(0, "bench", "crossed"), records.layout.bits.stop
    known = unpack(records.bits).numpy()
    bits = known.copy()
    for start in range(0, len(records), 8192):
        rows = np.arange(start, min(start + 8192, len(records)))
        taken = rng.random((len(rows), last)) < 0.3
        bits[rows, :last] = np.where(taken, known[(rows + 1) % len(records), :last], bits[rows, :last])
    return Records(records.layout, torch.from_numpy(bits), records.values.roll(-1, 0))


def blocked_loop(left: Records, right: Records, block: int = 2000) -> float:
    """Seconds of the squared distance from every record on the left to its nearest on the right, the plain way.

    Timed on the first two blocks, and scaled up.
    """
    timed = min(2 * block, len(left))
    table = right.dense().nan_to_num(0.5).numpy()
    norm = (table**2).sum(1)
    start = perf_counter()
    for first in range(0, timed, block):
        part = left.dense(slice(first, min(first + block, timed))).nan_to_num(0.5).numpy()
        ((part**2).sum(1)[:, None] + norm - 2 * part @ table.T).min(1)
    return (perf_counter() - start) * len(left) / timed


def main() -> None:
    """Time a suite on one synthetic table; print and, if asked, write the numbers."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--suite", default="full")
    arguments.add_argument("--only", nargs="*", help="evaluators of the suite to run; by default all")
    arguments.add_argument("--matrix", type=Path)
    arguments.add_argument("--rows", type=int, default=50_063)
    arguments.add_argument("--holdout", type=int, default=21_455)
    arguments.add_argument("--columns", type=int, default=474)
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    if given.matrix:
        real = opened(given.matrix)
    else:
        schema = simulated_schema(given.columns)
        real = RealData(schema, simulate(schema, given.rows, "train"), simulate(schema, given.holdout, "holdout"))
    synthetic = crossed(real.train)
    with initialize_config_dir(str(CONF), version_base=None):
        suite: Suite = instantiate(compose("evaluate", [f"suite={given.suite}"]).suite)
    seconds, start = {}, perf_counter()
    for evaluator in suite.evaluators:
        if given.only and type(evaluator).__name__ not in given.only:
            continue
        begun = perf_counter()
        scores = Suite(evaluators=[evaluator]).fit(real, 0).score(synthetic)
        seconds[_name(evaluator)] = perf_counter() - begun
        for score in scores:
            if score.status != "ok":
                print(f"  {score.metric}: {score.status}, {score.reason}")
    total = perf_counter() - start
    peak = resident()
    loop = blocked_loop(synthetic, real.train)
    rows = f"{len(real.train):,} / {len(real.holdout):,} / {len(synthetic):,} x {real.layout.width:,}"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    print(f"{given.suite} suite on {rows} (R / H / S x columns), {machine}")
    for name, value in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"  {name:<32} {value:7.1f} s")
    print(
        f"  together {total:.1f} s, fitting included; {total / loop:.1f} plain passes over the distances; {peak:.2f} GB"
    )
    if given.json:
        result = {"train": len(real.train), "holdout": len(real.holdout), "columns": real.layout.width}
        result |= {"suite": given.suite, "seconds": seconds, "total": total, "loop": loop, "peak_gb": peak}
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _name(evaluator: object) -> str:
    options = [f"{value}" for key, value in vars(evaluator).items() if key == "k"]
    return type(evaluator).__name__ + "".join(f" k={value}" for value in options)


if __name__ == "__main__":
    main()
