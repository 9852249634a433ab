"""Read the finished runs of a study; write results.csv, tables in markdown, and figures in the papers' manner.

    python experiments/generator-study/table.py RUNS OUT [--into README.md --name equal] [--peers]

RUNS is the folder of a study, as ``runs/equal``. With ``--into`` the tables also take the place of what stands between
``<!-- NAME -->`` and ``<!-- /NAME -->`` in a file. Values are means over seeds; the CSV has every score of every run.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ehrsynth.data.table_files import read_table
from ehrsynth.evaluation.ranking import Profile, ranks_by_use
from ehrsynth.evaluation.score_table import mean_anchor, tabulate
from ehrsynth.reporting.ranking_figures import gap_map, gaps, metric_panels, use_map
from ehrsynth.schema import Schema
from ehrsynth.study.build import build
from ehrsynth.study.conf import load, names
from ehrsynth.study.rank import find_runs, rank
from ehrsynth.study.run_folder import RunFolder


class Shown(NamedTuple):
    """A column of the table: a metric, its heading, what it is multiplied by, its decimals."""

    metric: str
    heading: str
    times: float = 1
    decimals: int = 3


SHOWN = (
    Shown("fidelity/apd", "APD x1000", 1000, 2),
    Shown("fidelity/nonzero_columns", "non-zero columns"),
    Shown("fidelity/correlation_distance", "CMD x1000", 1000, 2),
    Shown("fidelity/latent_deviation_ln", "LD k5 (ln)", 1, 2),
    Shown("fidelity/latent_deviation_ln_k20", "LD k20 (ln)", 1, 2),
    Shown("fidelity/concept_abundance", "MCAD"),
    Shown("fidelity/dimension_wise_prediction", "dim-wise pred. r"),
    Shown("unique rows", "different rows of codes"),
    Shown("fidelity/discriminator_auc", "told from real"),
    Shown("utility/tstr_auroc", "TSTR AUROC"),
    Shown("validity/knowledge_violation", "one-sex codes violated"),
    Shown("privacy/membership_auc", "membership AUC"),
    Shown("privacy/dcr_share", "DCR share"),
)
ANCHORS = {"fresh real": "fresh_real", "train copy": "train_copy", "independent columns": "independent"}
OTHERS = "measured by others, codes only, other rows: "
# Measured by an independent evaluator: original public code, about eight minutes of one thread, one fit each, on 461
# codes (any encounter, at least 20 patients) of 50,063 rows of the same source; AUROC and violations on the same with
# demographics and three numbers, where AUROC is 0.814 of real rows. Non-zero columns as a share of 461.
PEERS = {
    "held-out real patients": (0.405, 1.0, 3.67, -11.13, -9.06, 0.003, 0.998, 0.865, None, 0.793, 0, 0.502),
    "train rows": (0, 1.0, 0, -11.85, -9.24, 0, 0.998, 0.806, None, None, None, 0.868),
    "shuffled columns": (0, 1.0, 4.19, -8.44, -6.59, 0.168, 0.725, 0.867, None, 0.533, 0.54, 0.503),
    "EHRDiff, 448 s": (3.15, 1.0, 3.96, -11.32, -7.18, 0.295, 0.959, 0.413, None, None, None, 0.501),
    "EMR-WGAN, 368 s": (5.37, 143 / 461, 5.59, -2.82, -2.51, 0.140, 0.601, 0.278, None, 0.523, 0.33, 0.502),
    "TVAE, 476 s": (9.08, 5 / 461, 6.06, -2.18, -1.63, 0.848, 0.801, 10 / 50_063, None, None, None, 0.500),
    "CTGAN, 143 s": (5.83, 1.0, 5.77, -4.23, -3.82, 0.331, 0.561, 0.969, None, None, None, 0.502),
    "TabularARGN, 342 s": (0.98, 416 / 461, 4.47, -7.06, -5.98, 0.176, 0.709, 0.869, None, 0.490, 0.52, 0.501),
}


def main() -> None:
    """Write the table and the figures of one study."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--into", type=Path)
    arguments.add_argument("--name", default="equal")
    arguments.add_argument("--peers", action="store_true", help="add what others measured of the originals")
    asked = arguments.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    metrics = {shown.metric: 1.0 for shown in SHOWN if "/" in shown.metric}
    profile = Profile("study", "Every metric of the table, alike.", metrics, paper="none")
    comparison = rank(f"{asked.runs}/*/*", profile)
    (section,) = comparison.sections  # one set of real rows
    groups, scores = section.ranking.groups, section.scores or {}
    table = tabulate(scores)
    unique = {run: distinct(comparison.runs[run].synthetic, comparison.runs[run].schema) for run in scores}
    values = table.values.assign(**{"unique rows": pd.Series(unique)})
    facts = pd.DataFrame({run: facts_of(comparison.runs[run].provenance) for run in scores}).T
    everything = pd.concat([pd.Series(groups, name="group"), facts, values], axis=1).sort_values(["group", "seed"])
    names_of_runs = everything.rename(index=lambda run: "/".join(Path(run).parts[-2:]))  # whoever's machine it was
    names_of_runs.to_csv(asked.out / f"{asked.name}-results.csv", index_label="run")
    uses = ranks_by_use(
        table.values, table.cards, [build(load("profile", n), "profile") for n in names("profile")], groups
    )
    uses = uses.loc[uses.mean(axis=1).sort_values().index]
    means = values.groupby(pd.Series(groups)).mean().loc[uses.index]
    anchors = {
        words: {m: mean_anchor([s for own in scores.values() for s in own if s.metric == m], name) for m in metrics}
        for words, name in ANCHORS.items()
    }
    folder = Path(next(iter(comparison.runs.values())).provenance["matrix"]["folder"])
    for words, part in (("fresh real", "holdout"), ("train copy", "train")):
        if (folder / f"{part}.parquet").is_file():
            anchors[words]["unique rows"] = distinct(folder / f"{part}.parquet", folder / "schema.json")
    runs = pd.Series(groups).value_counts()
    lines = [line("", [shown.heading for shown in SHOWN]), line("---", ["---"] * len(SHOWN))]
    lines += [line(f"**{words}**", cells(own)) for words, own in anchors.items()]
    lines += [line(f"{name} ({runs[name]})", cells(own)) for name, own in means.to_dict("index").items()]
    if asked.peers:
        order = [shown.metric for shown in SHOWN]
        told = {words: dict(zip(order, row, strict=False)) for words, row in PEERS.items()}
        plain = [shown._replace(times=1) for shown in SHOWN]
        lines += [line(f"*{OTHERS}{words}*", cells(own, plain)) for words, own in told.items()]
    lines += ["", line("weighted rank", list(uses.columns)), line("---", ["---"] * uses.shape[1])]
    lines += [line(str(name), [f"{value:.1f}" for value in row]) for name, row in uses.iterrows()]
    lines += ["", *(f"- {remark}" for remark in comparison.remarks)]
    text = "\n".join(lines).rstrip() + "\n"
    (asked.out / f"{asked.name}.md").write_text(text, encoding="utf-8")
    for figure in (metric_panels(section.ranking, scores), gap_map(gaps(section.ranking, scores)), use_map(uses)):
        (asked.out / f"{asked.name}-{figure.name}.png").write_bytes(figure.png)
    if asked.into:
        put_into(asked.into, asked.name, text)
    print(text)


