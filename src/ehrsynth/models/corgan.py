"""CorGAN: a GAN in the latent space of a 1-d convolutional autoencoder, which sees neighbouring columns together.

Torfi and Fox, CorGAN: Correlation-Capturing Convolutional Generative Adversarial Networks for Generating Synthetic
Healthcare Records, FLAIRS 2020. The critic is that of Arjovsky et al., Wasserstein GAN, ICML 2017, its weights clamped:

    max_D  E D(x) - E D(x_z),  |w| <= clamp,        max_{G, Dec}  E D(x_z),        x_z = Dec(G(z)),  z ~ N(0, I).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import pad
from typing_extensions import override

from ehrsynth.models import options
from ehrsynth.models.adversarial import Decoding
from ehrsynth.models.medwgan import MedWGAN
from ehrsynth.models.nn import BatchNorm
from ehrsynth.schema import Schema


class ConvAutoencoder(nn.Module):
    """Rows [n, p] to one vector each [n, latent width] and back, by six strided convolutions each way.

    The published kernels and strides fit 1,071 columns and no others. With the outermost stride s = 2 these are kernels
    of 2s + 1 = 5 and s + 1 = 3 columns, and 535s + 1 = 1,071; so any width p is padded with zeros to the least
    535s + 1 >= p, takes that s, and the inner layers stay as published: 536 columns, 1,071, 1,606, ... The published
    strides end before the row does: what lies beyond column 488s + 1 (977 of 1,071) is decoded, but not encoded.
    """

    def __init__(self, columns: int, latent_width: int) -> None:
        super().__init__()
        self.columns, stride = columns, max(1, -(-(columns - 1) // 535))
        self.padded = 535 * stride + 1
        channels = [1, *(max(1, latent_width // share) for share in (32, 16, 8, 4, 2)), latent_width]
        down = zip((2 * stride + 1, 5, 5, 5, 5, 8), (stride, 2, 3, 3, 3, 1), strict=True)
        up = zip((5, 5, 7, 7, 7, stride + 1), (1, 4, 4, 3, 2, stride), strict=True)
        encoder: list[nn.Module] = []
        for place, ((before, after), (kernel, step)) in enumerate(zip(pairwise(channels), down, strict=True)):
            norm = [BatchNorm(after)] if place else []
            encoder += [nn.Conv1d(before, after, kernel, step), *norm, nn.LeakyReLU(0.2)]
        decoder: list[nn.Module] = []
        for place, ((before, after), (kernel, step)) in enumerate(zip(pairwise(channels[::-1]), up, strict=True)):
            norm = [BatchNorm(after)] if place else []
            decoder += [nn.ConvTranspose1d(before, after, kernel, step), *norm, nn.ReLU()]
        self.encoder = nn.Sequential(*encoder[:-2], nn.Tanh())  # the last layer has no BatchNorm
        self.decoder = nn.Sequential(nn.Unflatten(1, (latent_width, 1)), *decoder[:-2], Cropped(columns))

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits [n, p] of rows [n, p]."""
        latent = self.encoder(pad(rows, (0, self.padded - self.columns)).unsqueeze(1)).squeeze(2)
        logits: Tensor = self.decoder(latent)
        return logits


class Cropped(nn.Module):
    """The first columns [n, p] of one channel [n, 1, wider]."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, x: Tensor) -> Tensor:
        """Leave out what was padded."""
        return x[:, 0, : self.columns]


def started(module: nn.Module) -> None:
    """Start a layer as the paper's code does, its BatchNorms too. For ``nn.Module.apply``."""
    if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class CorGAN(MedWGAN):
    """Networks and training of the paper's code for MIMIC-III; its critic looks at single rows, not at their mean.

    BatchNorm takes the statistics of the batch while the critic is trained too, as the code does.

    Args:
        schema: columns to generate.
        seed: of weights and noise.
        noise_width, hidden, discriminator, pretrain_epochs, pretrain_batch, lr_autoencoder, lr_generator, lr_decoder,
            lr_discriminator, momentum, weight_decay, decoding, condition: as for ``MedGAN``.
        latent_width: channels of the innermost convolution; those before have a half, a quarter, ... of it.
        n_critic: critic updates per generator update.
        n_critic_burst: critic updates before each of the generator's first 25 updates and every 500th one.
        penalty: weight of the gradient penalty, which the paper does not have; 0 for none.
        clamp: largest weight of the critic after each of its updates; 0 for no bound.

    Raises:
        OptionError: an option is not a value that can work.
    """

    averages: ClassVar[bool] = False
    infers: ClassVar[bool] = False

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        noise_width: int = 128,
        latent_width: int = 128,
        hidden: Sequence[int] = (128,),
        discriminator: Sequence[int] = (256, 256, 256),
        pretrain_epochs: int = 1,
        pretrain_batch: int = 512,
        n_critic: int = 5,
        n_critic_burst: int = 100,
        lr_autoencoder: float = 1e-3,
        lr_generator: float = 1e-3,
        lr_decoder: float = 1e-4,
        lr_discriminator: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        penalty: float = 0.0,
        clamp: float = 0.01,
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
            penalty=penalty,
            clamp=clamp,
            decoding=decoding,
            condition=condition,
        )
        options.whole(1, n_critic_burst=n_critic_burst)
        self.n_critic_burst = n_critic_burst

    @override
    def made_autoencoder(self) -> nn.Module:
        return ConvAutoencoder(self.layout.width, self.latent_width).apply(started)

    @override
    def turns(self, batch_idx: int) -> int:
        """Return how many critic updates come before the generator's in this batch: at times a burst of them."""
        done = (self.current_epoch - self.pretraining) * int(self.trainer.num_training_batches) + batch_idx
        return self.n_critic_burst if done < 25 or done % 500 == 0 else self.n_critic
