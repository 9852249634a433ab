"""Training throughput: Lightning under the whole frame against a bare PyTorch loop doing the same steps.

Both sides call the model's own ``training_step`` on equally sized random batches of the same table; the bare loop has
no Trainer, no callbacks and no loggers. They alternate, and the median ratio of the repetitions is printed.
"""

import logging
import os
import platform
import statistics
import warnings
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from types import MethodType

import pytorch_lightning as pl
import torch

import ehrsynth
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.ehrdiff import EHRDiff
from ehrsynth.models.emr_wgan import EMRWGAN
from ehrsynth.models.vae import VAE

REPETITIONS = 5
BATCH = 512
EPOCHS = 3

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")  # Lightning's advice about workers and steps would drown the table


class Clock(pl.Callback):
    """Seconds between the first batch and the end of the last epoch: a Trainer's start-up is no throughput."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start."""
        self.start = perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop."""
        self.seconds = perf_counter() - self.start


def lightning(model: SyntheticModel, data: EhrDataModule) -> float:
    """Seconds of training under a Trainer."""
    clock = Clock()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    trainer.fit(model, data)
    return clock.seconds


def bare(model: SyntheticModel, table: torch.Tensor) -> float:
    """Seconds of the same steps without Lightning."""
    steps = len(table) // BATCH
    model.log = MethodType(lambda self, *args, **kwargs: None, model)
    model.manual_backward = MethodType(lambda self, loss: loss.backward(), model)
    model.toggle_optimizer = model.untoggle_optimizer = MethodType(lambda self, optimizer: None, model)
    budget = {"estimated_stepping_batches": steps * EPOCHS, "num_training_batches": steps, "current_epoch": 0}
    model._trainer = type("Budget", (), {**budget, "global_rank": 0, "world_size": 1})()
    made = model.configure_optimizers()
    optimizers = made if isinstance(made, list) else [made["optimizer"] if isinstance(made, dict) else made]
    model.optimizers = MethodType(lambda self: optimizers, model)
    model.train()
    start = perf_counter()
    for _ in range(EPOCHS):
        order = torch.randperm(len(table))
        for i in range(steps):
            loss = model.training_step(table[order[i * BATCH : (i + 1) * BATCH]], i)
            if model.automatic_optimization:
                optimizers[0].zero_grad()
                loss.backward()
                optimizers[0].step()
                if hasattr(model, "average"):
                    model.average.update_parameters(model.network)
    return perf_counter() - start


def main() -> None:
    """Print one line a model."""
    print(f"training on {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    with TemporaryDirectory() as folder:
        matrix = ehrsynth.prepare("demo", n=8000, out=Path(folder) / "m")
        data = EhrDataModule(matrix=matrix, batch_size=BATCH, seed=0)
        data.setup("fit")
        table = torch.cat(list(data.train_dataloader()))
        for cls in (EMRWGAN, VAE, EHRDiff):
            make = partial(cls, schema=matrix.schema, seed=0)
            pairs = [(lightning(make(), data), bare(make(), table)) for _ in range(REPETITIONS + 1)][1:]
            rows = EPOCHS * (len(table) // BATCH) * BATCH
            ratio = statistics.median(b / a for a, b in pairs)
            rate = rows / statistics.median(a for a, _ in pairs)
            print(f"  {cls.__name__:<8} {rate:10,.0f} rows/s   throughput relative to the bare loop {ratio:.3f}")


if __name__ == "__main__":
    main()
