"""medGAN: a GAN in the latent space of an autoencoder, whose decoder turns latent vectors into records.

Choi et al., Generating Multi-label Discrete Patient Records using Generative Adversarial Networks, MLHC 2017. With
the autoencoder Dec(Enc(x)) trained first, generator G and discriminator D play

    max_D  E log D(x, x̄) + E log(1 - D(x_z, x̄_z)),        x_z = Dec(G(z)),  z ~ N(0, I),
    max_{G, Dec}  E log D(x_z, x̄_z),

where x̄ is the mean of the batch (minibatch averaging) and each layer of G adds its input to its output (shortcut
connections). The paper writes the second line as min E log(1 - D); its code maximises log D, and so does this.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam, Optimizer
from typing_extensions import override

from ehrsynth.errors import expect
from ehrsynth.models import options
from ehrsynth.models.adversarial import AdversarialModel, Decoding, beside_batch_mean, require_two_rows
from ehrsynth.models.autoencoder import DenseAutoencoder, pretraining, reconstruction_loss
from ehrsynth.models.nn import BatchNorm, glorot_, mlp
from ehrsynth.schema import Schema


class Generator(nn.Module):
    """Noise [n, z], and labels, to latent vectors: Linear, BatchNorm, ReLU layers, the last with tanh.

    A layer that keeps the width adds its input to its output, and so does the first if the noise is as wide. Labels
    enter by a linear map of them that is added to the noise.
    """

    def __init__(self, noise_width: int, widths: Sequence[int], labels: int) -> None:
        super().__init__()
        self.told = nn.Linear(labels, noise_width, bias=False) if labels else None
        self.layers = nn.ModuleList()
        for place, (before, width) in enumerate(pairwise([noise_width, *widths]), start=1):
            # TensorFlow keeps 0.99 of the running statistics per step, which torch writes as momentum 0.01.
            norm = BatchNorm(width, eps=1e-3, momentum=0.01)
            activation = nn.ReLU() if place < len(widths) else nn.Tanh()
            self.layers.append(nn.Sequential(nn.Linear(before, width, bias=False), norm, activation))

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Return latent vectors, as wide as the last layer."""
        x = noise if self.told is None else noise + self.told(labels)
        for layer in self.layers:
            out = layer(x)
            x = out + x if out.shape == x.shape else out
        return x


