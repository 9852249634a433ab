"""Masked (absorbing) diffusion of codes and one-hot groups: what is hidden when, what that costs, how it is drawn.

Sahoo et al., Simple and Effective Masked Diffusion Language Models (MDLM), NeurIPS 2024; a schedule for each column as
in Shi et al., TabDiff, ICLR 2025.
"""

import torch
from torch import Tensor, nn

from ehrsynth.kinds import bits_nll
from ehrsynth.layout import Layout

NO_ENTROPY = 1e-9
SOONEST = 1e-3  # the least time that is trained, MDLM's sampling_eps


class Masking(nn.Module):
    """The variables of a record that are hidden and revealed: V codes and groups, a group as a whole.

    Variable j is hidden at time t in (0, 1] with probability t ** exponents[j]. While time runs from 1 to 0, those with
    exponents above one are revealed early: what varies most is known before what is rare is drawn.

    Args:
        layout: of the records. Missing indicators are no variables here; they belong to their numbers.
    """

    variable: Tensor  # [B], of each binary column; V for missing indicators
    first: Tensor  # [V], the first column of each
    group: Tensor  # [L], of each level
    entropy: Tensor  # [V], of each in the training rows
    exponents: Tensor  # [V]

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        codes = sum(encoded.kind == "bit" for encoded in layout.fields)
        self.codes, self.levels = slice(0, codes), slice(layout.bits.stop, layout.binary.stop)
        groups = list(layout.groups.values())
        self.groups, self.count = len(groups), codes + len(groups)
        variable = torch.full((layout.binary.stop,), self.count)
        variable[self.codes] = torch.arange(codes)
        for number, places in enumerate(groups, codes):
            variable[places] = number
        self.register_buffer("variable", variable, False)
        self.register_buffer("first", torch.tensor([*range(codes), *(places.start for places in groups)]).long(), False)
        self.register_buffer("group", variable[self.levels] - codes, False)
        self.register_buffer("entropy", torch.ones(self.count))
        self.register_buffer("exponents", torch.ones(self.count))

    def observe(self, shares: Tensor, spread: float) -> None:
        """Take the entropy of each variable from training shares [B], and exponents from 1 to ``spread`` by it."""
        told = -torch.xlogy(shares, shares)
        told[self.codes] -= torch.xlogy(1 - shares[self.codes], 1 - shares[self.codes])
        self.entropy.copy_(shares.new_zeros(self.count + 1).index_add(0, self.variable, told)[: self.count])
        if self.count:
            self.exponents.copy_(1 + (spread - 1) * self.entropy / self.entropy.max().clamp(min=NO_ENTROPY))

    def times(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw the times [n, V] above which each variable of a record is hidden."""
        uniform = torch.rand(n, self.count, generator=generator, device=self.exponents.device)
        return uniform ** (1 / self.exponents)

    def passes(self, hidden: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        """Draw the pass, of ``steps``, in which each variable [n, V] that is hidden is revealed, from 0.

        Their order is that of their times, but a pass reveals an equal share of their entropy, where one at equal times
        would reveal several telling ones at once, as if they were independent: those with more than a share have a pass
        of their own, and those that are rare come by the dozen.
        """
        order = self.times(len(hidden), generator).argsort(1, descending=True)
        told = ((self.entropy + NO_ENTROPY) * hidden).gather(1, order)
        total = told.cumsum(1)
        place = (total - told / 2) / total[:, -1:].clamp(min=NO_ENTROPY)
        return torch.empty_like(order).scatter(1, order, (place * steps).long().clamp(max=steps - 1))

    def bound(self, rows: Tensor, logits: Tensor, hidden: Tensor, time: Tensor) -> Tensor:
        """Return the integrand [n] of the bound, in nats: cross entropies of hidden variables, weighted by k / t.

        Args:
            rows: the binary part of records [n, B].
            logits: [n, B], of a network that saw them without what is hidden.
            hidden: bool [n, V].
            time: at which it is, [n, 1].
        """
        weights = hidden * self.exponents / time  # -alpha'(t) / (1 - alpha(t)) of alpha(t) = 1 - t ** k
        return (weights * self.negative_log_likelihood(rows, logits)).sum(1)

    def of_columns(self, which: Tensor) -> Tensor:
        """Spread bool [n, V] over the columns [n, B]; missing indicators are false."""
        return nn.functional.pad(which, (0, 1))[:, self.variable]

    def seen(self, rows: Tensor, hidden: Tensor) -> Tensor:
        """Return the binary part of records [n, B] without what is hidden, and what that is, [n, B + V]."""
        return torch.cat([rows.masked_fill(self.of_columns(hidden), 0.0), hidden.to(rows.dtype)], dim=1)

    def negative_log_likelihood(self, rows: Tensor, logits: Tensor) -> Tensor:
        """Return -log p [n, V] of each variable of records [n, B] in nats, all groups at once."""
        codes = bits_nll(rows[:, self.codes], logits[:, self.codes])
        levels = logits[:, self.levels].float()
        levels = levels - self._best(levels.detach())[:, self.group]
        none = levels.new_zeros(len(rows), self.groups)
        total = none.index_add(1, self.group, levels.exp())
        return torch.cat([codes, total.log() - none.index_add(1, self.group, rows[:, self.levels] * levels)], dim=1)

    def draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Draw all variables from logits [n, B] as columns [n, B]: the largest of each after noise (Gumbel)."""
        drawn, uniform = torch.zeros_like(logits), torch.rand(logits.shape, generator=generator, device=logits.device)
        drawn[:, self.codes] = (uniform[:, self.codes] < logits[:, self.codes].sigmoid()).to(logits.dtype)
        noisy = logits[:, self.levels] - (-uniform[:, self.levels].clamp(1e-30, 1 - 1e-7).log()).log()
        best = noisy == self._best(noisy)[:, self.group]
        places = torch.where(best, torch.arange(len(self.group), device=logits.device), len(self.group))
        winner = places.new_full((len(logits), self.groups), len(self.group))
        winner = winner.scatter_reduce(1, self.group.expand(len(logits), -1), places, "amin")  # the first, if tied
        return drawn.scatter(1, winner + self.levels.start, 1.0)

    def _best(self, levels: Tensor) -> Tensor:
        """Return the largest [n, G] of each group among levels [n, L]."""
        least = levels.new_full((len(levels), self.groups), -torch.inf)
        return least.scatter_reduce(1, self.group.expand(len(levels), -1), levels, "amax")


def spread_times(n: int, generator: torch.Generator) -> Tensor:
    """Draw times [n, 1], one in each n-th of (0, 1] (antithetic), so that a batch sees all of them."""
    return own_times(1, n, generator)[0]


def own_times(n: int, draws: int, generator: torch.Generator) -> Tensor:
    """Draw times [n, draws, 1] of records, each record's so spread whatever those of the others are."""
    start = torch.rand(n, 1, generator=generator, device=generator.device)
    time = (start + torch.arange(draws, device=generator.device) / max(draws, 1)) % 1
    return (SOONEST + (1 - SOONEST) * time)[..., None]
