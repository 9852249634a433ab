"""medBGAN: medGAN whose generator seeks the discriminator's decision boundary.

Baowaly et al., Synthesizing electronic health records using improved generative adversarial networks, JAMIA 2019,
with the loss of Hjelm et al., Boundary-Seeking Generative Adversarial Networks, ICLR 2018:

    min_G  1/2 E (log D(x_z) - log(1 - D(x_z)))^2.
"""

from torch import Tensor
from typing_extensions import override

from ehrsynth.models.medgan import MedGAN


class MedBGAN(MedGAN):
    """Networks, options and the discriminator's loss are those of ``MedGAN``."""

    @override
    def generator_loss(self, fake: Tensor) -> Tensor:
        """Return half the mean square of log D - log(1 - D), which is the logit of D."""
        return 0.5 * self.judged(fake).square().mean()
