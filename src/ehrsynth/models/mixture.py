"""A mixture of Bernoullis, categories and Gaussians, fitted by expectation maximisation.

Dempster, Laird and Rubin, Maximum likelihood from incomplete data via the EM algorithm, 1977; for bits as in McLachlan
and Peel, Finite Mixture Models, 2000. Within a component k of share pi_k every column is drawn alone:

    p(x) = sum_k pi_k prod_j p(x_j | k),    r_nk = pi_k p(x_n | k) / p(x_n),    mean_kj = sum_n r_nk x_nj / sum_n r_nk
"""

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.special import ndtr, ndtri
from typing_extensions import override

from ehrsynth.bits import ones
from ehrsynth.disclosure import LEAST
from ehrsynth.layout import Records
from ehrsynth.models import options
from ehrsynth.models.condition import Condition
from ehrsynth.models.gradient_free import GradientFree
from ehrsynth.models.quantiles import GRID, places_of, places_within, quantiles, values_at
from ehrsynth.models.told import EXPECTED
from ehrsynth.models.truncated import draw_within, log_chance
from ehrsynth.schema import Schema

BLOCK = 4096  # rows whose likelihood is computed at a time
FITTED = 10  # steps of proportional fitting
TINY = 1e-12  # what is less likely counts as much where a logarithm is needed
OUTERMOST = 0.5 / GRID  # place of the least value in a law
SMALLEST_STD = 0.3  # of normal scores: below it a density only rewards reproducing ties


