"""Draw patients of each model under each policy; count who breaks a rule over time of the data.

    python experiments/sequence-study/rules.py RUNS [--n 2000] [--into README.md --name hospital-rules]

RUNS is the folder of a study, as ``runs/sequence-study/runs/hospital``; the first run of each model draws. Rules are
those that ``prepare`` proposed from training patients, of whom none breaks any.
"""

import argparse
import sys
from pathlib import Path

import torch

import ehrsynth
from ehrsynth.constraints.over_time import RulesOverTime
from ehrsynth.constraints.policy import POLICIES
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.errors import InputError

sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
from table import first_runs, line, put_into


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", type=Path)
    arguments.add_argument("--n", type=int, default=2_000)
    arguments.add_argument("--into", type=Path)
    arguments.add_argument("--name", default="hospital-rules")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    runs, folder = first_runs(asked.runs)
    data = Trajectories.open(folder, ("train", "holdout"))
    rules = RulesOverTime(data.over_time, data.visit_schema)
    if len(rules):
        lines = [line("", [f"% broken, {policy}" for policy in POLICIES]), line("---", ["---"] * len(POLICIES))]
        lines.append(line("*held-out patients*", [f"{100 * rules.broken(data.visits('holdout')).mean():.2f}", "", ""]))
        for name, run in sorted(runs.items()):
            lines.append(line(name, [broken(run.path, asked.n, policy, rules) for policy in POLICIES]))
        lines += ["", f"Rules over time: {len(rules)}. Patients drawn: {asked.n:,} of each model under each policy."]
    else:
        lines = ["No rule over time holds in the training patients with enough evidence."]
    text = "\n".join(lines) + "\n"
    if asked.into:
        put_into(asked.into, asked.name, text)
    print(text)


def broken(run: Path, n: int, policy: str, rules: RulesOverTime) -> str:
    """Return the share of drawn patients that break a rule, in percent, or that the policy is refused."""
    try:
        drawn = ehrsynth.generate(run, n, policy=policy)
    except InputError:  # hardly any patient that the model draws keeps them
        return "refused"
    return f"{100 * rules.broken(drawn.visits).mean():.2f}"


if __name__ == "__main__":
    main()
