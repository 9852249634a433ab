"""Scores by epsilon, a line a model: ``curves.py RUNS OUT`` writes curves.csv, curves.png and tables into README.

What curves.csv has of runs that are elsewhere stays; without the file all is of the runs that are there.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import yaml

mpl.use("agg")
from matplotlib import pyplot as plt

sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
from table import line, put_into

DRAWN = {
    "fidelity/dimension_wise_distance": "distance of columns",
    "fidelity/correlation_distance": "distance of correlations",
    "utility/tstr_auroc": "TSTR AUROC",
    "privacy/membership_auc": "membership AUC",
}
METRICS = DRAWN | {
    "fidelity/concept_abundance": "concept abundance",
    "privacy/membership_density_auc": "membership by density",
    "privacy/membership_classifier_auc": "membership by classifier",
}
ANCHORS = ("fresh_real", "independent")
WITHOUT = {"chow_liu": "dp_tree", "mixture": "dp_mixture"}  # what is one model, with noise and without
NONE = 24.0  # where runs without privacy are drawn


def scores(runs: Path, metrics: Mapping[str, str] = METRICS) -> pd.DataFrame:
    """Return a row for each finished run and metric."""
    rows = []
    for report in sorted(runs.glob("*/*/*/report.json")):
        facts = json.loads((report.parent / "provenance.json").read_text(encoding="utf-8"))
        asked = yaml.safe_load((report.parent / "config.yaml").read_text(encoding="utf-8")).get("privacy")
        told = {score["metric"]: score for score in json.loads(report.read_text(encoding="utf-8"))["scores"]}
        table, model = report.parts[-4], report.parts[-3]
        for metric in metrics:
            if (score := told.get(metric)) and score["value"] is not None:
                anchors = {name: score["anchors"].get(name) for name in ANCHORS}
                rows.append(
                    {"table": table, "model": WITHOUT.get(model, model), "seed": facts["seed"]}
                    | {"epsilon": asked and asked["epsilon"]}
                    | {"metric": metric, "value": score["value"]}
                    | anchors
                )
    return pd.DataFrame(rows).astype(dict.fromkeys(ANCHORS, float) if rows else {})


def with_earlier(found: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Return scores and those that a CSV file has of other runs, whose folders may be gone, and write all into it."""
    found = found.astype({"epsilon": float})
    if file.is_file():
        run, earlier = ["table", "model", "seed", "epsilon"], pd.read_csv(file)
        known, here = (pd.MultiIndex.from_frame(table[run].fillna(NONE)) for table in (earlier, found))
        found = pd.concat([earlier[~known.isin(here)], found])
    found = found.sort_values(["table", "model", "seed", "epsilon"], kind="stable")
    found.to_csv(file, index=False)
    return found


def drawn(found: pd.DataFrame, file: Path, words: Mapping[str, str] = DRAWN) -> None:
    """Draw a panel for each table and metric; points are seeds, lines their means, black lines anchors."""
    tables = sorted(found["table"].unique())
    size = (4 * len(words), 3.2 * len(tables))
    figure, panels = plt.subplots(len(tables), len(words), figsize=size, squeeze=False, layout="constrained")
    colours = dict(zip(sorted(found["model"].unique()), mpl.colormaps["tab20"].colors, strict=False))
    lines = {}
    for row, table in zip(panels, tables, strict=True):
        for panel, (metric, title) in zip(row, words.items(), strict=True):
            here = found[(found["table"] == table) & (found["metric"] == metric)]
            if here.empty:
                panel.set_axis_off()
                continue
            at = here.assign(x=here["epsilon"].astype(float).fillna(NONE))
            for model, of in at.groupby("model"):
                means = of.groupby("x")["value"].mean()
                (lines[model],) = panel.plot(means.index, means, color=colours[model])
                panel.scatter(of["x"], of["value"], color=colours[model], s=8)
            for anchor, style in zip(ANCHORS, ("--", ":"), strict=True):
                if here[anchor].isna().all():
                    continue
                means = at.groupby("x")[anchor].mean()
                (lines[anchor.replace("_", " ")],) = panel.plot(means.index, means, color="black", linestyle=style)
            if metric.startswith("fidelity"):
                panel.set_yscale("log", nonpositive="mask")
            panel.set(xscale="log", title=f"{table}: {title}", xlabel="epsilon")
            panel.set_xticks([0.5, 1, 3, 8, NONE], ["0.5", "1", "3", "8", "none"])
            panel.xaxis.minorticks_off()
    figure.legend(lines.values(), lines, loc="outside right upper")
    figure.savefig(file, dpi=110)


def tabled(found: pd.DataFrame, words: Mapping[str, str] = METRICS) -> str:
    """Return the means over seeds as a table in markdown, anchors of the same columns below each epsilon."""
    at = found.assign(epsilon=found["epsilon"].astype(float).fillna(NONE))
    metrics = [metric for metric in words if metric in set(found["metric"])]
    lines = [line("epsilon", ["", *[words[metric] for metric in metrics]]), line("---", ["---"] * (len(metrics) + 1))]
    for epsilon, here in at.groupby("epsilon"):
        rows = {model: of.groupby("metric")["value"].mean() for model, of in here.groupby("model")}
        shown = [anchor for anchor in ANCHORS if here[anchor].notna().any()]
        rows |= {f"*{anchor.replace('_', ' ')}*": here.groupby("metric")[anchor].mean() for anchor in shown}
        named = "none" if epsilon == NONE else f"{epsilon:g}"
        for model, values in rows.items():
            lines.append(
                line(named, [model, *[f"{values.get(m, float('nan')):.4g}".replace("nan", "") for m in metrics]])
            )
    return "\n".join(lines) + f"\n\nRuns: {len(found.groupby(['model', 'epsilon', 'seed'], dropna=False))}.\n"


if __name__ == "__main__":
    runs, out = map(Path, sys.argv[1:])
    table = scores(runs)
    if table.empty:
        sys.exit(f"{runs}: no finished runs")
    table = with_earlier(table, out / "curves.csv")
    drawn(table, out / "curves.png")
    for name, of in table.groupby("table"):
        put_into(out / "README.md", str(name), tabled(of))
