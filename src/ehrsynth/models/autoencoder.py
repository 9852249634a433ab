"""Autoencoders: one that is trained before the model in its latent space, and the normal codes of variational ones."""

import torch
from torch import Tensor, nn

from ehrsynth.kinds import bits_nll, levels_nll
from ehrsynth.layout import Layout
from ehrsynth.models.heads import observed


class DenseAutoencoder(nn.Module):
    """One layer each way, as in Choi et al. 2017: tanh(W x + b) and logits W' h + b'."""

    def __init__(self, columns: int, latent_width: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(columns, latent_width), nn.Tanh())
        self.decoder = nn.Linear(latent_width, columns)

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits [n, p] of rows [n, p]."""
        logits: Tensor = self.decoder(self.encoder(rows))
        return logits


def reconstruction_loss(layout: Layout, rows: Tensor, logits: Tensor) -> Tensor:
    """Return the cross-entropy [n] of records [n, p] under logits [n, p], summed over columns.

    Values in [0, 1] count as chances, as the papers' code does, so that their mean is learned; those under a set
    missing indicator are filled in and do not count.
    """
    bits, values = layout.bits, layout.values
    total = bits_nll(rows[:, bits], logits[:, bits]).sum(1)
    for group in layout.groups.values():
        total = total + levels_nll(rows[:, group], logits[:, group])
    return total + (observed(layout, rows) * bits_nll(rows[:, values], logits[:, values])).sum(1)


def pretraining(wanted: int, epochs: int | None) -> int:
    """Return how many first epochs belong to the autoencoder: those wanted, at most half of a training's.

    Args:
        wanted: epochs.
        epochs: of the whole training; None or below zero is without end.
    """
    return wanted if epochs is None or epochs < 0 else min(wanted, epochs // 2)


def normal_draw(mean: Tensor, log_variance: Tensor, generator: torch.Generator) -> Tensor:
    """Draw latent vectors [n, d] of which gradients reach mean and variance."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    return mean + (0.5 * log_variance).exp() * noise


def kl_of_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the divergence [n] of normal latent vectors [n, d] from standard normal ones, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
