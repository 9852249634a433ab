"""A budget in seconds of the processor: what else the machine does shortens no training."""

from time import process_time
from typing import Any

import pytorch_lightning as pl


class ProcessorTime(pl.Callback):
    """End a training after the batch in which its process has spent so much, all its threads together.

    What scores take at checkpoints counts too, as it does for ``max_time``; and what was spent before an interruption.
    Of several processes the first decides.

    Args:
        seconds: of the processor.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.before, self.start = 0.0, process_time()

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return self.before + process_time() - self.start

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin."""
        self.start = process_time()

    def on_train_batch_end(self, trainer: pl.Trainer, *more: Any) -> None:
        """Look."""
        if trainer.strategy.broadcast(self.spent >= self.seconds):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"spent": self.spent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.before = float(state_dict["spent"])
