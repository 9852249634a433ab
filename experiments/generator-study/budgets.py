"""Measure how many epochs of each model three minutes of one processor hold; write ``conf/budget/equal_budget``.

    OMP_NUM_THREADS=1 python experiments/generator-study/budgets.py MATRIX [MODEL ...]

Each model trains for a few batches of every phase it has, on one thread, and its epochs are what the budget divided by
the seconds of one comes to. Batches are lowered and warm-ups shortened where the published ones would leave hardly a
step; both stand in the file. What learns in one look, or by a few passes, keeps its own number.
"""

import sys
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
from ehrsynth.study.conf import compose, names

BUDGET = 180.0  # seconds of one processor
PRETRAINING = 0.2  # of it, where an autoencoder comes first
BATCH = 256  # at most: rows of a step
BATCHES = 12  # timed in each epoch
WARMUP = 0.05  # of all steps, at most
CONF = Path(__file__).parents[2] / "conf" / "budget" / "equal_budget"


class Clock(pl.Callback):
    """Seconds of processor that each batch takes, by epoch; the first batch of an epoch is not counted."""

    def __init__(self) -> None:
        self.start = 0.0
        self.seconds: dict[int, list[float]] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        self.start = process_time()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx:
            self.seconds.setdefault(trainer.current_epoch, []).append(process_time() - self.start)


def main(folder: str, *models: str) -> None:
    """Measure the models named, or all."""
    torch.set_num_threads(1)
    matrix = Matrix.open(Path(folder))
    CONF.mkdir(parents=True, exist_ok=True)
    for name in models or names("model"):
        budget(matrix, name)


def budget(matrix: Matrix, name: str) -> None:
    """Measure one model and write its file."""
    config = compose("train", {"model": name}, {})
    node, rows = config["model"], min(config["data"]["batch_size"], BATCH)
    data = EhrDataModule(matrix=matrix, batch_size=rows, seed=0)
    data.setup()
    changed: dict[str, Any] = {}
    phases = "pretrain_epochs" in node
    if phases:
        node = {**node, "pretrain_epochs": 2}
    model: SyntheticModel = build(node, "model", late=True)(schema=matrix.schema, seed=0)
    if isinstance(model, GradientFree):
        write(name, f"{name} as it is: it takes seconds.", {}, None, None)
        return
    model.observe(data.filled)
    clock, epochs = Clock(), 5
    pl.Trainer(
        max_epochs=epochs,
        limit_train_batches=BATCHES,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    ).fit(model, data)
    batches = len(data.filled) // rows
    first, last = (sum(clock.seconds[e]) / len(clock.seconds[e]) * batches for e in (0, epochs - 1))
    if phases:
        changed["pretrain_epochs"] = max(1, round(PRETRAINING * BUDGET / first))
        total = changed["pretrain_epochs"] + max(1, round((1 - PRETRAINING) * BUDGET / last))
    else:
        share = node.get("autoencoder_share", 0.0)
        total = max(2, round(BUDGET / (share * first + (1 - share) * last)))
    if (warmup := node.get("warmup_steps")) is not None:
        changed["warmup_steps"] = min(warmup, int(WARMUP * total * batches))
    seconds = f"{first:.1f} and {last:.1f}" if phases or "autoencoder_share" in node else f"{last:.1f}"
    write(name, f"{name} for three minutes of one processor: an epoch takes {seconds} s.", changed, rows, total)


def write(name: str, words: str, model: dict[str, Any], rows: int | None, epochs: int | None) -> None:
    """Write one budget."""
    lines = ["# @package _global_", f"# {words}"]
    if model:
        lines += ["model:", *(f"  {key}: {value}" for key, value in model.items())]
    if rows is not None:
        lines += ["data:", f"  batch_size: {rows}", "trainer:", f"  max_epochs: {epochs}"]
    (CONF / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(name, *lines[1:], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
