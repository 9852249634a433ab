"""How a network is told the noise level, or the step."""

import math

import torch
from torch import Tensor, nn


class Sinusoid(nn.Module):
    """Steps or noise conditions [n, 1] to [n, width]: cosines and sines of frequencies from 1 down to nearly 1e-4.

    They fall by the same factor, 1e4 ** (2 / width), from one to the next, as in DDPM. An odd width ends in a zero.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.odd = width % 2
        self.register_buffer("frequencies", torch.exp(-math.log(1e4) * torch.arange(half) / max(half, 1)), False)

    def forward(self, noise: Tensor) -> Tensor:
        """Return the embedding of ``noise``."""
        angles = noise * self.frequencies
        return nn.functional.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, self.odd))
