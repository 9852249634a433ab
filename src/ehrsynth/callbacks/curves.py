"""Keep the mean losses of every epoch, for the training curves of the report."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl

from ehrsynth.chunks import write_table


class LossCurves(pl.Callback):
    """Write ``losses.csv`` into a run folder: one row an epoch, one column a logged ``loss/...``."""

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the losses of the epoch before: a network that only has its turn later has none in this one."""
        for name in [name for name in trainer.callback_metrics if name.startswith("loss/")]:
            del trainer.callback_metrics[name]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the losses of the epoch."""
        losses = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("loss/")}
        if losses:
            self.epochs.append({"epoch": trainer.current_epoch + 1, **losses})

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the file also of a training that fails or is interrupted."""
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write the file; also when a finished training was only loaded again."""
        if trainer.is_global_zero and self.epochs:
            write_table(self.folder / "losses.csv", pd.DataFrame(self.epochs))

    def state_dict(self) -> dict[str, Any]:
        """Return the losses so far, so that a resumed run keeps them."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the losses of the run that is being resumed."""
        self.epochs = list(state_dict["epochs"])
