"""Say before the first batch what a model remarks about the budget it was given."""

from collections.abc import Callable

import pytorch_lightning as pl

from ehrsynth.models.base import SeededModel


class Remarks(pl.Callback):
    """Pass on a model's ``remarks``, once the number of steps is known.

    Args:
        warn: takes a line.
    """

    def __init__(self, *, warn: Callable[[str], None]) -> None:
        self.warn = warn

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Warn, before training."""
        assert isinstance(pl_module, SeededModel)
        if trainer.is_global_zero:
            for line in pl_module.remarks(trainer.estimated_stepping_batches):
                self.warn(line)
