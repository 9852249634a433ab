"""One progress bar for the whole training, counted in epochs."""

from collections.abc import Callable

import pytorch_lightning as pl


class EpochProgress(pl.Callback):
    """Report finished epochs.

    Attributes:
        begun: whether the training, in this process, has got beyond what it takes from a checkpoint.

    Args:
        advance: called with the number of epochs done so far and the number to do (None: unknown).
    """

    def __init__(self, *, advance: Callable[[int, int | None], None]) -> None:
        self.advance = advance
        self.begun = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show where a resumed training stands."""
        self.begun = True
        self._report(trainer, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move the bar."""
        self._report(trainer, trainer.current_epoch + 1)

    def _report(self, trainer: pl.Trainer, done: int) -> None:
        if trainer.is_global_zero:
            self.advance(done, trainer.max_epochs if trainer.max_epochs != -1 else None)
