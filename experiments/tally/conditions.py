"""Ask models for patients, and hold what comes against what is true of such patients in the simulated hospital.

    python experiments/tally/conditions.py RUNS [--into experiments/tally/README.md]

RUNS is the folder of a study on the hard case (``source=demo_hard``), one run a model. For each question (``ASKED``) a
model draws ``DRAWN`` records under the condition; the means of ``OF`` among them are held against true means of the
same hospital (``hard_case.conditional_means``). An error is told in true deviations of the column, and whether the
95 % interval of the difference holds zero, both samplings counted. *training rows* are those who meet the condition,
which is all that is known of them without a model; *free* are true means of everybody: who ignores the condition.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ehrsynth.data import hard_case
from ehrsynth.data.matrix import Matrix
from ehrsynth.study.generate import generate
from ehrsynth.study.rank import find_runs
from ehrsynth.study.run_folder import RunFolder

sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
from table import line, put_into

DRAWN = 4_000
TRUE_ROWS = 20_000
OF = (
    "age",
    "systolic",
    "heart_rate",
    "temperature",
    "saturation",
    "albumin",
    "ph",
    "creatinine",
    "sodium",
    "coma_score",
    "physiology_score",
    "died",
    "readmitted",
)
ASKED: tuple[hard_case.Given, ...] = (
    {"sex": "F"},
    {"died": 1},
    {"age": (60.0, 80.0)},
    {"diagnosis": "liver failure"},
    {"diagnosis": "sepsis", "sex": "M"},
    {"albumin": (1.0, 2.5)},
    {"creatinine": (3.0, 9.0), "diabetes": 1},
    {"died": 1, "age": (20.0, 50.0)},
)


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", type=Path)
    arguments.add_argument("--into", type=Path)
    asked = arguments.parse_args()
    every = find_runs(f"{asked.runs}/*/*")
    runs = {run.provenance["model"]: run for run in every if run.provenance["seed"] == 0}
    train = Matrix.open(Path(next(iter(runs.values())).provenance["matrix"]["folder"]), parts=("train",)).train
    free = hard_case.conditional_means(OF, {}, rows=TRUE_ROWS, seed=1)
    spread = train[list(OF)].astype(float).std()
    names = [*runs, "tally, exact=true", "training rows", "free"]
    lines = [line("asked for", ["rows like it", *names]), line("---", ["---"] * (len(names) + 1))]
    for given in ASKED:
        truth = hard_case.conditional_means(OF, given, rows=TRUE_ROWS, seed=1)
        like_it = train[meets(train, given)]
        found = {name: means(drawn(run, given)) for name, run in runs.items()}
        found["tally, exact=true"] = means(drawn(runs["tally"], given, exact=True))
        found |= {"training rows": means(like_it), "free": free}
        cells = [told(of, truth, spread) for of in found.values()]
        lines.append(line(words(given), [f"{len(like_it):,}", *cells]))
    text = "\n".join(lines) + "\n"
    if asked.into:
        put_into(asked.into, "conditions", text)
    print(text)


def drawn(run: RunFolder, given: hard_case.Given, exact: bool = False) -> pd.DataFrame:
    """Return records of a run that meet a condition."""
    table = generate(run, DRAWN, condition=dict(given), calibrate=False, exact=exact)
    assert isinstance(table, pd.DataFrame)
    return table


def meets(table: pd.DataFrame, given: hard_case.Given) -> pd.Series:
    """Return which rows meet a condition."""
    met = pd.Series(True, index=table.index)
    for name, wanted in given.items():
        met &= table[name].between(*wanted) if isinstance(wanted, tuple) else table[name] == wanted
    return met


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each column, and its standard error."""
    kept = table[list(OF)].astype(float)
    return pd.DataFrame({"mean": kept.mean(), "error": kept.sem()})


def told(found: pd.DataFrame, truth: pd.DataFrame, spread: Mapping[str, float]) -> str:
    """Return the mean error in deviations, and of how many columns the interval of the difference holds zero."""
    difference = (found["mean"] - truth["mean"]).abs()
    within = difference <= 1.96 * np.hypot(found["error"], truth["error"])
    return f"{(difference / spread).mean():.3f} ({int(within.sum())} of {len(OF)})"


def words(given: hard_case.Given) -> str:
    """Return a condition as ``generate`` takes it."""
    return ", ".join(
        f"{name}=" + (f"[{wanted[0]:g},{wanted[1]:g}]" if isinstance(wanted, tuple) else str(wanted))
        for name, wanted in given.items()
    )


if __name__ == "__main__":
    main()
