"""Classifier-free guidance: Ho and Salimans, 2022. No label is a row of zeros."""

import torch
from torch import Tensor

from ehrsynth.models.diffusion.precondition import LabelledNetwork, Network


def dropped(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return labels [n, k] of which a random ``share`` of the rows is left out, so that a network learns both cases."""
    if not labels.shape[1]:
        return labels
    kept = torch.rand(len(labels), 1, generator=generator, device=labels.device) >= share
    return labels * kept


def guided(network: LabelledNetwork, labels: Tensor, guidance: float) -> Network:
    """Return the network given labels [n, k], F = F(labels) + guidance (F(labels) - F(none)).

    The denoiser is linear in F, so this is D + guidance (D - D_none). No guidance is the distribution that was learned;
    more of it exaggerates what sets a label apart, at twice the calls.
    """

    def told(x: Tensor, noise: Tensor) -> Tensor:
        with_labels = network(x, noise, labels)
        if not guidance or not labels.shape[1]:
            return with_labels
        return with_labels + guidance * (with_labels - network(x, noise, torch.zeros_like(labels)))

    return told
