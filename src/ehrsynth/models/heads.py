"""From logits to records: how a decoder's output starts, how likely it makes a record, and what is drawn from it."""

import torch
from torch import Tensor

from ehrsynth.bits import ones
from ehrsynth.kinds import bits_nll, levels_nll, values_nll
from ehrsynth.layout import Layout, Records

SMALLEST_STD = 0.01  # of a scaled value: below 1 % of its range a density only rewards reproducing ties


def marginal_logits(train: Records) -> Tensor:
    """Return logits [p] whose ``Layout.activate`` gives the training means of every column.

    Means are drawn half a row towards uniform (additive smoothing), so that a code nobody or everybody
    has stays finite. What stands under a missing indicator is left out of the mean.
    """
    shares = (ones(train.bits).to(torch.float32) + 0.5) / (len(train) + 1)
    means = torch.cat([shares, train.with_gaps().values.nanmean(0)])
    return logits_of(train.layout, means, 1e-3 / (len(train) + 1))


def logits_of(layout: Layout, means: Tensor, least: float = 1e-6) -> Tensor:
    """Return logits [p] whose ``Layout.activate`` gives means [p] of every column; of bits and values ``least``."""
    logits = means.clamp(least, 1 - 1e-6).logit()
    for group in layout.groups.values():
        logits[group] = means[group].log()
    return logits


def deviation(log_std: Tensor) -> Tensor:
    """Return standard deviations of values around the decoder's mean, to be learned by their logarithm."""
    return SMALLEST_STD + log_std.exp()


def negative_log_likelihood(layout: Layout, rows: Tensor, logits: Tensor, std: Tensor) -> Tensor:
    """Return -log p(row | logits) [...] in nats, up to the constant of the Gaussian.

    Values under a set missing indicator do not count: they are filled in, not observed.

    Args:
        layout: of rows and logits.
        rows: encoded records [..., p], without missing values.
        logits: [..., p]; rows [n, 1, p] against logits [k, p] give [n, k].
        std: of the values around their means, [C].
    """
    rows, logits = torch.broadcast_tensors(rows, logits)
    total = bits_nll(rows[..., layout.bits], logits[..., layout.bits]).sum(-1)
    for group in layout.groups.values():
        total = total + levels_nll(rows[..., group], logits[..., group])
    density = values_nll(rows[..., layout.values], logits[..., layout.values], std)
    return total + (observed(layout, rows) * density).sum(-1)


def observed(layout: Layout, rows: Tensor) -> Tensor:
    """Return which values of records [..., p] are not filled in: 0 under a set missing indicator, else 1, [..., C]."""
    found = torch.ones_like(rows[..., layout.values])
    bits, values = layout.gaps(rows.device)
    if len(bits):
        found[..., values] = 1 - rows[..., bits]
    return found


def draw(layout: Layout, logits: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:
    """Draw hard records [n, p], every column from the likelihood that ``logits`` [n, p] give it."""
    rows = layout.activate(logits)
    values = rows[:, layout.values]
    values += std * torch.randn(values.shape, generator=generator, device=values.device)
    return layout.harden(rows, generator)


def straight_through(layout: Layout, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Return hard records drawn from probabilities [n, p], whose gradient passes to these as if nothing were drawn.

    NaN stays NaN, and so is found in the loss.
    """
    return rows + (layout.drawn(rows.detach().nan_to_num(), generator) - rows).detach()
