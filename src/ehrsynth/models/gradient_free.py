"""Models that learn by looking at the training records, not by descending a loss."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ehrsynth.models.base import SyntheticModel
from ehrsynth.schema import Schema


class GradientFree(SyntheticModel):
    """A model whose ``observe`` does all the learning; the Trainer runs and saves it like any other."""

    def __init__(self, *, schema: Schema, seed: int) -> None:
        super().__init__(schema=schema, seed=seed)
        self.automatic_optimization = False  # Lightning then accepts that there is nothing to optimise

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """Do nothing with the batch: everything was seen in ``observe``."""

    def configure_optimizers(self) -> list[Optimizer]:
        """Return none."""
        return []

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load what was observed, whose size may depend on the number of training rows."""
        for name, buffer in list(self.named_buffers()):
            if name in state_dict:
                setattr(self, name, buffer.new_empty(state_dict[name].shape))
        return super().load_state_dict(state_dict, strict, assign)