def distinct(file: Path, schema: Path) -> float:
    """Return how many different rows of codes a table has, as a share of its rows."""
    codes = [c.name for c in Schema.load(schema).columns if c.kind == "binary" and c.role != "outcome"]
    table = read_table(file)[codes]
    return float(pd.util.hash_pandas_object(table, index=False).nunique() / len(table))


def facts_of(provenance: Mapping[str, object]) -> dict[str, object]:
    """Return what a row of ``results.csv`` says of a run beside its scores."""
    seconds = provenance["seconds"]
    assert isinstance(seconds, Mapping)
    return {
        "model": provenance["model"],
        "seed": provenance["seed"],
        "epoch": provenance["epoch"],
        **{f"seconds_{step}": value for step, value in seconds.items()},
    }


def cells(values: Mapping[str, float | None], shown: tuple[Shown, ...] | list[Shown] = SHOWN) -> list[str]:
    """Return the cells of a row; what is not known is left empty."""
    found = [(values.get(one.metric), one) for one in shown]
    return ["" if value is None or pd.isna(value) else f"{value * one.times:.{one.decimals}f}" for value, one in found]


def first_runs(study: Path) -> tuple[dict[str, RunFolder], Path]:
    """Return the first run of each model of a study by the model's name, and the matrix folder of these runs."""
    runs = {run.path.parent.name: run for run in reversed(find_runs(f"{study}/*/*"))}
    if not runs:
        raise SystemExit(f"{study}: no finished run")
    return runs, Path(next(iter(runs.values())).provenance["matrix"]["folder"])


def line(first: str, rest: list[str]) -> str:
    """Return a row of a table in markdown."""
    return "| " + " | ".join([first, *rest]) + " |"


def put_into(file: Path, name: str, text: str) -> None:
    """Replace what stands between the marks of a name."""
    content, begin, end = file.read_text(encoding="utf-8"), f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = content.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{file}: {begin} and {end} were expected")
    file.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
