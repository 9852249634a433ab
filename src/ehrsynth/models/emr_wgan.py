"""EMR-WGAN: a Wasserstein GAN directly on the rows of the EHR matrix.

Zhang et al., Ensuring electronic medical record simulation through better training, modeling, and
evaluation, JAMIA 2020; here in the form of the tutorial of Yan et al., JMIR AI 2024, and its code.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, RMSprop
from typing_extensions import override

from ehrsynth.errors import expect
from ehrsynth.layout import Layout, Records
from ehrsynth.models import options
from ehrsynth.models.adversarial import Decoding, gradient_penalty, require_two_rows
from ehrsynth.models.heads import marginal_logits
from ehrsynth.models.nn import BatchNorm, MovingAverage, ResidualStack, glorot_, glorot_heads_
from ehrsynth.models.noisy_looks import NoisyLooks
from ehrsynth.models.private_critic import PrivateCritic
from ehrsynth.schema import Schema


class Generator(nn.Module):
    """Noise and labels [n, z + k] to rows [n, p] in [0, 1]: residual Dense, BatchNorm, ReLU layers, then the heads."""

    def __init__(self, layout: Layout, noise_width: int, width: int, depth: int) -> None:
        super().__init__()
        self.layout = layout
        inputs = [noise_width] + [width] * (depth - 1)
        # Keras keeps 0.99 of the running statistics per step, which torch writes as momentum 0.01.
        self.trunk = ResidualStack(
            nn.Sequential(nn.Linear(before, width), BatchNorm(width, eps=1e-5, momentum=0.01), nn.ReLU())
            for before in inputs
        )
        self.heads = nn.Linear(width, layout.width)
        self.trunk.apply(glorot_)
        glorot_heads_(self.heads, layout)

    def forward(self, noise: Tensor) -> Tensor:
        """Return a softmax per one-hot group and a sigmoid elsewhere, in float32."""
        return self.layout.activate(self.heads(self.trunk(noise)).float())


class Critic(nn.Module):
    """Rows [n, p] to scores [n, 1]: Dense, ReLU, LayerNorm layers with residuals, then one unit."""

    def __init__(self, columns: int, width: int, depth: int) -> None:
        super().__init__()
        inputs = [columns] + [width] * (depth - 1)
        self.trunk = ResidualStack(
            nn.Sequential(nn.Linear(before, width), nn.ReLU(), nn.LayerNorm(width, eps=1e-5)) for before in inputs
        )
        self.score = nn.Linear(width, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """Return one unbounded score per row."""
        score: Tensor = self.score(self.trunk(rows))
        return score


class EMRWGAN(PrivateCritic):
    """Residual BatchNorm generator against a LayerNorm critic under the gradient penalty.

        critic:     E D(G(z)) - E D(x) + penalty * E (||grad D(between x and G(z))||_2 - 1)^2
        generator:  -E D(G(z))

    The paper describes the networks and the loss; sizes, learning rates and the order of updates are
    those of the tutorial's code: each batch trains the critic, with the generator's BatchNorm in
    inference mode, and every ``n_critic``-th batch of the whole training the generator. Of a private training, which
    has no penalty and starts the heads at noisy means, see ``private_critic``.

    Args:
        schema: columns to generate.
        seed: of weights and noise.
        noise_width: z, dimensions of the standard normal input.
        width: units of every hidden layer of both networks.
        depth: hidden layers of each network.
        lr_generator: RMSprop learning rate of the generator.
        lr_critic: RMSprop learning rate of the critic.
        n_critic: critic updates per generator update.
        penalty: weight of the gradient penalty.
        marginal_bias: start the heads at the training prevalences instead of one half; not in the paper.
        decoding: ``threshold`` at one half, as published, or ``bernoulli``: bits and levels are drawn from the
            outputs, for the critic too (with a straight-through gradient), so that it judges what is generated.
        ema_decay: of the moving average of the generator's weights that generates; 0 generates with the last weights,
            as published.
        condition: columns that the generator is told, so that it can be asked for them; the critic sees them in the
            row. Not in the paper.

    Raises:
        OptionError: an option is not a value that can work.
    """

    averageable = True
    generator: Generator

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        noise_width: int = 128,
        width: int = 384,
        depth: int = 5,
        lr_generator: float = 1e-5,
        lr_critic: float = 2e-5,
        n_critic: int = 1,
        penalty: float = 10.0,
        marginal_bias: bool = False,
        decoding: Decoding = "threshold",
        ema_decay: float = 0.0,
        condition: Sequence[str] = (),
    ) -> None:
        super().__init__(schema=schema, seed=seed, noise_width=noise_width, decoding=decoding, condition=condition)
        self.save_hyperparameters(ignore=["schema"])
        options.whole(1, width=width, depth=depth, n_critic=n_critic)
        options.positive(lr_generator=lr_generator, lr_critic=lr_critic)
        options.number(0, penalty=penalty, ema_decay=ema_decay)
        self.n_critic, self.penalty, self.marginal_bias = n_critic, penalty, marginal_bias
        self.lr_generator, self.lr_critic = lr_generator, lr_critic
        with self.seeded_init():
            self.generator = Generator(self.layout, noise_width + self.labels.width, width, depth)
            self.critic = Critic(self.layout.width, width, depth).apply(glorot_)
        self.average = MovingAverage(self.generator, ema_decay) if ema_decay else None

    @override
    def observe(self, train: Records) -> None:
        """Count labels, and start the heads at the training prevalences if ``marginal_bias`` asks for it."""
        super().observe(train)
        if self.marginal_bias:
            self.generator.heads.bias.data.copy_(marginal_logits(train))

    @property
    @override
    def output(self) -> nn.Linear:
        return self.generator.heads

    @override
    def observe_noisily(self, noisy: NoisyLooks) -> None:
        super().observe_noisily(noisy)
        if self.average is not None:
            self.average.module.load_state_dict(self.generator.state_dict())

    def on_train_start(self) -> None:
        """Raise an ``OptionError`` if the training is over before the generator's first turn."""
        if (epochs := self.trainer.max_epochs or -1) > 0:
            batches = epochs * int(self.trainer.num_training_batches)
            wanted = f"at most {batches}, the batches of the whole training,"
            expect(self.n_critic <= batches, "model.n_critic", self.n_critic, wanted)

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """Train the critic on ``batch`` [n, p], then, every ``n_critic`` batches of the training, the generator.

        Raises:
            OptionError: a single row, which has no variance for the generator's BatchNorm.
        """
        require_two_rows(batch, batch_idx, self.trainer.world_size)
        rng = self.step_rng(batch_idx)
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        of_generator, of_critic = optimizers
        labels = self.labels.of(batch)

        self.generator.eval()
        with torch.no_grad():
            fake = self.shown(self.chances(labels, rng), rng)
        loss = self.critic_loss(batch, fake, rng, batch_idx)
        self.descend(of_critic, loss)

        if self.generators_turn(batch_idx):
            self.train_generator(of_generator, labels, rng, batch_idx)

    @override
    def train_generator(self, optimizer: Any, labels: Tensor, rng: torch.Generator, batch_idx: int) -> None:
        self.generator.train()
        self.toggle_optimizer(optimizer)
        rows = self.shown(self.chances(labels, rng), rng)
        loss = self.generator_loss(rows, rng)
        self.log_losses(batch_idx, generator=loss)
        self.descend(optimizer, loss + self.rules_penalty(rows))
        if self.average is not None:
            self.average.update_parameters(self.generator)
        self.untoggle_optimizer(optimizer)

    def critic_loss(self, batch: Tensor, fake: Tensor, rng: torch.Generator, batch_idx: int) -> Tensor:
        """Return the loss of the critic on training rows and generated ones, both [n, p]."""
        gap = self.critic(fake).mean() - self.critic(batch).mean()
        loss: Tensor = gap + self.penalty * gradient_penalty(self.critic, batch, fake, rng)
        self.log_losses(batch_idx, critic=loss, wasserstein=-gap)
        return loss

    def generator_loss(self, rows: Tensor, rng: torch.Generator) -> Tensor:
        """Return the loss of the generator, which made ``rows`` [n, p]."""
        loss: Tensor = -self.critic(rows).mean()
        return loss

    @override
    def compilable(self) -> Iterator[nn.Module]:
        yield self.generator  # the slope of the critic is differentiated once more

    def configure_optimizers(self) -> list[Optimizer]:
        """RMSprop for both networks, with the decay 0.9 and epsilon 1e-7 of Keras (torch: 0.99 and 1e-8)."""
        return [
            RMSprop(self.generator.parameters(), lr=self.lr_generator, alpha=0.9, eps=1e-7),
            RMSprop(self.critic.parameters(), lr=self.lr_critic, alpha=0.9, eps=1e-7),
        ]

    @override
    def generated(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Return the generator's rows; outside training those of its averaged weights, if there are any."""
        network = self.generator if self.training or self.average is None else self.average
        rows: Tensor = network(torch.cat([noise, labels], dim=1))
        return rows
