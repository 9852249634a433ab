"""Does a study of a hundred runs survive? Killed three times at random, it must end as one that never was.

    OMP_NUM_THREADS=1 python experiments/hundred-runs/kill.py OUT [--seeds 5] [--launcher joblib] [--kills 3]

All models of ``conf/model`` but those whose noise is secret, so that no two trainings are alike, train on 1,500
simulated patients, a few epochs each, with as many seeds. The study is run twice from one command: undisturbed, and
with SIGKILL to a worker or to the parent at random moments, after which the command is repeated until nothing is left.
Then every score of every run must be the same bit for bit, and so must the ranking and the table behind the comparison
page.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from tqdm import tqdm

import ehrsynth
from ehrsynth.study.conf import compose, names
from ehrsynth.study.status import status_of

WORKERS = {"joblib": ["hydra.launcher.n_jobs=2"], "submitit_local": ["hydra.sweeper.max_batch_size=2"], "ray": []}
REPEATS = 10  # of the command, at most
WORKER = 0.5  # the chance that a worker is killed, and not the parent


def main() -> None:
    """Run both studies and compare them."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--models", default=",".join(filter(repeatable, names("model"))))
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--patients", type=int, default=1500)
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--launcher", choices=sorted(WORKERS), default="joblib")
    arguments.add_argument("--kills", type=int, default=3)
    arguments.add_argument("--seed", type=int, default=0, help="of when and whom to kill")
    asked = arguments.parse_args()
    runs = len(asked.models.split(",")) * asked.seeds
    facts = {"launcher": asked.launcher, "runs": runs}
    for study, kills in (("undisturbed", 0), ("killed", asked.kills)):
        start = time.perf_counter()
        facts[study] = {
            "commands": carried_out(asked, study, runs, kills),
            "seconds": round(time.perf_counter() - start),
        }
        facts[study]["statuses"] = (
            pd.Series([each.status for each in status_of(asked.out / "runs" / study)]).value_counts().to_dict()
        )
    one, two = (ehrsynth.compare(asked.out / "runs" / study).frame for study in ("undisturbed", "killed"))
    facts |= {"scores": int(one.notna().sum().sum()), "equal": one.equals(two)}
    ranked = [pd.read_csv(asked.out / "runs" / study / "ranking.csv") for study in ("undisturbed", "killed")]
    facts["ranking equal"] = ranked[0].equals(ranked[1])
    (asked.out / f"{asked.launcher}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(facts, indent=1))
    if not (facts["equal"] and facts["ranking equal"]):
        raise SystemExit("the two studies differ")


def repeatable(model: str) -> bool:
    """Return whether a model has the same weights again from the same seed."""
    return compose("train", {"model": model}, {})["privacy"] is None


def carried_out(asked: argparse.Namespace, study: str, runs: int, kills: int) -> int:
    """Repeat the command of a study until it ends well, killing so many times; return how often it was given."""
    rng, options = random.Random(asked.seed), command(asked, study)
    with tqdm(total=runs, desc=study, mininterval=5) as bar:
        for repeat in range(1, REPEATS + 1):
            with (asked.out / f"{study}.log").open("a", encoding="utf-8") as log:
                process = subprocess.Popen(options, stdout=log, stderr=log, start_new_session=True)
                due = finished(asked.out, study) + rng.uniform(0.1, 0.4) * runs
                while process.poll() is None:
                    time.sleep(0.5)
                    bar.update(finished(asked.out, study) - bar.n)
                    if kills and bar.n >= due:
                        kills -= 1
                        due += rng.uniform(0.1, 0.4) * runs
                        kill(process, rng, log)
            if process.returncode == 0:
                return repeat
    raise SystemExit(f"{study}: not done after {REPEATS} commands; see {asked.out / study}.log")


def kill(process: "subprocess.Popen[bytes]", rng: random.Random, log: object) -> None:
    """Kill the parent, whose workers then go with it, or one of the workers, by a coin."""
    workers = descendants(process.pid)
    victim = rng.choice(workers) if workers and rng.random() < WORKER else process.pid
    print(f"SIGKILL to {'the parent' if victim == process.pid else 'a worker'}", file=log, flush=True)  # type: ignore[call-overload]
    if victim == process.pid:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        os.kill(victim, signal.SIGKILL)


def descendants(parent: int) -> list[int]:
    """Return the processes below another."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    above = {int(pid): int(ppid) for pid, ppid in (line.split() for line in listed.splitlines())}
    found, new = [], [parent]
    while new:
        new = [pid for pid, ppid in above.items() if ppid in new]
        found += new
    return found


def finished(out: Path, study: str) -> int:
    """Return how many runs of a study have a report."""
    return len(list((out / "runs" / study).glob("*/*/report.json")))


def command(asked: argparse.Namespace, study: str) -> list[str]:
    """Return the command of a study."""
    asked.out.mkdir(parents=True, exist_ok=True)
    return [
        *(sys.executable, "-c", "from ehrsynth.cli.main import main; main()", "train", "-m"),
        *(f"model={asked.models}", f"seed=range({asked.seeds})", f"data.n={asked.patients}", f"study={study}"),
        *(f"trainer.max_epochs={asked.epochs}", "trainer.accelerator=cpu", "evaluation.checkpoints=2"),
        *("evaluation.rows=500", "suite@evaluation.full=quick", "logger.mode=disabled", "keep=1"),
        *(f"paths.runs={asked.out / 'runs'}", f"paths.matrices={asked.out / 'matrices'}"),
        *(f"hydra/launcher={asked.launcher}", *WORKERS[asked.launcher]),
    ]


if __name__ == "__main__":
    main()
