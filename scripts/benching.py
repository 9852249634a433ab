"""What the benchmarks share: the models of ``conf/model``, steps under Lightning and without, children, exponents."""

import json
import logging
import os
import platform
import re
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.data.matrix import Matrix
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.gradient_free import GradientFree
from ehrsynth.seeding import torch_rng
from ehrsynth.study.build import build
from ehrsynth.study.conf import compose, names

BATCH = 512
SHORT = {"corgan": {"n_critic_burst": 5}}  # a burst of a hundred updates, and then seldom, is no rate

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")  # Lightning's advice about workers and steps would drown the tables


@dataclass(frozen=True)
class Took:
    """How long something took: by the clock, and of the processor, which other processes hardly disturb."""

    seconds: float
    processor: float


def machine() -> str:
    """Return where this runs, in a line."""
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{platform.machine()}, {cores}, Python {platform.python_version()}, torch {torch.__version__}"


def every_model() -> list[str]:
    """Return the names in ``conf/model``."""
    return sorted(names("model"))


def by_gradient() -> list[str]:
    """Return the names of those that descend a loss."""
    return [name for name in every_model() if not issubclass(maker(name).func, GradientFree)]


def maker(name: str) -> Any:
    """Return what makes a model from a schema and a seed, with the options of its YAML."""
    return build(compose("train", {"model": name}, {})["model"] | SHORT.get(name, {}), "model", late=True)


def made(name: str, data: EhrDataModule) -> SyntheticModel:
    """Return a model that has seen the training rows, untrained."""
    model: SyntheticModel = maker(name)(schema=data.schema, seed=0)
    model.observe(data.filled)
    return model


def compiled(model: SyntheticModel) -> SyntheticModel:
    """Return a model whose networks are compiled when they are first called, as ``trainer.compile`` does."""
    for network in model.compilable():
        network.forward = torch.compile(network.forward)  # type: ignore[method-assign]
    return model


def opened(matrix: Matrix, batch: int = BATCH) -> EhrDataModule:
    """Return the data of a matrix, ready to be served."""
    data = EhrDataModule(matrix=matrix, batch_size=batch, seed=0)
    data.setup("fit")
    return data


class Clock(pl.Callback):
    """Between the first batch and the end of the last epoch: a Trainer's start-up is no throughput."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start."""
        self.start = Took(perf_counter(), process_time())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop."""
        _finish(pl_module.device)
        self.took = Took(perf_counter() - self.start.seconds, process_time() - self.start.processor)


def lightning(model: SyntheticModel, data: EhrDataModule, epochs: int, batches: int, **more: Any) -> Took:
    """Train under a Trainer, so many batches an epoch."""
    clock = Clock()
    trainer(epochs, batches, callbacks=[clock, *more.pop("callbacks", [])], **more).fit(model, data)
    return clock.took


def trainer(epochs: int, batches: int | None, **more: Any) -> pl.Trainer:
    """Return a silent trainer; ``batches`` of an epoch, or all."""
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{"accelerator": "cpu", "max_epochs": epochs, "limit_train_batches": batches, **quiet, **more})


def bare(model: SyntheticModel, table: Tensor, epochs: int, batches: int) -> Took:
    """Take the same steps in a plain loop: the model's own ``training_step``, its optimizers and its schedule.

    Args:
        model: untrained.
        table: all training rows [n, p], in their order; batches are those of ``IndexBatches`` with the seed 0.
        epochs: passes.
        batches: of each.
    """
    for name in ("log", "log_dict"):
        setattr(model, name, MethodType(lambda self, *args, **kwargs: None, model))
    model.manual_backward = MethodType(lambda self, loss: loss.backward(), model)  # type: ignore[method-assign]
    told = SimpleNamespace(
        current_epoch=0, max_epochs=epochs, num_training_batches=batches, estimated_stepping_batches=epochs * batches,
        world_size=1, global_rank=0, is_last_batch=False, should_stop=False, accumulate_grad_batches=1,
        strategy=SimpleNamespace(reduce=lambda x, reduce_op: x),
    )  # fmt: skip
    model._trainer = told  # type: ignore[assignment]
    configured = model.configure_optimizers()
    scheduled = configured if isinstance(configured, dict) else {}
    told.optimizers = configured if isinstance(configured, list) else [scheduled.get("optimizer", configured)]
    model.optimizers = MethodType(lambda self: told.optimizers, model)  # type: ignore[method-assign]
    schedule = scheduled.get("lr_scheduler", {}).get("scheduler")
    model.train()
    start = Took(perf_counter(), process_time())
    for told.current_epoch in range(epochs):
        model.on_train_epoch_start()
        order = torch.randperm(len(table), generator=torch_rng(0, "shuffle", told.current_epoch)).to(table.device)
        for i in range(batches):
            told.is_last_batch = i == batches - 1
            rows = table[order[i * BATCH : (i + 1) * BATCH]]
            loss = model.training_step(rows, i)
            if model.automatic_optimization:
                assert isinstance(loss, Tensor)
                told.optimizers[0].zero_grad()
                loss.backward()
                told.optimizers[0].step()
                if isinstance(average := getattr(model, "average", None), torch.nn.Module):
                    average.update_parameters(model.network)  # type: ignore[operator]
                if schedule is not None:
                    schedule.step()
            model.on_train_batch_end(loss, rows, i)
    _finish(table.device)
    took = Took(perf_counter() - start.seconds, process_time() - start.processor)
    model._trainer = None
    return took


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def weights(model: SyntheticModel) -> Tensor:
    """Return all that is learned by gradients, end to end."""
    return torch.cat([tensor.detach().flatten().cpu() for tensor in model.parameters() if tensor.requires_grad])


def in_child(script: str, *arguments: object) -> dict[str, Any]:
    """Run a script in a process of its own, so that its memory is its own; return the JSON of its last line."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[1:])}: exit status {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def resident() -> float:
    """Return the most that was resident of this process so far, in GB.

    What the system tells by ``getrusage`` begins with what the parent had.
    """
    if (status := Path("/proc/self/status")).is_file():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024 / 1e9  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return e of seconds = c size^e, by least squares of the logarithms of the last three."""
    return float(np.polyfit(np.log(sizes[-3:]), np.log(seconds[-3:]), 1)[0])


def chosen(given: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return the models that were asked for, by default all."""
    for name in given or ():
        if name not in known:
            sys.exit(f"--models {name}: one of {', '.join(known)} was expected")
    return list(given or known)


def kept_in(path: Path, key: str, measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a file holds under a key, or measure it and write it there: a long benchmark is gone on with."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if key not in known:
        known[key] = dict(measure())
        path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    found: dict[str, Any] = known[key]
    return found
