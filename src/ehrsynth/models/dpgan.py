"""The DPGAN form of the benchmark of Yan et al., Nature Communications 2022, WITHOUT its noise: it is not private.

Xie et al., Differentially Private Generative Adversarial Network, 2018, add Gaussian noise to the gradients of a
Wasserstein critic whose weights are clamped. The benchmark puts this beside medGAN's autoencoder. Its code adds noise
to the gradient of the batch and clips no record's, so no epsilon follows from it; here no noise is added at all, and
what is left is the network and the training that the private form starts from.
"""

from typing import Any, ClassVar

from torch.optim import Optimizer, RMSprop
from typing_extensions import override

from ehrsynth.models.medwgan import MedWGAN


class DPGAN(MedWGAN):
    """``MedWGAN`` with RMSprop and a critic that sees single rows. Nothing here protects a patient."""

    averages: ClassVar[bool] = False

    @override
    def optimizer(self, weights: Any, learning_rate: float) -> Optimizer:
        """Return RMSprop with the decay 0.9 and epsilon 1e-7 of Keras (torch: 0.99 and 1e-8)."""
        return RMSprop(
            weights, learning_rate, alpha=0.9, eps=1e-7, weight_decay=self.weight_decay, momentum=self.momentum
        )
