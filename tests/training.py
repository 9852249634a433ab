"""Lightning as tests want it: on the processor if nothing else is asked for, silent, and leaving no files."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader

from ehrsynth.models.base import SyntheticModel


def quiet_trainer(epochs: int, accelerator: str = "cpu", **more: Any) -> pl.Trainer:
    """Return a trainer of so many epochs; ``more`` goes to Lightning."""
    return pl.Trainer(
        max_epochs=epochs,
        accelerator=accelerator,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **more,
    )


def fit(model: SyntheticModel, batches: Sequence[Tensor], epochs: int, **more: Any) -> pl.Trainer:
    """Train a model on these batches, each epoch in this order."""
    trainer = quiet_trainer(epochs, **more)
    trainer.fit(model, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return trainer
