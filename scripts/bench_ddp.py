"""Two processes (DDP over gloo, on the CPU) against one: rows per second of every model, and how alike the weights are.

    scripts/bench ddp
    scripts/bench ddp --models vae emr_wgan --steps 9

Both train on the same global batches of 512 rows from the same weights, each process with one thread. Noise is drawn by
every process from a stream of its own, so that of most models the weights cannot be equal: beside the cosine of their
movements in one and in two processes stands that of two trainings in one process which differ in their noise alone. As
alike is agreement; models without noise have one. ``ranks apart`` is the largest difference of a weight between the two
processes in the end, which must be zero.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch
from benching import BATCH, Clock, chosen, every_model, machine, made, opened, trainer, weights
from torch import Tensor
from torch.nn.functional import cosine_similarity

import ehrsynth
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.models.base import SyntheticModel

EPOCHS = 2  # a model of two phases has both in them
TWO = {"devices": 2, "strategy": "ddp_fork_find_unused_parameters_true"}


class Told(Clock):
    """Writes what the first process has to tell into a file: a process that was forked returns only weights."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop, and compare the weights of all processes."""
        super().on_train_end(trainer, pl_module)
        assert isinstance(pl_module, SyntheticModel)
        mine, apart = weights(pl_module), 0.0
        if trainer.world_size > 1:
            most, least = mine.clone(), mine.clone()
            torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
            torch.distributed.all_reduce(least, torch.distributed.ReduceOp.MIN)
            apart = float((most - least).max())
        if trainer.is_global_zero:
            self.path.write_text(json.dumps({"seconds": self.took.seconds, "apart": apart}), encoding="utf-8")


def trained(
    name: str, data: EhrDataModule, batches: int | None, path: Path, noise: int = 0, **more: Any
) -> tuple[Tensor, dict[str, float]]:
    """Return where the weights have moved, and what was told."""
    model = made(name, data)
    start = weights(model)
    model.seed += noise  # which is of draws alone, now that the weights are made
    trainer(EPOCHS, None if model.needs_every_row else batches, callbacks=[Told(path)], **more).fit(model, data)
    return weights(model) - start, json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Print a line a model."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--models", nargs="+")
    arguments.add_argument("--patients", type=int, default=8000, help="of the simulated hospital")
    arguments.add_argument("--steps", type=int, default=9, help="of an epoch; there are two")
    given = arguments.parse_args()
    models = chosen(given.models, every_model())
    print(f"two processes against one on {machine()}")
    with TemporaryDirectory() as folder:
        data = opened(ehrsynth.prepare("demo", n=given.patients, out=Path(folder) / "m"))
        batches = min(given.steps, len(data.filled) // BATCH)
        for name in models:
            model, path = made(name, data), Path(folder) / "told.json"
            if not any(tensor.requires_grad for tensor in model.parameters()):
                print(f"  {name:<20} one process: it has no weights that several could share", flush=True)
                continue
            one, alone = trained(name, data, batches, path)
            two, told = trained(name, data, batches, path, **TWO)
            other, _ = trained(name, data, batches, path, noise=1)
            rows = len(data.filled) if model.needs_every_row else batches * BATCH
            alike, usual = (float(cosine_similarity(one, moved, 0)) for moved in (two, other))
            rate, ratio = EPOCHS * rows / told["seconds"], alone["seconds"] / told["seconds"]
            print(
                f"  {name:<20} {rate:10,.0f} rows/s, {ratio:.2f} times those of one   cosine {alike:.4f}, of noise"
                f" alone {usual:.4f}   ranks apart {told['apart']:g}",
                flush=True,
            )


if __name__ == "__main__":
    main()
