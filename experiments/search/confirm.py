"""Train budget and winner of every search again, with seeds that no trial had.

    python experiments/search/confirm.py OUT

A winner may take longer for an epoch than the setting of the budget. So this one is trained twice: for its own epochs,
and for as many as take the winner's processor time, by the seconds of the two trials.
"""

import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd

from ehrsynth.study.conf import compose

SEEDS = "1,2,3"  # trials had 0


def main(out: Path) -> None:
    """Carry out three sweeps for each model."""
    for model, trials in pd.read_csv(out / "runs" / "search" / "search.csv").groupby("model"):
        finished = trials[trials["state"] == "finished"].sort_values(["score", "trial"], ascending=[False, True])
        first, best = finished[finished["trial"] == 0].iloc[0], finished.iloc[0]
        epochs = int(compose("train", {"model": str(model), "experiment": "demo"}, {})["trainer"]["max_epochs"])
        longer = max(1, round(epochs * best["seconds"] / first["seconds"]))
        print(f"{model}: trial {best['trial']}, {best['seconds']:.0f} s where the budget took {first['seconds']:.0f} s")
        for options in ([], [f"trainer.max_epochs={longer}"], shlex.split(best["options"])):
            train(out, f"model={model}", *options)


def train(out: Path, *options: str) -> None:
    """Carry out a sweep over the seeds."""
    paths = [
        f"paths.runs={out / 'runs'}",
        f"paths.matrices={out / 'matrices'}",
        "study=confirm",
        "logger.mode=disabled",
    ]
    command = [sys.executable, "-m", "ehrsynth.cli.train", "-m", f"seed={SEEDS}", "experiment=demo"]
    # A list is a value here, and not several: only the seeds are swept.
    subprocess.run([*command, *paths, *options], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