class Mixture(GradientFree):
    """Components within which columns are independent; an epoch is one pass of expectation maximisation.

    After each pass the mixture has the training shares of all codes, levels and missing indicators, and the mean and
    variance of each number's scores, whatever the number of components. A number counts where it is observed; the
    chance that it is missing is one of a component's own. A number is Gaussian on the scale of normal scores, Phi^-1 of
    its place in its training law: so counts and values that many rows share come back as they are, and conditions are
    exact.

    What travels with a checkpoint are sums over ten training rows or more, as far as rows are of one component. Smaller
    components are pooled. So are, of each column, the components in which less than ten rows have a code or level, or
    lack a code, or have a number observed; that hardly any has it, where five or more were to be expected, stays. Thus
    a pass need not make the training rows likelier. Of a column alone travels what ``independent`` keeps.

    Args:
        schema: columns to generate.
        seed: of what the components start with.
        components: at most so many; passes may pool some.
        spread: of the logits that components start with, around those of the marginals.
        prior_rows: rows of the overall marginals added to each component, which keeps the marginals.

    Raises:
        OptionError: an option is not a value that can work.
    """

    overall: Tensor  # [B + 3 C], the training means of ``_features``
    quantiles: Tensor  # the law of each number

    def __init__(
        self, *, schema: Schema, seed: int = 0, components: int = 256, spread: float = 1.0, prior_rows: float = 5.0
    ) -> None:
        super().__init__(schema=schema, seed=seed)
        self.save_hyperparameters(ignore=["schema"])
        options.whole(1, components=components)
        options.positive(spread=spread)
        options.number(0, prior_rows=prior_rows)
        self.spread, self.prior_rows = spread, prior_rows
        binary, numbers = self.layout.binary.stop, self.layout.width - self.layout.binary.stop
        self.shares = nn.Parameter(torch.full((components,), 1 / components))
        self.chances = nn.Parameter(torch.full((components, binary), 0.5))  # of bits and levels
        self.means = nn.Parameter(torch.full((components, numbers), 0.5))  # of numbers where they are observed
        self.stds = nn.Parameter(torch.ones(components, numbers))
        self.register_buffer("overall", torch.zeros(binary + 3 * numbers, dtype=torch.float64))
        self.register_buffer("quantiles", torch.zeros(GRID, numbers))

    @torch.no_grad()
    def observe(self, train: Records) -> None:
        """Start every component near the marginals, apart from each other by chance."""
        self.quantiles.copy_(quantiles(train))
        values = train.with_gaps().values
        observed = (~values.isnan()).double()
        seen = observed.mean(0)
        scores = self.scores_of(values.nan_to_num(0.0)) * observed
        moments = [scores.pow(power).mean(0) for power in (1, 2)]
        self.overall.copy_(torch.cat([ones(train.bits) / len(train), seen, *moments]))
        self._start_apart()

    def _start_apart(self) -> None:
        """Start every component near the overall means, apart from each other by chance."""
        chances, mean, std = self._of_sums(torch.ones(1), self.overall[None])
        with self.seeded_init():
            around = chances.clamp(TINY, 1 - 1e-6).logit() + self.spread * torch.randn(self.chances.shape)
            self.means.copy_(mean + std * torch.randn(self.means.shape))
        self.chances.copy_(around.sigmoid())
        for group in self.layout.groups.values():
            self.chances[:, group] /= self.chances[:, group].sum(1, keepdim=True)
        self.stds.copy_(std.expand_as(self.stds))

    @property
    @override
    def conditionable(self) -> Collection[str]:
        return self.schema.names

    def scores_of(self, values: Tensor) -> Tensor:
        """Return normal scores [n, C] of numbers, float64; of a value that many rows share, that of their middle."""
        below, up_to = (places_of(values, self.quantiles, right).double() for right in (False, True))
        scores: Tensor = ndtri(((below + up_to) / 2).clamp(OUTERMOST, 1 - OUTERMOST))
        return scores.where(~values.isnan(), torch.nan)

    @override
    def log_likelihood(self, records: Records, known: Collection[str] = ()) -> Tensor:
        every = self.schema.names
        parts = [self._log_chance(part, every) - self._log_chance(part, known) for part in records.blocks(BLOCK)]
        return torch.cat(parts)

    def _log_chance(self, records: Records, columns: Collection[str]) -> Tensor:
        """Return the log of the chance [n] of what records have in some columns; of numbers, of their normal scores."""
        return self._by_component(Condition.of(records, columns).to(self.device)).logsumexp(1)

    def _by_component(self, condition: Condition) -> Tensor:
        """Return the log of the chance [n, K] to be of each component and to meet a condition on some columns."""
        return self.shares.double().log() + self._chance_of(condition)

    @override
    def statistics(self, batch: Tensor) -> dict[str, Tensor]:
        bits, numbers = self._features(batch)
        joint = self._joint(bits, numbers)
        weights = joint.softmax(1)
        sums = torch.cat([(weights.float().T @ bits).double(), weights.T @ numbers], dim=1)
        surprise = -joint.logsumexp(1).sum()
        return {
            "rows": torch.tensor(len(batch), device=batch.device),
            "total": surprise,
            "weights": weights.sum(0),
            "sums": sums,
        }

    @override
    def update(self, total: Mapping[str, Tensor]) -> None:
        self.log_losses(0, total=total["total"] / total["rows"])
        weights, sums = _pooled(total["weights"], total["sums"])
        chances, means, stds = self._of_sums(weights, sums)
        shares = weights + self.prior_rows * (weights > 0)
        for parameter, found in (
            (self.shares, shares / shares.sum()),
            (self.chances, chances),
            (self.means, means),
            (self.stds, stds),
        ):
            parameter.copy_(found)

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw hard records [n, p]: a component given what is asked for, then every column from it."""
        logs = self.shares.double().log()[None]
        if condition is not None:
            logs = logs + self._chance_of(condition)
        up_to = logs.softmax(1).cumsum(1)
        place = torch.rand(n, 1, generator=generator, device=self.device, dtype=torch.float64)
        chosen = (place * up_to[:, -1:] >= up_to).sum(1).clamp(max=len(self.shares) - 1)
        means, stds = self.means[chosen], self.stds[chosen]
        scores = means + stds * torch.randn(means.shape, generator=generator, device=self.device)
        if condition is not None and (ranges := _ranges(condition)):
            low, high = (end.expand(n, -1)[:, ranges] for end in self._ends(condition))
            places = torch.rand(n, len(ranges), generator=generator, device=self.device)
            drawn = draw_within(low, high, means[:, ranges], stds[:, ranges], places).float()
            given = condition.given[:, self.layout.values][:, ranges]
            scores[:, ranges] = drawn.where(given, scores[:, ranges])
        values = values_at(ndtr(scores).nan_to_num(), self.quantiles).where(~scores.isnan(), torch.nan)
        rows = self.layout.harden(torch.cat([self.chances[chosen], values], dim=1), generator)
        return rows if condition is None else condition.imposed_on(rows)

    def _features(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is added up: bits and levels [n, B]; whether numbers are observed, these, their squares."""
        values = self.scores_of(rows[:, self.layout.values])
        observed = torch.ones_like(values)
        for bit, value in self.layout.missing_bits():
            observed[:, value] = 1 - rows[:, bit]
        seen = observed * values
        return rows[:, self.layout.binary], torch.cat([observed, seen, seen.square()], dim=1)

    def _joint(self, bits: Tensor, numbers: Tensor) -> Tensor:
        """Return log pi_k p(x | k), float64 [n, K], of ``_features``."""
        present, absent = self._logs()
        mean, precision = self.means.double(), self.stds.double().pow(-2)
        of_seen = 0.5 * (precision.log() - math.log(2 * math.pi) - precision * mean.square())
        of_numbers = numbers @ torch.cat([of_seen, precision * mean, -0.5 * precision], dim=1).T
        of_bits = bits @ (present - absent).float().T
        return self.shares.double().log() + absent.sum(1) + of_bits + of_numbers

    def _logs(self) -> tuple[Tensor, Tensor]:
        """Return the logs of the chances of each bit and level [K, B], and of being without; 0 for levels."""
        chances = self.chances.double()
        absent = (1 - chances).clamp(min=TINY).log()
        absent[:, self.layout.bits.stop :] = 0.0
        return chances.clamp(min=TINY).log(), absent

    def _chance_of(self, condition: Condition) -> Tensor:
        """Return the log of how likely each component meets a condition, [1 or n, K]."""
        present, absent = self._logs()
        binary = self.layout.binary
        given, low = condition.given[:, binary].double(), condition.low[:, binary].double()
        found = (given * low) @ present.T + (given * (1 - low)) @ absent.T
        known = condition.given[:, self.layout.values]
        starts, ends = self._ends(condition)
        for at in known.any(0).nonzero().flatten().tolist():
            chance = log_chance(starts[:, at, None], ends[:, at, None], self.means[:, at], self.stds[:, at])
            found += chance.where(known[:, at, None], 0.0)
        return found

    def _ends(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """Return the normal scores [1 or n, C] between which the numbers lie that a condition asks for, float64."""
        low, high = (places.double() for places in places_within(condition, self.quantiles))
        single = low == high  # no number of rows shares it: a density, which at an end is that of the outermost
        low, high = (places.clamp(OUTERMOST, 1 - OUTERMOST).where(single, places) for places in (low, high))
        return ndtri(low), ndtri(high)

    def _of_sums(self, weights: Tensor, sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return chances [K, B], means and deviations [K, C] of the features' ``sums`` over ``weights`` rows each."""
        binary = self.layout.binary.stop
        prior = self.prior_rows * (weights > 0)[:, None]
        present = self._told(weights[:, None], sums[:, :binary]) + prior * self.overall[:binary]
        chances = present / (weights[:, None] + prior).clamp(min=TINY)
        parts = sums[:, binary:].unflatten(1, (3, -1))  # observed, their sum, that of their squares
        few = _few(parts[:, 0])[:, None]
        parts = parts + prior[:, None] * self.overall[binary:].unflatten(0, (3, -1))
        seen, first, second = torch.where(few, (parts * few).sum(0), parts).unbind(1)
        mean, square = (part / seen.clamp(min=TINY) for part in (first, second))
        return chances, mean, (square - mean.square()).clamp(min=SMALLEST_STD**2).sqrt()

    def _told(self, weights: Tensor, present: Tensor) -> Tensor:
        """Return how many rows of each component have each bit and level [K, B], those of few rows put together."""
        found = _spread(present, weights)
        bits = self.layout.bits
        found[:, bits] = weights - _spread(weights - found[:, bits], weights)
        for group in self.layout.groups.values():
            for _ in range(FITTED):  # until the levels of each component add up again
                found[:, group] *= weights / found[:, group].sum(1, keepdim=True).clamp(min=TINY)
                found[:, group] *= present[:, group].sum(0) / found[:, group].sum(0).clamp(min=TINY)
        return found


def _pooled(weights: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same with components of less than ``LEAST`` rows put together, until they have as many."""
    order = weights.argsort()
    small = int((weights < LEAST).sum())
    if not small:
        return weights, sums
    enough = int((weights[order].cumsum(0) < LEAST).sum()) + 1
    pooled = order[: max(small, enough)]
    weights, sums = weights.clone(), sums.clone()
    for part in (weights, sums):
        together = part[pooled].sum(0)
        part[pooled] = 0
        part[pooled[-1]] = together
    return weights, sums


def _few(rows: Tensor) -> Tensor:
    """Return which components have less than ``LEAST`` of ``rows`` [K, ...], and more until they have as many."""
    values, order = rows.sort(0)
    number = (values < LEAST).sum(0)
    enough = (values.cumsum(0) < LEAST).sum(0) + 1
    number = torch.where((values < LEAST).any(0), number.maximum(enough), 0)
    return order.argsort(0) < number


def _spread(rows: Tensor, weights: Tensor) -> Tensor:
    """Return ``rows`` [K, B] of components of so many ``weights`` [K, 1], those of few at the share they have together.

    If these are few together too, the other components have them; and if there are no others, all have one share. Where
    hardly any are found, though five or more were to be expected, that stays.
    """
    total = rows.sum(0)
    alone = weights * total / weights.sum().clamp(min=TINY)
    few = (rows < LEAST) & ~((rows < 0.5) & (alone >= EXPECTED))
    together = (rows * few).sum(0)
    share = (together / (weights * few).sum(0).clamp(min=TINY)).where(together >= LEAST, 0.0)
    found = torch.where(few, weights * share, rows)
    left = found.sum(0)
    return torch.where(left < LEAST, alone, found * total / left.clamp(min=TINY))


def _ranges(condition: Condition) -> list[int]:
    """Return which numbers a condition asks for by range."""
    numbers = condition.layout.values
    ranged = (condition.given & ~condition.fixed)[:, numbers].any(0)
    found: list[int] = ranged.nonzero().flatten().tolist()
    return found
