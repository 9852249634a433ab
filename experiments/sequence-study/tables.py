"""Read the runs of a set of trajectories; write the tables of a comparison of generators, in our form.

    python experiments/sequence-study/tables.py RUNS [--into README.md --name hospital]

RUNS is the folder of a study, as ``runs/sequence-study/runs/hospital``. Values are means over seeds; *fresh real* are
held-out patients in place of synthetic ones, *real* what training patients teach. A cell is empty where the data do not
have what is asked; why, is in the report of each run.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from ehrsynth.data.trajectories import Trajectories
from ehrsynth.evaluation.evaluator import NotApplicableError, Parts, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.fidelity.distributions import ColumnDistributions
from ehrsynth.evaluation.temporal.content import Content
from ehrsynth.evaluation.temporal.progression import Persistence
from ehrsynth.evaluation.temporal.values import ValueCourse
from ehrsynth.reporting.parts import read_parts
from ehrsynth.study.rank import find_runs, rank
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.through_time import Judged

sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
from table import line, put_into

Part = tuple[str, str, str]  # metric, kind and name of a part
Numbers = Mapping[Part, float]
Columns = Sequence[tuple[str, Part]]  # a heading and what stands below it
ALL = "all", ""  # kind and name of a score itself
TARGET = 0.02  # that what is learned from synthetic patients may be worse than from real ones
ROWS, VISITS, LINKED = "fidelity/js_divergence", "temporal/content_js", "privacy/linkability"
REAL, SYNTHETIC, HYBRID = (f"temporal/{arm}_task_auroc" for arm in ("trtr", "tstr", "hybrid"))
CODES_KEPT, COURSE = "temporal/persistence_error", "temporal/autocorrelation_error"
SHOWN = {
    "temporal/codes_by_visit_number": "growth",
    "temporal/persistence_error": "persistence",
    "temporal/asymmetry": "asymmetry",
    "temporal/gaps_by_number": "gaps",
    "temporal/halo_sequential_bigram_r2": "sequential bigrams R2",
    "temporal/discriminator_auc": "told from real, visits",
    "temporal/rule_violation": "rules over time broken",
    "temporal/vocabulary_coverage": "codes used",
    "temporal/distinct_records": "distinct records",
    "fidelity/apd": "APD",
    "fidelity/correlation_frobenius": "correlations",
    "fidelity/discriminator_auc": "told from real, rows",
    "privacy/sequence_prefix_excess": "copied visits",
    "privacy/sequence_bag_auc": "membership, bags",
}
CREATININE, KIDNEY = "reatinine", ("kidney", "reatinine")  # in the names of measurements and of tasks


class Study:
    """The runs on one set of trajectories.

    Args:
        folder: of the study.

    Raises:
        SystemExit: there is no finished run.
    """

    def __init__(self, folder: Path) -> None:
        self.found: dict[str, list[Numbers]] = {}
        runs = find_runs(f"{folder}/*/*")
        if not runs:
            raise SystemExit(f"{folder}: no finished run")
        for run in runs:
            self.found.setdefault(run.path.parent.name, []).append(numbers_of(run))
        first = runs[0]
        anchors = {(score.metric, *ALL): score.anchors.get("fresh_real") for score in first.scores()}
        self.fresh = {part: value for part, value in anchors.items() if value is not None}
        self.fresh |= fresh_parts(Path(first.provenance["matrix"]["folder"]))
        self.ranking = rank(f"{folder}/*/*", "visits/course").frame

    def names(self, metric: str, kind: str) -> list[str]:
        """Return the names of the parts of a kind that some run has a value of."""
        every = (part for runs in self.found.values() for own in runs for part in own)
        return list(dict.fromkeys(name for of, sort, name in every if (of, sort) == (metric, kind)))

    def mean(self, model: str, part: Part) -> float | None:
        """Return the mean over the runs of a model."""
        known = [own[part] for own in self.found[model] if part in own]
        return fmean(known) if known else None

    def any(self, part: Part) -> float | None:
        """Return what does not depend on the model, such as what real patients teach."""
        return next((own[part] for runs in self.found.values() for own in runs if part in own), None)


def numbers_of(run: RunFolder) -> Numbers:
    """Return the scores of a run and their parts."""
    found = {(score.metric, *ALL): score.value for score in run.scores() if score.value is not None}
    parts = read_parts(run.report.with_suffix(".parquet"))
    return found | {(metric, *key): value for metric, own in parts.items() for key, value in values(own).items()}


def fresh_parts(folder: Path) -> dict[Part, float]:
    """Return the parts of what the tables show of held-out patients in place of synthetic ones; reports have none."""
    real = Judged(Trajectories.open(folder), "holdout")
    evaluators: list[VisitEvaluator] = [Content(), Persistence(), ValueCourse()]
    found: dict[str, Value | Undefined] = {}
    for evaluator in evaluators:
        try:
            found |= evaluator.fit(real.visits, 0)(real.visits.holdout, 0)
        except NotApplicableError:
            continue
    found |= ColumnDistributions().fit(real.rows, 0)(real.rows.holdout, 0)
    return {
        (metric, *key): value
        for metric, score in found.items()
        if isinstance(score, Value)
        for key, value in values(score.parts).items()
    }


def values(parts: Parts) -> dict[tuple[str, str], float]:
    """Return the parts that have a value."""
    return {key: part.value for key, part in parts.items() if isinstance(part, Value)}


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", type=Path)
    arguments.add_argument("--into", type=Path)
    arguments.add_argument("--name", default="hospital")
    asked = arguments.parse_args()
    study = Study(asked.runs)
    sections = {
        "Scores, and rank for `visits/course`": scores(study),
        "Similarity by category (Table 4)": similarity(study),
        "Tasks, AUROC synthetic / hybrid (Table 5)": tasks(study),
        "Hybrid by subgroup, AUROC over the tasks": subgroups(study),
        "Privacy (Table 6)": privacy(study),
        "Kidney disease": kidney(study),
    }
    runs = ", ".join(f"{len(own)} of {model}" for model, own in sorted(study.found.items()))
    told = [f"#### {title}\n\n{text}" for title, text in sections.items()]
    text = "\n\n".join([*told, f"Runs: {runs}."]) + "\n"
    if asked.into:
        put_into(asked.into, asked.name, text)
    print(text)


def scores(study: Study) -> str:
    """What tells most of each family, with the rank: lower is better but for R2, asymmetry, codes used and distinct."""
    table = of_models(study, [(heading, (metric, *ALL)) for metric, heading in SHOWN.items()])
    ranks = ", ".join(f"{row.group} {row.weighted_rank:.1f}" for row in study.ranking.itertuples())
    return f"{table}\n\nWeighted rank, best first: {ranks}."


def similarity(study: Study) -> str:
    """Jensen-Shannon divergence in bits by domain: of what visits record, and of patients as rows."""
    of_visits = [(f"visits: {name}", (VISITS, "domain", name)) for name in study.names(VISITS, "domain")]
    of_rows = [(f"patients: {name}", (ROWS, "domain", name)) for name in study.names(ROWS, "domain")]
    return of_models(study, [*of_visits, *of_rows])


def tasks(study: Study) -> str:
    """What a model learned from synthetic, and from half synthetic patients is worth, task by task."""
    names = study.names(REAL, "task")
    if not names:
        return "No task has enough patients with and without its outcome."
    real = {name: study.any((REAL, "task", name)) for name in names}
    lines = [*head([*names, f"synthetic within {TARGET}"]), line("*real*", [*map(number, real.values()), ""])]
    for model in sorted(study.found):
        pairs = {name: [study.mean(model, (arm, "task", name)) for arm in (SYNTHETIC, HYBRID)] for name in names}
        near = sum(synthetic is not None and synthetic >= real[name] - TARGET for name, (synthetic, _) in pairs.items())
        cells = [" / ".join(map(number, pair)) for pair in pairs.values()]
        lines.append(line(model, [*cells, f"{near} of {len(names)}"]))
    return "\n".join(lines)


def subgroups(study: Study) -> str:
    """What is learned from half and half, in each subgroup of held-out patients."""
    names = study.names(REAL, "subgroup")
    if not names:
        return "No subgroup is large enough."
    lines = [*head(names), line("*real*", [number(study.any((REAL, "subgroup", name))) for name in names])]
    for model in sorted(study.found):
        lines.append(line(model, [number(study.mean(model, (HYBRID, "subgroup", name))) for name in names]))
    return "\n".join(lines)


def privacy(study: Study) -> str:
    """Attacks; of linkage the share of training and of held-out patients whose two halves were linked."""
    columns: Columns = [
        ("membership accuracy", ("privacy/sequence_hamming_accuracy", *ALL)),
        ("membership AUC", ("privacy/sequence_hamming_auc", *ALL)),
        ("TPR at 1 % FPR", ("privacy/sequence_hamming_tpr_at_1pct_fpr", *ALL)),
        ("linked", (LINKED, "rate", "attack")),
        ("linked, unseen patients", (LINKED, "rate", "control")),
        ("rare runs of visits found, above chance", ("privacy/sequence_runs_excess", *ALL)),
        ("rows copied", ("privacy/exact_copies", *ALL)),
        ("unseen rows found", ("privacy/exact_copies_holdout", *ALL)),
    ]
    return of_models(study, columns)


def kidney(study: Study) -> str:
    """Progression to kidney disease learned from synthetic patients, and the course of creatinine and of the code."""
    asked = [name for name in study.names(REAL, "task") if any(word in name for word in KIDNEY)]
    code = [name for name in study.names(CODES_KEPT, "code") if name.endswith(("N18", "585"))]
    labs = [name for name in study.names(VISITS, "measurement") if CREATININE in name]
    columns: list[tuple[str, Part]] = [(f"AUROC, {name}", (SYNTHETIC, "task", name)) for name in asked]
    columns += [(f"{name} comes back, error", (CODES_KEPT, "code", name)) for name in code]
    for name in labs:
        columns += [(f"{name}, JS", (VISITS, "measurement", name))]
        columns += [(f"{name}, autocorrelation error", (COURSE, "measurement", name))]
    if not columns:
        return "The data have neither such a task nor creatinine."
    table = of_models(study, columns)
    if not asked:
        return table
    real = [study.any((REAL, "task", name)) for name in asked]
    return "\n".join([table, line("*real*", [*map(number, real), *[""] * (len(columns) - len(asked))])])


def of_models(study: Study, columns: Columns) -> str:
    """Return a table with a row for fresh real patients and for each model; a column that nobody has is left out."""
    known = [(heading, part) for heading, part in columns if study.any(part) is not None]
    lines = [*head([heading for heading, _ in known])]
    lines.append(line("*fresh real*", [number(study.fresh.get(part)) for _, part in known]))
    for model in sorted(study.found):
        lines.append(line(model, [number(study.mean(model, part)) for _, part in known]))
    return "\n".join(lines)


def head(headings: Sequence[str]) -> list[str]:
    """Return the first two lines of a table."""
    return [line("", list(headings)), line("---", ["---"] * len(headings))]


def number(value: float | None) -> str:
    """Return a cell."""
    return "" if value is None else f"{value:.3f}" if 0.01 <= abs(value) < 10 else f"{value:.4g}"


if __name__ == "__main__":
    main()