class MedGAN(AdversarialModel):
    """Autoencoder first, then each batch trains the discriminator ``n_critic`` times and the generator once.

    The paper's code draws a batch for every step of the discriminator; here these share the batch, with new noise
    each, so that an epoch is one pass over the rows and still has as many steps of the generator as theirs. It lets
    1,000 batches pass before generating, for BatchNorm's running statistics; here those of the training are kept.

    Args:
        schema: columns to generate.
        seed: of weights and noise.
        noise_width: z, dimensions of the standard normal input.
        latent_width: dimensions between encoder and decoder.
        hidden: widths of the generator's layers before the last one, which is ``latent_width`` wide.
        discriminator: widths of the discriminator's hidden layers.
        pretrain_epochs: first epochs, the autoencoder's; at most half of all.
        pretrain_batch: rows per step of the autoencoder.
        n_critic: discriminator updates per generator update.
        lr_autoencoder: Adam's learning rate in the first epochs.
        lr_generator: of the generator.
        lr_decoder: of the decoder while it learns with the generator.
        lr_discriminator: of the discriminator.
        momentum: of the optimizers: the decay of Adam's first moment, below 1.
        weight_decay: of every network, as a penalty ``weight_decay / 2`` times the sum of squares in the loss.
        decoding: ``threshold`` at one half, as published, or ``bernoulli``: bits and levels are drawn from the
            outputs, for the discriminator too (with a straight-through gradient), so that it judges what is generated.
        condition: columns that the generator is told, so that it can be asked for them.

    Raises:
        OptionError: an option is not a value that can work.
    """

    averages: ClassVar[bool] = True  # whether the discriminator sees the mean of the batch beside each row
    infers: ClassVar[bool] = True  # whether BatchNorm is in inference mode while the discriminator is trained

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
        decoding: Decoding = "threshold",
        condition: Sequence[str] = (),
    ) -> None:
        super().__init__(schema=schema, seed=seed, noise_width=noise_width, decoding=decoding, condition=condition)
        self.save_hyperparameters(ignore=["schema"])
        options.widths(hidden=hidden, discriminator=discriminator)
        options.whole(0, pretrain_epochs=pretrain_epochs)
        options.whole(1, latent_width=latent_width, pretrain_batch=pretrain_batch, n_critic=n_critic)
        options.positive(lr_autoencoder=lr_autoencoder, lr_generator=lr_generator, lr_discriminator=lr_discriminator)
        options.number(0, lr_decoder=lr_decoder, momentum=momentum, weight_decay=weight_decay)
        expect(momentum < 1, "model.momentum", momentum, "less than 1")
        self.latent_width, self.n_critic = latent_width, n_critic
        self.pretrain_epochs, self.pretrain_batch = pretrain_epochs, pretrain_batch
        self.lr_autoencoder, self.lr_generator, self.lr_decoder = lr_autoencoder, lr_generator, lr_decoder
        self.lr_discriminator, self.momentum, self.weight_decay = lr_discriminator, momentum, weight_decay
        with self.seeded_init():
            self.autoencoder = self.made_autoencoder()
            self.generator = Generator(noise_width, [*hidden, latent_width], self.labels.width).apply(glorot_)
            seen = (2 if self.averages else 1) * self.layout.width
            self.discriminator = mlp([seen, *discriminator, 1]).apply(glorot_)

    def made_autoencoder(self) -> nn.Module:
        """Return an autoencoder: rows to logits, with an ``encoder`` and a ``decoder`` of latent vectors."""
        return DenseAutoencoder(self.layout.width, self.latent_width).apply(glorot_)

    @override
    def generated(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Return what the decoder makes of the generator's latent vectors."""
        logits = self.autoencoder.get_submodule("decoder")(self.generator(noise, labels))
        return self.layout.activate(logits.float())

    @property
    def pretraining(self) -> int:
        """How many first epochs of this training are the autoencoder's."""
        return pretraining(self.pretrain_epochs, self.trainer.max_epochs)

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """Train the autoencoder on ``batch`` [n, p] in the first epochs, then discriminator and generator.

        Raises:
            OptionError: a single row, which has no variance for the generator's BatchNorm.
        """
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        of_autoencoder, of_generator, of_discriminator = optimizers
        if self.current_epoch < self.pretraining:
            self.autoencoder.train()
            for rows in batch.split(-(-self.pretrain_batch // self.trainer.world_size)):  # as one process has them
                loss = reconstruction_loss(self.layout, rows, self.autoencoder(rows)).mean()
                self.log_losses(batch_idx, autoencoder=loss)
                self.descend(of_autoencoder, loss)
            return

        require_two_rows(batch, batch_idx, self.trainer.world_size)
        rng, labels = self.step_rng(batch_idx), self.labels.of(batch)
        self._infer(self.infers)
        for _ in range(self.turns(batch_idx)):
            with torch.no_grad():
                fake = self.shown(self.chances(labels, rng), rng)
            loss = self.discriminator_loss(batch, fake, rng)
            self.log_losses(batch_idx, discriminator=loss)
            self.descend(of_discriminator, loss)
            self.after_discriminator()

        self._infer(False)
        self.toggle_optimizer(of_generator)
        chances = self.chances(labels, rng)
        loss = self.generator_loss(self.shown(chances, rng))
        self.log_losses(batch_idx, generator=loss)
        self.descend(of_generator, loss + self.rules_penalty(chances))
        self.untoggle_optimizer(of_generator)

    def turns(self, batch_idx: int) -> int:
        """Return how many updates of the discriminator come before the generator's in this batch."""
        return self.n_critic

    @override
    def judged(self, rows: Tensor) -> Tensor:
        """Return the logit of D [n, 1] of each row, given the mean of the batch if the model looks at it."""
        seen: Tensor = self.discriminator(beside_batch_mean(rows) if self.averages else rows)
        return seen

    def discriminator_loss(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
        """Return -E log D(real) - E log(1 - D(fake)), of rows [n, p]."""
        return softplus(-self.judged(real)).mean() + softplus(self.judged(fake)).mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        """Return -E log D(fake)."""
        return softplus(-self.judged(fake)).mean()

    def after_discriminator(self) -> None:
        """Do what follows each update of the discriminator; here nothing."""

    @override
    def compilable(self) -> Iterator[nn.Module]:
        yield from (self.generator, self.autoencoder.get_submodule("decoder"), self.discriminator)

    def configure_optimizers(self) -> list[Optimizer]:
        """Adam for the autoencoder, for the generator with the decoder, and for the discriminator."""
        with_decoder = [
            {"params": list(self.generator.parameters())},
            {"params": list(self.autoencoder.get_submodule("decoder").parameters()), "lr": self.lr_decoder},
        ]
        return [
            self.optimizer(self.autoencoder.parameters(), self.lr_autoencoder),
            self.optimizer(with_decoder, self.lr_generator),
            self.optimizer(self.discriminator.parameters(), self.lr_discriminator),
        ]

    def optimizer(self, weights: Any, learning_rate: float) -> Optimizer:
        """Return Adam; its weight decay adds to the gradient, as the penalty in the loss does."""
        betas = (self.momentum, 0.999)
        return Adam(weights, lr=learning_rate, betas=betas, weight_decay=self.weight_decay, fused=True)

    def _infer(self, infer: bool) -> None:
        self.generator.train(not infer)
        self.autoencoder.train(not infer)
