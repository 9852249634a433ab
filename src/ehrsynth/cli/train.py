"""``ehrsynth train``: one run, or a job of a sweep."""

import os
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from ehrsynth.cli.console import WATCH, err, out, say
from ehrsynth.cli.main import run
from ehrsynth.cli.messages import failed
from ehrsynth.cli.overrides import command_of
from ehrsynth.cli.tables import score_table
from ehrsynth.errors import ClaimError
from ehrsynth.study import train
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import Spec


def task(config: Mapping[str, Any]) -> None:
    """Train one run, or return the finished one, and print its scores and its three paths."""
    job = HydraConfig.get()
    spec = Spec.of(config, command_of(job.overrides.task))
    if job.mode != RunMode.MULTIRUN:
        folder = train.run(spec, WATCH)
        out.print(score_table(folder.scores(), f"{folder.path}"))
        say(f"report     {folder.html}", f"synthetic  {folder.handed_over}", f"checkpoint {folder.chosen_checkpoint}")
        require_claim(folder)
        return
    launcher = job.runtime.choices["hydra/launcher"]
    try:
        if launcher == "joblib":
            take_device(job.job.num)
        if launcher == "basic" and accelerated(spec):
            # A process that has touched the device could fork no more: the next job may want to.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
                pool.submit(watched, spec).result()
        else:
            watched(spec)
    except Exception as error:  # the sweep goes on with the other jobs
        err.print(failed(job.overrides.task, error), soft_wrap=True)
        raise


def watched(spec: Spec) -> RunFolder:
    """Carry out a spec before the eyes of who sits at the terminal."""
    folder = train.run(spec, WATCH)
    require_claim(folder)
    return folder


def end_with_parent() -> None:
    """End this process when the one that started it is gone: whoever kills a sweep means its job too."""
    parent = parent_process()
    assert parent is not None, "this process was not started by another"

    def wait() -> None:
        parent.join()
        os._exit(1)  # as if killed, which every run survives

    Thread(target=wait, daemon=True).start()


def require_claim(folder: RunFolder) -> None:
    """Raise a ``ClaimError`` if the audit of a finished run excludes the epsilon that it claims."""
    if (wrong := folder.contradiction) is not None:
        raise ClaimError(f"{folder.path}: {wrong}")


def accelerated(spec: Spec) -> bool:
    """Whether a run may use a GPU of this machine."""
    import torch

    return spec.trainer["accelerator"] != "cpu" and torch.cuda.device_count() > 0


def take_device(number: int) -> None:
    """Let this process see one GPU alone: jobs take them in turn, and a process keeps the one of its first job."""
    import torch

    every = ",".join(map(str, range(torch.cuda.device_count())))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", every).split(",")
    if len(visible) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[number % len(visible)]


if __name__ == "__main__":
    run("train", sys.argv[1:])
