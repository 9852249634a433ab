"""Learn each clinical task again and again from patients that a model draws, and from real ones; test on held-out ones.

    python experiments/sequence-study/tasks.py RUNS [--models chronicle,halo] [--draws 5] [--into README.md --name NAME]

RUNS is the folder of a study, as ``runs/sequence-study/runs/hospital``; the first run of each model draws as many
patients as it learned from. A report asks a task at one visit of each patient, drawn at random, of 10,000 patients at
most: which these are moves an AUROC by more than the goal of 0.02. Here they are drawn several times, alike for real
and synthetic patients, and cells are means, with the standard deviation over draws behind those of *real*.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import torch
import yaml

import ehrsynth
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.evaluation.evaluator import Undefined, Value
from ehrsynth.evaluation.suite import Suite
from ehrsynth.evaluation.temporal.clinical_tasks import ClinicalTasks
from ehrsynth.study.build import build
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.through_time import Judged

sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
from table import first_runs, line, put_into

REAL, SYNTHETIC = "temporal/trtr_task_auroc", "temporal/tstr_task_auroc"
TARGET = 0.02
Areas = dict[str, list[float]]  # of each task, by draw
Scores = Mapping[str, Value | Undefined]


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", type=Path)
    arguments.add_argument("--models", help="of the study; all by default")
    arguments.add_argument("--draws", type=int, default=5)
    arguments.add_argument("--into", type=Path)
    arguments.add_argument("--name", default="hospital-tasks")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    runs, folder = first_runs(asked.runs)
    real = Judged(Trajectories.open(folder), "holdout").visits
    tasks = tasks_of(next(iter(runs.values())))
    fitted = [tasks.fit(real, draw) for draw in range(asked.draws)]
    found: dict[str, Areas] = {}
    for name in asked.models.split(",") if asked.models else sorted(runs):
        drawn = ehrsynth.generate(runs[name].path, len(real.train)).visits
        scored = [score(drawn, draw) for draw, score in enumerate(fitted)]
        found.setdefault("*real*", areas(REAL, scored))
        found[name] = areas(SYNTHETIC, scored)
        print(name, flush=True)
    text = table(found)
    if asked.into:
        put_into(asked.into, asked.name, text)
    print(text)


def tasks_of(run: RunFolder) -> ClinicalTasks:
    """Return the tasks of the suite that the run was judged by."""
    suite: Suite = build(yaml.safe_load(run.config.read_text())["temporal"]["full"], "temporal.full")
    [tasks] = [each for each in suite.evaluators if isinstance(each, ClinicalTasks)]
    return tasks


def areas(metric: str, scored: Sequence[Scores]) -> Areas:
    """Return the AUROC of each task, by draw."""
    found: Areas = {}
    for scores in scored:
        score = scores[metric]
        if isinstance(score, Value):
            for (kind, name), part in score.parts.items():
                if kind == "task" and isinstance(part, Value):
                    found.setdefault(name, []).append(part.value)
    return found


def table(found: Mapping[str, Areas]) -> str:
    """Return a row of means for each model, and how many tasks are within the goal of what real patients teach."""
    real = found["*real*"]
    lines = [line("", [*real, f"within {TARGET}"]), line("---", ["---"] * (len(real) + 1))]
    for name, own in found.items():
        near = sum(fmean(own[task]) >= fmean(real[task]) - TARGET for task in real)
        spread = [f" ± {stdev(values):.3f}" if own is real and len(values) > 1 else "" for values in own.values()]
        cells = [f"{fmean(own[task]):.3f}{more}" for task, more in zip(real, spread, strict=True)]
        lines.append(line(name, [*cells, "" if own is real else f"{near} of {len(real)}"]))
    return "\n".join([*lines, "", f"Draws: {len(next(iter(real.values())))}."]) + "\n"


if __name__ == "__main__":
    main()
