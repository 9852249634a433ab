"""Models that learn by adding up, not by descending a loss."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from ehrsynth.models.base import SyntheticModel
from ehrsynth.schema import Schema


class GradientFree(SyntheticModel):
    """A model for which an epoch is one pass over all training rows that adds up statistics, and then one update.

    So expectation maximisation has checkpoints, scores, sweeps and several processes like any training. A subclass says
    in ``statistics`` what is added up and in ``update`` what is learned from it; one that sees all it needs in
    ``observe`` says neither. What it learns lies in buffers, or in parameters if several processes shall train it, for
    torch refuses to spread a model that has none.
    """

    needs_every_row = True  # once per epoch, over all processes

    def __init__(self, *, schema: Schema, seed: int) -> None:
        super().__init__(schema=schema, seed=seed)
        self.automatic_optimization = False  # Lightning then accepts that there is nothing to optimise
        self._total: dict[str, Tensor] = {}

    def statistics(self, batch: Tensor) -> Mapping[str, Tensor]:
        """Return sums over the rows of ``batch`` [n, p], such that those of two batches can be added.

        Called without gradients. In float64 they hardly depend on how rows fall into batches and processes. Sums of one
        number, such as a loss, must be finite.
        """
        return {}

    def update(self, total: Mapping[str, Tensor]) -> None:
        """Learn from the sums over all training rows, also without gradients; ``log_losses`` takes losses here."""

    @override
    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._total = {}

    @override
    @torch.no_grad()
    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        if len(batch):  # the last batch may have fewer rows than there are processes
            found = self.statistics(batch)
            self.require_finite(batch_idx, **{name: sums for name, sums in found.items() if not sums.ndim})
            for name, sums in found.items():
                self._total[name] = self._total[name] + sums if name in self._total else sums

    @override
    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Tensor, batch_idx: int) -> None:
        """Update after the last batch, before any callback looks at what the epoch has learned."""
        if self.trainer.is_last_batch:
            reduce = self.trainer.strategy.reduce
            self.update({name: reduce(sums, reduce_op="sum") for name, sums in self._total.items()})
        super().on_train_batch_end(outputs, batch, batch_idx)

    @override
    def configure_optimizers(self) -> list[Optimizer]:
        return []

    @override
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load what was learned, whose size may depend on the number of training rows."""
        for name, buffer in list(self.named_buffers()):
            if name in state_dict:
                setattr(self, name, buffer.new_empty(state_dict[name].shape))
        return super().load_state_dict(state_dict, strict, assign)
