"""Scores by epsilon, a line for each model: ``curves.py RUNS OUT`` writes curves.csv and curves.png of what is done."""

import json
import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("agg")
from matplotlib import pyplot as plt

METRICS = {
    "fidelity/dimension_wise_distance": "distance of columns",
    "fidelity/correlation_distance": "distance of correlations",
    "utility/tstr_auroc": "TSTR AUROC",
    "privacy/membership_auc": "membership AUC",
}
WITHOUT = {"chow_liu": "dp_tree", "mixture": "dp_mixture"}  # what is one model, with noise and without
NONE = 24.0  # where runs without privacy are drawn


def scores(runs: Path) -> pd.DataFrame:
    """Return a row for each finished run and metric."""
    rows = []
    for report in sorted(runs.glob("*/*/*/report.json")):
        facts = json.loads((report.parent / "provenance.json").read_text(encoding="utf-8"))
        total = facts.get("ledger", {}).get("total")
        told = {score["metric"]: score for score in json.loads(report.read_text(encoding="utf-8"))["scores"]}
        table, model = report.parts[-4], report.parts[-3]
        claimed = None if total is None else min(value for value in total.values() if value is not None)
        for metric in METRICS:
            if (score := told.get(metric)) and score["value"] is not None:
                anchors = {name: score["anchors"].get(name) for name in ("fresh_real", "independent")}
                rows.append(
                    {"table": table, "model": WITHOUT.get(model, model), "seed": facts["seed"], "epsilon": claimed}
                    | {"metric": metric, "value": score["value"]}
                    | anchors
                )
    return pd.DataFrame(rows)


def drawn(found: pd.DataFrame, file: Path) -> None:
    """Draw a panel for each table and metric; points are seeds, lines their means, dashes fresh real patients."""
    tables = sorted(found["table"].unique())
    figure, panels = plt.subplots(
        len(tables), len(METRICS), figsize=(4 * len(METRICS), 3.2 * len(tables)), squeeze=False
    )
    colours = {model: f"C{i}" for i, model in enumerate(sorted(found["model"].unique()))}
    for row, table in zip(panels, tables, strict=True):
        for panel, (metric, words) in zip(row, METRICS.items(), strict=True):
            here = found[(found["table"] == table) & (found["metric"] == metric)]
            at = here.assign(x=here["epsilon"].astype(float).round(2).fillna(NONE))
            for model, of in at.groupby("model"):
                means = of.groupby("x")["value"].mean()
                panel.plot(means.index, means, color=colours[model], label=model)
                panel.scatter(of["x"], of["value"], color=colours[model], s=8)
            for anchor, style in (("fresh_real", "--"), ("independent", ":")):
                if here[anchor].notna().any():
                    panel.axhline(here[anchor].mean(), color="grey", linestyle=style, linewidth=0.8)
            panel.set(xscale="log", title=f"{table}: {words}", xlabel="epsilon")
            panel.set_xticks([0.5, 1, 3, 8, NONE], ["0.5", "1", "3", "8", "none"])
            panel.minorticks_off()
    panels[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    runs, out = map(Path, sys.argv[1:])
    table = scores(runs)
    if table.empty:
        sys.exit(f"{runs}: no finished runs")
    table.to_csv(out / "curves.csv", index=False)
    drawn(table, out / "curves.png")
