"""What keeping the declared rules costs: a penalty in the loss of weight 0, 1, 10, rejection, and repair.

    OMP_NUM_THREADS=1 python experiments/generator-study/rules.py MATRIX OUT [--models vae ...]

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
from table import line, put_into

from ehrsynth.data.matrix import Matrix
from ehrsynth.study.build import located
from ehrsynth.study.conf import load, names
from ehrsynth.study.train import train

MODELS = ("emr_wgan_tuned", "vae", "masked_diffusion", "chow_liu")  # a GAN, the VAE, masked diffusion, the tree
SETTINGS: dict[str, dict[str, Any]] = {
    "weight 0": {},
    "weight 1": {"weight": 1},
    "weight 10": {"weight": 10},
    "reject": {"policy": "reject"},
    "repair": {"policy": "repair"},
}
EVALUATION = "ehrsynth.evaluation"
SUITE = {  # what the table shows, and nothing else
    "_target_": f"{EVALUATION}.suite.Suite",
    "_convert_": "all",
    "evaluators": [
        {"_target_": f"{EVALUATION}.fidelity.dimension_wise_distance.DimensionWiseDistance"},
        {"_target_": f"{EVALUATION}.fidelity.correlation.Correlation"},
        {
            "_target_": f"{EVALUATION}.utility.prediction.OutcomePrediction",
            "rounds": 300,
            "learning_rate": 0.05,
            "explained_rows": 0,
            "ratios": None,
        },
        {"_target_": f"{EVALUATION}.validity.constraints.ConstraintViolation"},
    ],
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
    arguments.add_argument("--max-epochs", type=int, help="for a trial")
    arguments.add_argument(
        "--into", type=Path, help="a file in markdown that gets the table between <!-- rules --> marks"
    )
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
    drawn(table, asked.out / "rules.png", asked.models)
    text = markdown(table)
    if asked.into:
        put_into(asked.into, "rules", text)
    print(text)


def measured(asked: argparse.Namespace, model: str, setting: str, constraints: dict[str, Any]) -> dict[str, Any]:
    """Return one line of the table, of a run that is trained or there already."""
    run = train(
        asked.matrix,
        model,
        constraints=constraints,
        experiment=asked.experiment,
        max_epochs=asked.max_epochs,
        seed=asked.seed,
        suite=SUITE,
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


def markdown(table: pd.DataFrame) -> str:
    """Return the table for people."""
    numbers = [name for name in table if name not in ("model", "setting", "run")]
    lines = [line("model", ["setting", *map(str, numbers)]), line("---", ["---"] * (len(numbers) + 1))]
    for row in table.to_dict("records"):
        cells = ["" if pd.isna(row[name]) else f"{row[name]:.4f}" for name in numbers]
        lines.append(line(str(row["model"]), [str(row["setting"]), *cells]))
    return "\n".join(lines) + "\n"


def drawn(table: pd.DataFrame, file: Path, models: Sequence[str]) -> None:
    """Draw one panel for each number over the settings, a dot a model; the weights of a penalty are joined."""
    numbers = ["broken as drawn", *METRICS.values()]
    figure = Figure(figsize=(2.9 * len(numbers), 3.4), layout="constrained")
    settings, weights = list(SETTINGS), [name for name, how in SETTINGS.items() if "policy" not in how]
    all_axes = figure.subplots(1, len(numbers))
    for axes, number in zip(all_axes, numbers, strict=True):
        for place, model in enumerate(models):
            mine = table[table["model"] == model].set_index("setting")[number]
            axes.plot([settings.index(name) for name in mine.index], mine, "o", color=f"C{place}", label=model)
            joined = mine[[name for name in mine.index if name in weights]]
            axes.plot([settings.index(name) for name in joined.index], joined, color=f"C{place}")
        axes.set_xticks(range(len(settings)), settings, rotation=45, ha="right")
        axes.set_xlim(-0.5, len(settings) - 0.5)
        axes.set_title(number, fontsize=9)
        axes.grid(alpha=0.3)
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(models), fontsize=8)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
