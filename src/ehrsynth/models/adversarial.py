"""What adversarial models share, whatever their networks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ehrsynth.errors import OptionError


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
    return torch.cat([rows, rows.mean(0, keepdim=True).expand_as(rows)], dim=1)


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
