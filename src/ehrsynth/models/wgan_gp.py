"""WGAN-GP as its authors run it, on the rows of the EHR matrix: plain networks, no normalisation.

Gulrajani et al., Improved Training of Wasserstein GANs, NeurIPS 2017, algorithm 1:

    critic:     E D(G(z)) - E D(x) + penalty * E (||grad D(x')||_2 - 1)^2,  x' between x and G(z),
    generator:  -E D(G(z)),  z ~ N(0, I).

Of discrete columns the critic sees the chances that the generator gives them, as in the paper's language model.

In a private training only the critic sees patients, so only its steps are private (Xie et al., Differentially Private
Generative Adversarial Network, 2018); the generator learns from it. A gradient penalty would look at a patient twice
over, between records that are clipped apart. In its place each layer of the critic is kept at a spectral norm of one at
most (Miyato et al., Spectral Normalization for GANs, ICLR 2018), by dividing its weights after each step: that looks
at the weights alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from typing_extensions import override

from ehrsynth.models import options
from ehrsynth.models.adversarial import AdversarialModel, Decoding, gradient_penalty, keep_spectral_norms
from ehrsynth.models.heads import logits_of
from ehrsynth.models.nn import glorot_, mlp
from ehrsynth.models.noisy_looks import NoisyLooks
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng


class WGANGP(AdversarialModel):
    """Two multilayer perceptrons; a batch is split into those that train the critic before the generator's turn.

    Args:
        schema: columns to generate.
        seed: of weights and noise.
        noise_width: z, dimensions of the standard normal input.
        hidden: widths of the hidden layers of both networks.
        learning_rate: of Adam, whose first moment has the decay 0 and the second 0.9.
        n_critic: parts of a batch; each is one update of the critic, and the generator's update follows. In a private
            training each batch is one update of the critic, and every so many one of the generator.
        penalty: weight of the gradient penalty; a private training has none.
        decoding: ``threshold`` at one half, or ``bernoulli``: bits and levels are drawn from the outputs, for the
            critic too (with a straight-through gradient), so that it judges what is generated.
        condition: columns that the generator is told, so that it can be asked for them.

    Raises:
        OptionError: an option is not a value that can work.
    """

    private = "gradients"
    averageable = True

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        noise_width: int = 128,
        hidden: Sequence[int] = (512, 512, 512),
        learning_rate: float = 1e-4,
        n_critic: int = 5,
        penalty: float = 10.0,
        decoding: Decoding = "threshold",
        condition: Sequence[str] = (),
    ) -> None:
        super().__init__(schema=schema, seed=seed, noise_width=noise_width, decoding=decoding, condition=condition)
        self.save_hyperparameters(ignore=["schema"])
        options.whole(1, n_critic=n_critic)
        options.widths(hidden=hidden)
        options.positive(learning_rate=learning_rate)
        options.number(0, penalty=penalty)
        self.n_critic, self.penalty, self.learning_rate = n_critic, penalty, learning_rate
        with self.seeded_init():
            self.generator = mlp([noise_width + self.labels.width, *hidden, self.layout.width]).apply(glorot_)
            self.critic = mlp([self.layout.width, *hidden, 1]).apply(glorot_)

    @override
    def generated(self, noise: Tensor, labels: Tensor) -> Tensor:
        return self.layout.activate(self.generator(torch.cat([noise, labels], dim=1)).float())

    @override
    def judged(self, rows: Tensor) -> Tensor:
        found: Tensor = self.critic(rows)
        return found

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """Train the critic on each of ``n_critic`` parts of ``batch`` [n, p], then the generator once."""
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        of_generator, of_critic = optimizers
        rng = self.step_rng(batch_idx)
        for real in batch.chunk(self.n_critic):
            labels = self.labels.of(real)
            with torch.no_grad():
                fake = self.shown(self.chances(labels, rng), rng)
            gap = self.critic(fake).mean() - self.critic(real).mean()
            loss = gap + self.penalty * gradient_penalty(self.critic, real, fake, rng)
            self.log_losses(batch_idx, critic=loss, wasserstein=-gap)
            self.descend(of_critic, loss)

        self._train_generator(of_generator, labels, rng, batch_idx)

    def _train_generator(self, optimizer: Any, labels: Tensor, rng: torch.Generator, batch_idx: int) -> None:
        self.toggle_optimizer(optimizer)
        chances = self.chances(labels, rng)
        loss = -self.critic(self.shown(chances, rng)).mean()
        self.log_losses(batch_idx, generator=loss)
        self.descend(optimizer, loss + self.rules_penalty(chances))
        self.untoggle_optimizer(optimizer)

    @property
    @override
    def noisy_looks(self) -> int:
        return 1

    @override
    def observe_noisily(self, noisy: NoisyLooks) -> None:
        """Start the generator's output at noisy means, for the critic has few steps to tell it of them."""
        output = self.generator[-1]
        assert isinstance(output, nn.Linear)
        output.bias.data.copy_(logits_of(self.layout, noisy.means()))

    @override
    def record_modules(self) -> Iterator[nn.Module]:
        yield self.critic

    @override
    def record_losses(self, batch: Tensor, generator: torch.Generator, draws: int) -> Tensor:
        with torch.no_grad():
            labels = batch.new_zeros(len(batch) * draws, 0)
            fake = self.shown(self.chances(labels, generator), generator).view(len(batch), draws, -1)
        # In one pass, so that what a record does to the critic is one gradient.
        scores: Tensor = self.critic(torch.cat([batch.unsqueeze(1), fake], dim=1)).squeeze(2)
        return scores[:, 1:].mean(1) - scores[:, 0]

    @override
    def after_private_step(self, batch_idx: int, expected: int) -> None:
        """Divide the critic's layers by their spectral norms, and train the generator if it is its turn."""
        keep_spectral_norms(self.critic, torch_rng(self.seed, "power iteration", device=self.device))
        done = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx + 1
        if done % self.n_critic == 0:
            optimizers = self.optimizers()
            assert isinstance(optimizers, list)
            labels = torch.zeros(expected, 0, device=self.device)
            rng = torch_rng(self.seed, "generator", self.current_epoch, batch_idx, device=self.device)
            self._train_generator(optimizers[0].optimizer, labels, rng, batch_idx)  # no private step, and not counted

    @override
    def compilable(self) -> Iterator[nn.Module]:
        yield self.generator  # the slope of the critic is differentiated once more

    def configure_optimizers(self) -> list[Optimizer]:
        """Adam without momentum for both networks."""
        networks = (self.generator, self.critic)
        return [Adam(network.parameters(), lr=self.learning_rate, betas=(0.0, 0.9), fused=True) for network in networks]
