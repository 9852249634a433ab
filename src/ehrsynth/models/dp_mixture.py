"""A mixture by expectation maximisation over noisy sums: a guarantee for each patient, for tables of any width.

Park, Foulds, Chaudhuri and Welling, DP-EM: Differentially Private Expectation Maximization, AISTATS 2017: the sums of
the maximisation step, with Gaussian noise. A patient adds r_n (x) f(x_n) to them, whose norm is that of f(x_n) at most,
for responsibilities r_n add up to one, however many components there are.

Ours is what is made of the sums. Columns alone are known from one look of less noise, so sums by component tell only
how components differ from them, and that is shrunk by how much of it noise explains (James and Stein, 1961): a code too
rare for the budget is as frequent in every component. And few components say little of how many codes a patient has, so
these numbers are counted too, and records of the mixture weighed by theirs:

    p(record)  =  mixture(record) w(number of its codes)        see ``number_of_codes``
"""

import secrets

import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.accounting import Gaussian, rho_within
from ehrsynth.errors import expect
from ehrsynth.layout import Records
from ehrsynth.ledger import Look
from ehrsynth.models import options
from ehrsynth.models.condition import Condition
from ehrsynth.models.gradient_free import GradientFree
from ehrsynth.models.mixture import Mixture
from ehrsynth.models.noisy_looks import BLOCK, CODES, NoisyLooks, grid_of, norm_sub
from ehrsynth.models.number_of_codes import (
    BINS,
    counted_weights,
    drawn_by_weight,
    law_of_independent,
    number_in,
    places_of_codes,
)
from ehrsynth.schema import Schema

ALONE = 0.2  # of the rest of rho, for columns alone: their means, and laws of numbers
FULL = 1 - 1e-6  # of rho that is spent
FARTHEST = 2.0  # of a normal score, as it is added up
SURE = 4.0  # deviations of the noise, of the rows of a component that differs from all
MIDDLE = 0.5  # of the bounds
LEAST_STD = 0.3  # of normal scores
LEAST_PRIOR = 1e-3  # rows, so that a component of none is as all


