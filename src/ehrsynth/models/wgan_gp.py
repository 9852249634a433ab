"""WGAN-GP as its authors run it, on the rows of the EHR matrix: plain networks, no normalisation.

Gulrajani et al., Improved Training of Wasserstein GANs, NeurIPS 2017, algorithm 1:

    critic:     E D(G(z)) - E D(x) + penalty * E (||grad D(x')||_2 - 1)^2,  x' between x and G(z),
    generator:  -E D(G(z)),  z ~ N(0, I).

Of discrete columns the critic sees the chances that the generator gives them, as in the paper's language model.

Of a private training see ``private_critic``.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from typing_extensions import override

from ehrsynth.models import options
from ehrsynth.models.adversarial import Decoding, gradient_penalty
from ehrsynth.models.nn import glorot_, mlp
from ehrsynth.models.private_critic import PrivateCritic
from ehrsynth.schema import Schema


class WGANGP(PrivateCritic):
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

    averageable = True
    generator: nn.Sequential

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

    @property
    @override
    def output(self) -> nn.Linear:
        last = self.generator[-1]
        assert isinstance(last, nn.Linear)
        return last

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

        self.train_generator(of_generator, labels, rng, batch_idx)

    @override
    def train_generator(self, optimizer: Any, labels: Tensor, rng: torch.Generator, batch_idx: int) -> None:
        self.toggle_optimizer(optimizer)
        chances = self.chances(labels, rng)
        loss = -self.critic(self.shown(chances, rng)).mean()
        self.log_losses(batch_idx, generator=loss)
        self.descend(optimizer, loss + self.rules_penalty(chances))
        self.untoggle_optimizer(optimizer)

    @override
    def compilable(self) -> Iterator[nn.Module]:
        yield self.generator  # the slope of the critic is differentiated once more

    def configure_optimizers(self) -> list[Optimizer]:
        """Adam without momentum for both networks."""
        networks = (self.generator, self.critic)
        return [Adam(network.parameters(), lr=self.learning_rate, betas=(0.0, 0.9), fused=True) for network in networks]
