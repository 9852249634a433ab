"""What adversarial models share, whatever their networks."""

from collections.abc import Callable

import torch
from torch import Tensor


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: torch.Generator
) -> Tensor:
    """Return the penalty that keeps a critic 1-Lipschitz between real and generated rows.

    Gulrajani et al. 2017, equation 3: the mean of (||grad D(x)||_2 - 1)^2 over points
    x = e * real + (1 - e) * fake, with one e ~ U(0, 1) per row. It is computed in float32 under mixed precision too:
    a norm of slopes, and its own slope, lose what matters in sixteen bits.

    Args:
        critic: maps rows [n, p] to scores [n, 1] or [n], each row's score from that row alone.
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
