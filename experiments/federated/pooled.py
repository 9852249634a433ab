"""Train on the rows of all sites together: ``python pooled.py RUNS/STUDY MODEL OPTION=VALUE ...``."""

import sys
from pathlib import Path

from ehrsynth.cli.main import run
from ehrsynth.study.run_folder import RunFolder

study, model, *options = sys.argv[1:]
averaged = RunFolder(next(file.parent for file in Path(study, f"{model}_fedavg").glob("*/report.json")))
folder = averaged.facts(matrix={"folder": str})["matrix"]["folder"]
run("train", [f"data.matrix={folder}", *options])
