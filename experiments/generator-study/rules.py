"""What keeping the declared rules costs: a penalty in the loss of weight 0, 1, 10, rejection, and repair.

    OMP_NUM_THREADS=1 python experiments/generator-study/rules.py MATRIX OUT [--models vae ...] [--experiment NAME]

Each of the models that are there trains at the budget of the experiment, once for each weight if its loss takes a
penalty; rejection and repair come from a training without one. What falls is the share of records that break a rule, as
they are drawn and as they are handed over; beside it stand fidelity and utility. OUT gets the runs, ``rules.csv`` and
``rules.png``. Runs that finished before are not made again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ehrsynth.data.matrix import Matrix
from ehrsynth.study.build import located
from ehrsynth.study.conf import load, names
from ehrsynth.study.train import train

MODELS = ("emr_wgan", "vae", "masked_diffusion", "chow_liu")  # a GAN, the VAE, masked diffusion, the tree
SETTINGS: dict[str, dict[str, Any]] = {
    "weight 0": {},
    "weight 1": {"weight": 1},
    "weight 10": {"weight": 10},
    "reject": {"policy": "reject"},
    "repair": {"policy": "repair"},
}
METRICS = {
    "validity/constraint_violation": "broken as handed over",
    "fidelity/dimension_wise_distance": "dimension-wise distance",
    "fidelity/correlation_rmse": "error of correlations",
    "utility/tstr_auroc": "AUROC, trained on synthetic",
}


def main() -> None:
    """Train what is not there yet, write the table and draw it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("matrix", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--models", nargs="+", default=[name for name in MODELS if name in names("model")])
    arguments.add_argument("--experiment", default="equal_budget")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--max-epochs", type=int)
    asked = arguments.parse_args()
    if not Matrix.open(asked.matrix).constraints:
        raise SystemExit(
            f"{asked.matrix}: no rules are declared; prepare it with constraints=propose or a file of them"
        )
    rows = [
        measured(asked, model, setting, constraints)
        for model in asked.models
        for setting, constraints in SETTINGS.items()
        if "weight" not in constraints or located(load("model", model)["_target_"], "model").penalises_rules
    ]
    table = pd.DataFrame(rows)
    table.to_csv(asked.out / "rules.csv", index=False)
    print(table.to_string(index=False, float_format="{:.4f}".format))
    drawn(table, asked.out / "rules.png", asked.models)


def measured(asked: argparse.Namespace, model: str, setting: str, constraints: dict[str, Any]) -> dict[str, Any]:
    """Return one line of the table, of a run that is trained or there already."""
    run = train(
        asked.matrix,
        model,
        constraints=constraints,
        experiment=asked.experiment,
        max_epochs=asked.max_epochs,
        seed=asked.seed,
        logger="disabled",
        study="rules",
        runs=asked.out / "runs",
    )
    said = run.provenance["constraints"]
    values = run.frame["value"]
    return {
        "model": model,
        "setting": setting,
        "broken as drawn": said["share_broken"],
        "cells changed": said["share_of_cells_changed"],
        **{words: values.get(metric) for metric, words in METRICS.items()},
        "run": run.path.name,
    }


def drawn(table: pd.DataFrame, file: Path, models: Sequence[str]) -> None:
    """Draw one panel for each number, one line for each model, over the settings."""
    numbers = ["broken as drawn", *METRICS.values()]
    figure = Figure(figsize=(3.2 * len(numbers), 3.2), layout="constrained")
    settings = list(SETTINGS)
    for axes, number in zip(figure.subplots(1, len(numbers)), numbers, strict=True):
        for model in models:
            mine = table[table["model"] == model].set_index("setting")[number]
            places = [settings.index(setting) for setting in mine.index]
            axes.plot(places, mine.to_numpy(float), marker="o", label=model)
        axes.set_xticks(range(len(settings)), settings, rotation=45, ha="right")
        axes.set_title(number, fontsize=9)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
