"""``ehrsynth train``: one run, or a job of a sweep."""

import shlex
import sys
from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from ehrsynth.cli.console import WATCH, err, out, say
from ehrsynth.cli.main import run
from ehrsynth.cli.messages import users_fault
from ehrsynth.cli.overrides import written
from ehrsynth.cli.study import StudyEnd, finish_sweep
from ehrsynth.cli.tables import score_table
from ehrsynth.study import train
from ehrsynth.study.spec import Spec
from ehrsynth.words import printable

finish = finish_sweep


def task(config: Mapping[str, Any]) -> None:
    """Train one run, or return the finished one, and print its scores and its three paths."""
    overrides = [written(override) for override in HydraConfig.get().overrides.task]
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        folder = train.run(Spec.of(config, f"ehrsynth train {shlex.join(overrides)}"), WATCH)
        StudyEnd.runs.append(folder)
    except Exception as error:
        if sweeping:  # it goes on with the other jobs; its end repeats only the first error
            message = users_fault(error) or f"{type(error).__name__}: {error}"
            err.print(printable(f"failed {' '.join(overrides)}: {message}"), soft_wrap=True)
        raise
    if not sweeping:
        out.print(score_table(folder.scores(), f"{folder.path}"))
        say(f"report     {folder.html}", f"synthetic  {folder.synthetic}", f"checkpoint {folder.chosen_checkpoint}")


if __name__ == "__main__":
    run("train", sys.argv[1:])
