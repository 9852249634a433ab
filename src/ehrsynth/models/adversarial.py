"""What adversarial models share, whatever their networks."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ehrsynth.errors import OptionError
from ehrsynth.models import options
from ehrsynth.models.condition import Condition
from ehrsynth.models.heads import straight_through
from ehrsynth.models.labels import LabelledModel
from ehrsynth.models.nn import mean_over_processes
from ehrsynth.schema import Schema

Decoding = Literal["threshold", "bernoulli"]


class AdversarialModel(LabelledModel):
    """A generator of noise and labels against a network that judges its rows; they take turns.

    A subclass says in ``generated`` what its generator is, and in ``training_step`` whose turn it is.

    Args:
        schema: columns to generate.
        seed: of weights and noise.
        noise_width: z, dimensions of the standard normal input.
        decoding: ``threshold`` at one half, or ``bernoulli``: bits and levels are drawn from the outputs, for the
            judge too (with a straight-through gradient), so that it judges what is generated.
        condition: columns that the generator is told, so that it can be asked for them; the judge sees them in the row.
    """

    penalises_rules = True

    def __init__(
        self, *, schema: Schema, seed: int, noise_width: int, decoding: Decoding, condition: Sequence[str]
    ) -> None:
        super().__init__(schema=schema, seed=seed, condition=condition)
        options.whole(1, noise_width=noise_width)
        options.choice(get_args(Decoding), decoding=decoding)
        self.automatic_optimization = False
        self.noise_width, self.decoding = noise_width, decoding

    @abstractmethod
    def generated(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Return rows [n, p] of probabilities and values, in float32, from noise [n, z] and labels [n, k]."""

    @abstractmethod
    def judged(self, rows: Tensor) -> Tensor:
        """Return how real the judge finds each of the rows [n, p], as [n, 1]: more is more so."""

    def chances(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Return generated rows [n, p] of probabilities and values, with their labels [n, k]."""
        noise = torch.randn(len(labels), self.noise_width, generator=rng, device=self.device)
        return self.labels.imposed_on(self.generated(noise, labels), labels)

    def shown(self, chances: Tensor, rng: torch.Generator) -> Tensor:
        """Return what the judge is shown of generated rows: the outputs themselves, or draws from them."""
        return chances if self.decoding == "threshold" else straight_through(self.layout, chances, rng)

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw hard records [n, p], by threshold and largest level or by chance as ``decoding`` says."""
        chances = self.chances(self.labels.draw(n, generator, condition), generator)
        return self.layout.harden(chances, generator if self.decoding == "bernoulli" else None)

    def descend(self, optimizer: Any, loss: Tensor) -> None:
        """Take one step of an optimizer against a loss."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: torch.Generator
) -> Tensor:
    """Return the penalty that keeps a critic 1-Lipschitz between real and generated rows.

    Gulrajani et al. 2017, equation 3: the mean of (||grad D(x)||_2 - 1)^2 over points
    x = e * real + (1 - e) * fake, with one e ~ U(0, 1) per row. It is computed in float32 under mixed precision too:
    a norm of slopes, and its own slope, lose what matters in sixteen bits.

    Args:
        critic: maps rows [n, p] to scores [n, 1] or [n]. If a score depends on other rows too, as on the mean of the
            batch, what is measured is the slope of the sum of all scores.
        real: rows [n, p] of the training data.
        fake: generated rows [n, p], without a graph behind them.
        generator: draws e.

    Returns:
        A non-negative scalar whose own gradient reaches the critic's weights.
    """
    e = torch.rand(len(real), 1, generator=generator, device=real.device)
    between = torch.lerp(fake.float(), real, e).requires_grad_()
    with torch.autocast(real.device.type, enabled=False):
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty: Tensor = (torch.linalg.vector_norm(slope, dim=1) - 1).square().mean()
    return penalty


def beside_batch_mean(rows: Tensor) -> Tensor:
    """Return rows [n, 2p], each beside the mean of all: a discriminator then sees a batch that lacks variety.

    Minibatch averaging, section 3.4 of Choi et al. 2017.
    """
    return torch.cat([rows, mean_over_processes(rows).expand_as(rows)], dim=1)


@torch.no_grad()
def clamp_weights(network: nn.Module, bound: float) -> None:
    """Move every weight into [-bound, bound]: the Lipschitz constraint of the first Wasserstein GAN."""
    for weights in network.parameters():
        weights.clamp_(-bound, bound)


def require_two_rows(batch: Tensor, batch_idx: int, processes: int) -> None:
    """Raise an ``OptionError`` for a single row, which has no variance for BatchNorm.

    Args:
        batch: of one process, [n, p].
        batch_idx: its number in the epoch.
        processes: that share a batch.
    """
    if len(batch) < 2:
        option = "data.drop_last=false" if batch_idx else f"data.batch_size={processes}"
        raise OptionError(f"{option}: at least 2 rows per batch and process were expected, for BatchNorm; found 1")
