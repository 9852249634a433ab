"""Private trainings that are not: what tests of clipping, of noise and of audits must notice."""

from typing import Any

from ehrsynth.models.private import PrivateGradients


class NoiseOff(PrivateGradients):
    def setup(self, trainer: Any) -> None:
        super().setup(trainer)
        self.optimizers[0].noise_multiplier = 0.0


class ClippingOff(PrivateGradients):
    def setup(self, trainer: Any) -> None:
        super().setup(trainer)
        self.hooks.max_grad_norm = 1e9


class SensitivityHalved(PrivateGradients):
    def setup(self, trainer: Any) -> None:
        super().setup(trainer)
        self.optimizers[0].max_grad_norm /= 2
