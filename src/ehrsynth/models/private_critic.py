"""Wasserstein GANs whose critic can learn from patients privately, while their generator learns from it alone.

In a private training only the critic sees patients, so only its steps are private (Xie et al., Differentially Private
Generative Adversarial Network, 2018). A gradient penalty would look at a patient twice over, between records that are
clipped apart. In its place each layer of the critic is kept at a spectral norm of one at most (Miyato et al., Spectral
Normalization for GANs, ICLR 2018), by dividing its weights after each step: that looks at the weights alone.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from ehrsynth.models.adversarial import AdversarialModel
from ehrsynth.models.heads import logits_of
from ehrsynth.models.noisy_looks import NoisyLooks
from ehrsynth.seeding import torch_rng

POWERS = 16  # iterations that find a spectral norm
FEWEST = 2  # rows that BatchNorm can normalise


class PrivateCritic(AdversarialModel):
    """A generator against a Wasserstein critic; of its two optimizers the first is the generator's.

    Attributes:
        generator: of rows.
        critic: rows [..., p] to scores [..., 1], each of its row alone.
        n_critic: updates of the critic before one of the generator.
    """

    private: Literal["gradients"] | None = "gradients"
    generator: nn.Module
    critic: nn.Module
    n_critic: int

    @property
    @abstractmethod
    def output(self) -> nn.Linear:
        """The last layer of the generator, whose outputs are activated as ``Layout.activate`` has it."""

    @abstractmethod
    def train_generator(self, optimizer: Any, labels: Tensor, rng: torch.Generator, batch_idx: int) -> None:
        """Take one step of the generator against the critic, with these labels [n, k]."""

    def generators_turn(self, batch_idx: int) -> bool:
        """Return whether the generator is trained after this batch."""
        done = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx + 1
        return done % self.n_critic == 0

    @override
    def judged(self, rows: Tensor) -> Tensor:
        found: Tensor = self.critic(rows)
        return found

    @property
    @override
    def noisy_looks(self) -> int:
        return 1

    @override
    def observe_noisily(self, noisy: NoisyLooks) -> None:
        """Start the generator's output at noisy means, for the critic has few steps to tell it of them."""
        self.output.bias.data.copy_(logits_of(self.layout, noisy.means()))

    @override
    def record_modules(self) -> Iterator[nn.Module]:
        yield self.critic

    @override
    def record_losses(self, batch: Tensor, generator: torch.Generator, draws: int) -> Tensor:
        self.generator.eval()
        with torch.no_grad():
            labels = batch.new_zeros(len(batch) * draws, 0)
            fake = self.shown(self.chances(labels, generator), generator).view(len(batch), draws, -1)
        # In one pass, so that what a record does to the critic is one gradient.
        scores = self.critic(torch.cat([batch.unsqueeze(1), fake], dim=1)).squeeze(2)
        losses: Tensor = scores[:, 1:].mean(1) - scores[:, 0]
        return losses

    @override
    def after_private_step(self, batch_idx: int, expected: int) -> None:
        """Divide the critic's layers by their spectral norms, and train the generator if it is its turn."""
        keep_spectral_norms(self.critic, torch_rng(self.seed, "power iteration", device=self.device))
        if self.generators_turn(batch_idx):
            optimizers = self.optimizers()
            assert isinstance(optimizers, list)
            labels = torch.zeros(max(expected, FEWEST), 0, device=self.device)
            rng = torch_rng(self.seed, "generator", self.current_epoch, batch_idx, device=self.device)
            self.train_generator(optimizers[0].optimizer, labels, rng, batch_idx)  # no private step, and not counted


@torch.no_grad()
def keep_spectral_norms(network: nn.Module, generator: torch.Generator) -> None:
    """Divide the weights of each linear layer whose spectral norm is above one by it; LayerNorm's lie within one.

    The norm is found by power iteration, ``POWERS`` times, from below: Miyato et al., ICLR 2018.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            weights = layer.weight
            start = torch.randn(weights.shape[1], generator=generator, device=weights.device)
            for _ in range(POWERS):
                start = nn.functional.normalize(weights.T @ (weights @ start), dim=0)
            weights /= (weights @ start).norm().clamp(min=1)
        elif isinstance(layer, nn.LayerNorm):
            layer.weight.clamp_(-1, 1)
