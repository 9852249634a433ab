"""Models whose checkpoint IS patient rows: anchors and planted risks, which learn nothing but keep everything."""

import torch
from torch import Tensor

from ehrsynth.bits import Bits, pack
from ehrsynth.layout import Records
from ehrsynth.models.gradient_free import GradientFree
from ehrsynth.schema import Schema


class KeptRows(GradientFree):
    """The training rows, kept. A missing value stays missing."""

    keeps_rows = True
    packed: Tensor  # see Bits
    values: Tensor

    def __init__(self, *, schema: Schema, seed: int) -> None:
        super().__init__(schema=schema, seed=seed)
        binary = self.layout.binary.stop
        self.register_buffer("packed", Bits.empty(0, binary).packed)
        self.register_buffer("values", torch.zeros(0, self.layout.width - binary))

    def observe(self, train: Records) -> None:
        """Keep every row."""
        self.packed = pack(train.bits).packed.to(self.device)
        self.values = train.with_gaps().values.to(self.device)

    @property
    def kept(self) -> Records:
        """The training rows."""
        return Records(self.layout, Bits(self.packed, self.layout.binary.stop), self.values)