class DPMixture(Mixture):
    """``Mixture`` of noisy sums, learned in so many passes in one look; conditions and likelihoods are exact too.

    The schema must be public, or noisy. The number of patients is taken as known. Components have means of their own
    of each number, but one deviation.

    Args:
        schema: columns to generate.
        seed: of what the components start with; noise has a secret seed of its own.
        epsilon: that it spends.
        delta: at which; None is one over the number of patients.
        components: fewer than without noise, which is as large in each.
        passes: of expectation maximisation, which share the budget.
        spread: of the logits that components start with, around those of the marginals.
        prior_rows: rows of the overall marginals added to each component.
        counted: share of rho for how many codes patients have; 0 takes what components make of it.

    Attributes:
        noise: a generator in place of the secret one, for tests alone.

    Raises:
        OptionError: an option is not a value that can work.
    """

    private = "release"
    update = GradientFree.update  # nothing more is learned in epochs
    log_tilts: Tensor  # log w of each number of codes, if they are counted

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        epsilon: float = 3.0,
        delta: float | None = None,
        components: int = 8,
        passes: int = 4,
        spread: float = 1.0,
        prior_rows: float = 5.0,
        counted: float = 0.05,
    ) -> None:
        super().__init__(schema=schema, seed=seed, components=components, spread=spread, prior_rows=prior_rows)
        self.save_hyperparameters(ignore=["schema"])
        options.positive(epsilon=epsilon)
        options.whole(1, passes=passes)
        expect(0 <= counted < 1, "model.counted", counted, "a share, at least 0 and less than 1,")
        self.epsilon, self.delta, self.passes, self.counted = epsilon, delta, passes, counted
        if counted:
            self.register_buffer("log_tilts", torch.zeros(BINS))
        self.noise: torch.Generator | None = None

    @override
    @torch.no_grad()
    def observe(self, train: Records) -> None:
        """Spend epsilon: columns alone, then sums by component, pass after pass, then numbers of codes."""
        train = Records(train.layout, train.bits, train.values.nan_to_num(MIDDLE))  # under a gap anything may stand
        n, layout = len(train), self.layout
        whole = FULL * rho_within(self.epsilon, self.delta or 1 / n)
        rho = (1 - self.counted) * whole
        rng = self.noise or torch.Generator().manual_seed(secrets.randbits(63))
        numbers = layout.width - layout.values.start
        noisy = NoisyLooks(train, (2 * ALONE * rho) ** -0.5, 1 + bool(numbers), rng)
        means = noisy.means()
        if numbers:
            self.quantiles.copy_(grid_of(noisy.laws(self.schema)))
        self._start_at(means)
        most = (1 + CODES + len(layout.groups) + numbers + len(layout.missing_bits())) ** 0.5
        told = Gaussian((self.passes / (2 * (1 - ALONE) * rho)) ** 0.5, self.passes, most)
        for _ in range(self.passes):
            total = torch.zeros(len(self.shares), 1 + layout.binary.stop + numbers, dtype=torch.float64)
            for part in train.blocks(BLOCK):
                total += self._sums(part.dense(), most)
            noise = torch.randn(total.shape, generator=rng, dtype=torch.float64)
            self._learn(total + most * told.noise_multiplier * noise, n, most * told.noise_multiplier)
        why = f"{len(self.shares)} components, {self.passes} passes"
        self.looks = (*noisy.looks, Look("sums by component", told, why))
        if self.counted:
            self._weigh(train, Gaussian((2 * self.counted * whole) ** -0.5), rng)

    def _weigh(self, train: Records, told: Gaussian, rng: torch.Generator) -> None:
        """Count how many codes patients have, and weigh records by it."""
        rows = (part.dense() for part in train.blocks(BLOCK))
        normals = torch.randn(BINS, generator=rng, dtype=torch.float64)
        law = self.shares.double() @ law_of_independent(self.chances[:, self._codes])
        weights, look = counted_weights(rows, self._codes, law, told, normals)
        self.log_tilts.copy_(weights)
        self.looks = (*self.looks, look)

    def _start_at(self, means: Tensor) -> None:
        """Start every component near the marginals, apart from each other by chance; means and laws tell these."""
        scores = self.scores_of(self.quantiles)
        moments = [scores.pow(power).mean(0) for power in (1, 2)]
        seen = torch.ones(scores.shape[1], dtype=torch.float64)
        for bit, value in self.layout.missing_bits():
            seen[value] = 1 - means[bit]
        bits = means[self.layout.binary].double()
        self.overall.copy_(torch.cat([bits, seen, *(seen * moment for moment in moments)]))
        self._start_apart()

    def _sums(self, rows: Tensor, most: float) -> Tensor:
        """Return what records [n, p] add up to by component: rows, bits and levels, and half of clipped scores."""
        bits, numbers = self._features(rows)
        weights = self._joint(bits, numbers).softmax(1)
        observed, seen, _ = numbers.unflatten(1, (3, -1)).unbind(1)
        scores = (seen / FARTHEST).clamp(-1, 1) * observed
        added = torch.cat([torch.ones(len(rows), 1), bits, scores], dim=1).double()
        found: Tensor = weights.T @ (added * (most / added.norm(dim=1, keepdim=True).clamp(min=most)))
        return found

    def _learn(self, sums: Tensor, n: int, deviation: float) -> None:
        """Take what noisy sums say of components beyond the marginals."""
        bits, numbers = self.layout.binary.stop, self.layout.width - self.layout.values.start
        weights = norm_sub(sums[:, 0], float(n))[:, None]
        observed = weights * self.overall[bits : bits + numbers]
        for bit, value in self.layout.missing_bits():
            observed[:, value] = weights[:, 0] - self._kept(sums[:, 1 + bit], weights, bit, deviation)
        present = self._kept(sums[:, 1 : 1 + bits], weights, slice(0, bits), deviation)
        prior = max(self.prior_rows, LEAST_PRIOR)
        chances = (present + prior * self.overall[:bits]) / (weights + prior)
        self.chances.copy_(chances.clamp(0, 1))
        for group in self.layout.groups.values():
            self.chances[:, group] /= self.chances[:, group].sum(1, keepdim=True).clamp(min=1e-6)
        seen, first, second = self.overall[bits:].unflatten(0, (3, -1))
        mean, square = first / seen.clamp(min=1e-6), second / seen.clamp(min=1e-6)
        totals = FARTHEST * sums[:, 1 + bits :]
        beyond = _shrunk(totals - observed * mean, weights, FARTHEST * deviation)
        means = mean + beyond / (observed + prior)
        self.means.copy_(means.clamp(-FARTHEST, FARTHEST))
        between = (weights / n * (self.means - mean).square()).sum(0)
        self.stds.copy_((square - mean.square() - between).clamp(min=LEAST_STD**2).sqrt().expand_as(self.stds))
        shares = weights[:, 0] + self.prior_rows * (weights[:, 0] > 0)
        self.shares.copy_(shares / shares.sum())

    def _kept(self, sums: Tensor, weights: Tensor, at: int | slice, deviation: float) -> Tensor:
        """Return rows of each component that have some bits, as far as noise does not explain how they differ."""
        usual = weights * self.overall[at] if isinstance(at, slice) else weights[:, 0] * self.overall[at]
        beyond = (sums - usual).view(len(weights), -1)
        found: Tensor = usual + _shrunk(beyond, weights, deviation).view(usual.shape)
        return found

    @property
    def _codes(self) -> Tensor:
        """The places of codes in records."""
        return places_of_codes(self.schema, self.layout).to(self.device)

    @override
    def _by_component(self, condition: Condition) -> Tensor:
        found = super()._by_component(condition)
        if not self.counted:
            return found
        codes = self._codes
        free = codes[~condition.given[0, codes]]  # of the same columns in all rows
        beside = torch.arange(BINS, device=self.device) + number_in(condition.low, codes)[:, None]
        weights = self.log_tilts.double().exp()[beside.clamp(max=BINS - 1)]
        return found + (weights @ law_of_independent(self.chances[:, free]).T).log()

    @override
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw hard records [n, p] of the mixture until they are taken by their weights."""
        if not self.counted:
            return super().sample(n, generator, condition)
        return drawn_by_weight(super().sample, self.log_tilts, self._codes, n, generator, condition)

    @override
    def statistics(self, batch: Tensor) -> dict[str, Tensor]:
        return {}


def _shrunk(beyond: Tensor, weights: Tensor, deviation: float) -> Tensor:
    """Return what differs by component [K, B], less what noise explains; of all components it adds up to nothing.

    Args:
        beyond: noisy sums less those of the marginals.
        weights: rows of each component [K, 1]; small ones are as all.
        deviation: of the noise.
    """
    large = weights >= SURE * deviation
    beyond = beyond * large
    held = (weights * large).sum().clamp(min=1)
    beyond = beyond - weights * large / held * beyond.sum(0)
    explained = float((large.sum() - 1).clamp(min=0)) * deviation**2
    return beyond * (1 - explained / beyond.square().sum(0).clamp(min=1e-9)).clamp(min=0)
