"""How a network is told the noise level, or the step."""

import math

import torch
from torch import Tensor, nn

LOWEST, HIGHEST = -2.0, 2.0  # octaves around one turn per unit of ln sigma / 4, which spans about -1 to 1


class Sinusoid(nn.Module):
    """Steps or noise conditions [n, 1] to [n, width]: cosines and sines of frequencies that fall by equal factors.

    An odd width ends in a zero.

    Args:
        width: of the embedding.
        endpoint: whether the frequencies, from 1 down, end in 1e-4 (EHRDiff's code) or one step before it (DDPM).
    """

    frequencies: Tensor

    def __init__(self, width: int, *, endpoint: bool = False) -> None:
        super().__init__()
        half = width // 2
        self.odd = width % 2
        falling = -math.log(1e4) * torch.arange(half) / max(half - endpoint, 1)
        self.register_buffer("frequencies", falling.exp(), persistent=False)

    def forward(self, noise: Tensor) -> Tensor:
        """Return the embedding of ``noise``."""
        angles = noise * self.frequencies
        return nn.functional.pad(torch.cat([angles.cos(), angles.sin()], dim=-1), (0, self.odd))


class RandomFourier(nn.Module):
    """Noise conditions [n, 1] to [n, 1 + width]: themselves, sines and cosines of random frequencies, never trained."""

    turns: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("turns", torch.randn(width // 2))

    def forward(self, noise: Tensor) -> Tensor:
        """Return the embedding of ``noise``."""
        angles = 2 * math.pi * noise * self.turns
        return torch.cat([noise, angles.sin(), angles.cos()], dim=-1)


class FourierFeatures(nn.Module):
    """Noise conditions [n, 1] to [n, width]: sines and cosines of fixed frequencies, spaced by equal ratios.

    Tancik et al., Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains, 2020.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        octaves = torch.linspace(LOWEST, HIGHEST, width // 2)
        self.register_buffer("frequencies", 2 * math.pi * 2**octaves, persistent=False)

    def forward(self, noise: Tensor) -> Tensor:
        """Return the features of ``noise``; the width is even."""
        angles = noise * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)
