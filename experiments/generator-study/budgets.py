"""Measure how many epochs of each model some minutes of one processor hold; write ``conf/budget/EXPERIMENT``.

    OMP_NUM_THREADS=1 python experiments/generator-study/budgets.py MATRIX [MODEL ...]
        [--experiment equal_budget] [--minutes 3]

Each model trains for a few batches of every phase it has, on one thread, and its epochs are what the budget divided by
the seconds of one comes to. Batches are lowered and warm-ups shortened where the published ones would leave hardly a
step; both stand in the file. What learns by adding up keeps its own number of passes. Files that are there are kept.
"""

import argparse
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from time import process_time
from typing import Any

import pytorch_lightning as pl
import torch

from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.data.matrix import Matrix
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.gradient_free import GradientFree
from ehrsynth.study.build import build
from ehrsynth.study.conf import compose, conf_dir, names

PRETRAINING = 0.2  # of the budget, at most, where an autoencoder comes first
BATCH = 256  # rows of a step, at most
BATCHES = 12  # timed in each epoch ...
WINDOWS = 8  # ... or so many windows of a critic whose effort adapts
WARMUP = 0.05  # of all steps, at most
BURSTS, BETWEEN = 25, 500  # CorGAN's critic has its bursts in the first batches, and then in every 500th


class Clock(pl.Callback):
    """Seconds of processor from the start of a batch to that of the next, by epoch; the first of each is left out."""

    def __init__(self) -> None:
        self.start = 0.0
        self.seconds: dict[int, list[float]] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        """Count from the start of the batch before."""
        now = process_time()
        if batch_idx > 1:
            self.seconds.setdefault(trainer.current_epoch, []).append(now - self.start)
        self.start = now

    def batch(self, epoch: int) -> float:
        """Return the mean seconds of a batch."""
        return sum(self.seconds[epoch]) / len(self.seconds[epoch])


def main() -> None:
    """Measure the models named, or all."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("matrix", type=Path)
    arguments.add_argument("models", nargs="*", default=names("model"))
    arguments.add_argument("--experiment", default="equal_budget")
    arguments.add_argument("--minutes", type=float, default=3)
    arguments.add_argument("--out", type=Path, help="folder; conf/budget/EXPERIMENT by default")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    matrix, out = Matrix.open(asked.matrix), asked.out or conf_dir() / "budget" / asked.experiment
    out.mkdir(parents=True, exist_ok=True)
    for name in asked.models:
        if not (file := out / f"{name}.yaml").exists():
            text = budget(matrix, name, asked.minutes)
            file.write_text(text, encoding="utf-8")
            print(text, flush=True)


def budget(matrix: Matrix, name: str, minutes: float) -> str:
    """Measure one model and return its file."""
    config, seconds = compose("train", {"model": name}, {}), 60 * minutes
    node, rows = config["model"], min(config["data"]["batch_size"], BATCH)
    whole = issubclass(build(node, "model", late=True).func, GradientFree)
    data = EhrDataModule(matrix=matrix, batch_size=config["data"]["batch_size"] if whole else rows, seed=0)
    data.setup()
    if whole:
        look, passes = adding_up(node, data), config["trainer"]["max_epochs"]
        return written(f"{name} as it is: one look and one pass take {look:.1f} s; it makes {passes}.", {}, None, None)
    changed: dict[str, Any] = {}
    clock, batches = timed(node, data), len(data.filled) // rows
    first, last = (clock.batch(epoch) * batches for epoch in (0, max(clock.seconds)))
    takes = f"an epoch takes {last:.2f} s"
    if "pretrain_epochs" in node:
        before = max(1, min(node["pretrain_epochs"], round(PRETRAINING * seconds / first)))
        burst = 0.0
        if node.get("n_critic_burst", 1) > 1:  # timed at twice the usual number of critic steps
            step = max(0.0, clock.batch(2) - last / batches) / node["n_critic"]
            burst = step * (node["n_critic_burst"] - node["n_critic"])
        rest, epoch = seconds - BURSTS * burst, last + burst * batches / BETWEEN
        before = max(1, min(before, int(rest / (first + epoch))))  # a model gives its autoencoder no more than a half
        changed["pretrain_epochs"] = before
        total = before + max(before, round((rest - before * first) / epoch))
        takes += f", of the autoencoder {first:.2f} s" + (f", a burst {burst:.2f} s" if burst else "")
    elif (share := node.get("autoencoder_share")) is not None:
        total = max(2, round(seconds / (share * first + (1 - share) * last)))
        takes += f", of the autoencoder {first:.2f} s"
    else:
        total = max(1, round(seconds / last))
    if (warmup := node.get("warmup_steps")) is not None:
        changed["warmup_steps"] = min(warmup, int(WARMUP * total * batches))
    return written(f"{name} for {minutes:g} minutes of one processor: {takes}.", changed, rows, total)


def adding_up(node: Mapping[str, Any], data: EhrDataModule) -> float:
    """Return the seconds of one look and one pass over all rows."""
    model = build(node, "model", late=True)(schema=data.schema, seed=0)
    start = process_time()
    model.observe(data.filled)
    trainer(1, None).fit(model, data)
    return process_time() - start


def timed(node: Mapping[str, Any], data: EhrDataModule) -> Clock:
    """Train for a few batches, in five epochs if there are phases: two of an autoencoder and three after it."""
    phases = {"pretrain_epochs": 2} if "pretrain_epochs" in node else {}
    if node.get("n_critic_burst", 1) > 1:
        phases["n_critic_burst"] = 2 * node["n_critic"]
    model: SyntheticModel = build({**node, **phases}, "model", late=True)(schema=data.schema, seed=0)
    model.observe(data.filled)
    clock, batches = Clock(), max(BATCHES, WINDOWS * node.get("window", 0))
    trainer(5 if phases or "autoencoder_share" in node else 2, batches, clock).fit(model, data)
    return clock


def trainer(epochs: int, batches: int | None, *callbacks: pl.Callback) -> pl.Trainer:
    """Return a trainer that keeps nothing and says nothing."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    return pl.Trainer(
        max_epochs=epochs,
        limit_train_batches=batches,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )


def written(words: str, model: dict[str, Any], rows: int | None, epochs: int | None) -> str:
    """Return one budget as YAML."""
    lines = ["# @package _global_", f"# {words}"]
    if model:
        lines += ["model:", *(f"  {key}: {value}" for key, value in model.items())]
    if rows is not None:
        lines += ["data:", f"  batch_size: {rows}", "trainer:", f"  max_epochs: {epochs}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
