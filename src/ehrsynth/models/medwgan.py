"""medWGAN: medGAN with the Wasserstein distance in place of the discriminator's log-likelihood.

Baowaly et al., Synthesizing electronic health records using improved generative adversarial networks, JAMIA 2019,
with the gradient penalty of Gulrajani et al. 2017:

    max_D  E D(x) - E D(x_z) - penalty E (||grad D(x')||_2 - 1)^2,        max_{G, Dec}  E D(x_z).

The medWGAN of the benchmark of Yan et al., Nature Communications 2022, has instead of the penalty every weight of D
clamped to [-0.01, 0.01] after each update (Arjovsky et al., Wasserstein GAN, ICML 2017): ``penalty=0 clamp=0.01``.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from ehrsynth.models import options
from ehrsynth.models.adversarial import Decoding, clamp_weights, gradient_penalty
from ehrsynth.models.medgan import MedGAN
from ehrsynth.schema import Schema


class MedWGAN(MedGAN):
    """Networks and the order of updates are those of ``MedGAN``; the discriminator is a critic without a sigmoid.

    The penalty is taken at one point between each real and generated row, as Gulrajani et al. write; the paper's code
    draws one share for the whole batch. The mean of the batch is that of these points.

    Args:
        schema: columns to generate.
        seed: of weights and noise.
        noise_width, latent_width, hidden, discriminator, pretrain_epochs, pretrain_batch, n_critic, lr_autoencoder,
            lr_generator, lr_decoder, lr_discriminator, momentum, weight_decay, decoding, condition: as for ``MedGAN``.
        penalty: weight of the gradient penalty; 0 for none.
        clamp: largest weight of the critic after each of its updates; 0 for no bound.

    Raises:
        OptionError: an option is not a value that can work.
    """

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        noise_width: int = 128,
        latent_width: int = 128,
        hidden: Sequence[int] = (128, 128),
        discriminator: Sequence[int] = (256, 128),
        pretrain_epochs: int = 100,
        pretrain_batch: int = 100,
        n_critic: int = 2,
        lr_autoencoder: float = 1e-3,
        lr_generator: float = 1e-3,
        lr_decoder: float = 1e-3,
        lr_discriminator: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 1e-3,
        penalty: float = 10.0,
        clamp: float = 0.0,
        decoding: Decoding = "threshold",
        condition: Sequence[str] = (),
    ) -> None:
        super().__init__(
            schema=schema,
            seed=seed,
            noise_width=noise_width,
            latent_width=latent_width,
            hidden=hidden,
            discriminator=discriminator,
            pretrain_epochs=pretrain_epochs,
            pretrain_batch=pretrain_batch,
            n_critic=n_critic,
            lr_autoencoder=lr_autoencoder,
            lr_generator=lr_generator,
            lr_decoder=lr_decoder,
            lr_discriminator=lr_discriminator,
            momentum=momentum,
            weight_decay=weight_decay,
            decoding=decoding,
            condition=condition,
        )
        options.number(0, penalty=penalty, clamp=clamp)
        self.penalty, self.clamp = penalty, clamp

    @override
    def discriminator_loss(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
        """Return E D(fake) - E D(real) and the weighted gradient penalty, of rows [n, p]."""
        gap = self.judged(fake).mean() - self.judged(real).mean()
        return gap + self.penalty * gradient_penalty(self.judged, real, fake, rng) if self.penalty else gap

    @override
    def generator_loss(self, fake: Tensor) -> Tensor:
        """Return -E D(fake)."""
        return -self.judged(fake).mean()

    @override
    def compilable(self) -> Iterator[nn.Module]:
        yield from (network for network in super().compilable() if not (self.penalty and network is self.discriminator))

    @override
    def after_discriminator(self) -> None:
        """Clamp the critic's weights if asked to."""
        if self.clamp:
            clamp_weights(self.discriminator, self.clamp)
