"""TensorFloat-32 while a model is trained, and float32 while it is looked at."""

import pytorch_lightning as pl
import torch


class TensorFloat(pl.Callback):
    """Let matrix products and convolutions of a GPU round their inputs to ten bits of mantissa in training steps.

    An Ampere or later GPU multiplies these several times faster, and sums in float32. Between epochs, when records are
    drawn and scored, and after the training products are of float32 again: distances of records need all digits. A CPU
    does not heed it.

    Args:
        allowed: whether they may; else they never do, whatever torch's own defaults are.
    """

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin."""
        _allow(self.allowed)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End, before other callbacks look at the model."""
        _allow(False)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """End also where training fails or is interrupted."""
        _allow(False)


def _allow(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
