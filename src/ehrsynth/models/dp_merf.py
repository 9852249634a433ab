"""One noisy mean of random features of patients, and a generator whose records have the same: DP-MERF.

Harder, Adamczewski and Park, DP-MERF: Differentially private mean embeddings with random features for practical
privacy-preserving data generation, AISTATS 2021: phi(x) has a norm of one at most, so the sum over patients of phi(x)
changes by one at most if a patient is added or removed; it is told once, with Gaussian noise, and the generator
descends the distance to it. It reads no patient any more, so its training costs nothing, however long it is.

The mean is of two parts, as in the paper for tables of mixed columns: the columns themselves, and Fourier features
cos(w x), sin(w x) of random w (Rahimi and Recht, NeurIPS 2007). Ours is that w looks at all columns, not at numbers
alone, for of codes nothing but what goes together is left to learn; that numbers are one of their public ranges; that
a patient of more codes than count has a smaller part in the columns themselves; and what the generator descends. It
says chances, not records, and the mean of exp(i w x) over records drawn by chances is a product over columns: that of a
category or number is exact, that of all codes exp(i mean - variance / 2) up to third moments of w x. So no draw adds
noise to its gradient. The squared distance is the product of what two halves of a batch are off by, which does not
reward records that are all alike.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim import Adam, Optimizer
from typing_extensions import override

from ehrsynth.accounting import Gaussian, rho_within
from ehrsynth.kinds import harden_bits, harden_levels
from ehrsynth.layout import Records, refuse_nan
from ehrsynth.ledger import Look
from ehrsynth.models import options
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.models.nn import mlp
from ehrsynth.models.noisy_looks import BLOCK, CODES, norm_sub, public_ranges
from ehrsynth.models.states import States
from ehrsynth.schema import Schema
from ehrsynth.seeding import secret_rng

FULL = 1 - 1e-6  # of rho that is spent
LEVEL = 0.5**0.5  # so that two levels are as far from one another as a code from none
RANGE = 3.0  # how far the ends of a number are from one another, by the same measure
NOTHING = 1e-16  # in place of Adam's 1e-8: squared distances are small, and so are their gradients


class DPMERF(SyntheticModel):
    """A generator whose records have, on average, the random features that patients have, as told once with noise.

    The schema must be public, or noisy. The number of patients is taken as known. Batches of the training are steps and
    nothing else: what is in them is not looked at.

    Args:
        schema: columns to generate.
        seed: of the random features, of weights and of the generator's noise; that of the release is secret.
        epsilon: that it spends.
        delta: at which; None is one over the number of patients.
        features: of a patient, beside the columns themselves.
        bandwidths: of the kernel, squared, in shares of the most columns of a patient that count: each has equally
            many features. Small ones see what goes together, large ones little but columns alone.
        linear: share of the columns themselves in the squared norm of a patient's features.
        bins: of a number, by its bounds.
        noise_width: dimensions of the generator's standard normal input.
        hidden: widths of its hidden layers.
        generated: records that it generates in a step.
        learning_rate: of Adam.

    Attributes:
        noise: a generator in place of the secret one, for tests alone.

    Raises:
        OptionError: an option is not a value that can work.
    """

    private = "release"
    precisions = ("32-true",)  # as every private training

    quantiles: Tensor  # see States
    edges: Tensor
    frequencies: Tensor  # [S, F], w of each state of each column, S as in ``_seen``
    embedding: Tensor  # [S + 2F], what was told

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        epsilon: float = 3.0,
        delta: float | None = None,
        features: int = 1000,
        bandwidths: Sequence[float] = (0.25, 1.0),
        linear: float = 0.3,
        bins: int = 16,
        noise_width: int = 64,
        hidden: Sequence[int] = (256, 256),
        generated: int = 512,
        learning_rate: float = 2e-3,
    ) -> None:
        super().__init__(schema=schema, seed=seed)
        self.save_hyperparameters(ignore=["schema"])
        options.positive(epsilon=epsilon, linear=linear, learning_rate=learning_rate)
        options.share(linear=linear)
        options.even(2, features=features, generated=generated)
        options.whole(2, bins=bins)
        options.whole(1, noise_width=noise_width)
        options.widths(hidden=hidden)
        options.scales(bandwidths=bandwidths)
        self.epsilon, self.delta, self.linear = epsilon, delta, linear
        self.noise_width, self.generated, self.learning_rate = noise_width, generated, learning_rate
        self.noise: torch.Generator | None = None
        quantiles, edges = public_ranges(schema, bins)
        self.register_buffer("quantiles", quantiles, persistent=False)
        self.register_buffer("edges", edges, persistent=False)
        states = self.states
        self.codes, others = states.codes, states.sizes[states.codes :]
        ends = torch.tensor([self.codes, *others]).cumsum(0).tolist()
        self.groups = [slice(*both) for both in pairwise(ends)]  # of all but codes
        self.most = min(CODES, self.codes) + len(others)
        with self.seeded_init():
            self.register_buffer("frequencies", self._drawn(features // 2, bandwidths), persistent=False)
            self.generator = mlp([noise_width, *hidden, ends[-1]])
        self.register_buffer("embedding", torch.zeros(ends[-1] + features))

    @property
    def states(self) -> States:
        """The columns as variables of a few states each."""
        return States(self.layout, self.quantiles, self.edges)

    def _drawn(self, number: int, bandwidths: Sequence[float]) -> Tensor:
        """Draw frequencies [S, F]; those of a number's ranges rise with it, so that near ones are alike."""
        rows = torch.randn(self.codes + sum(self.states.sizes[self.codes :]), number)
        for variable, group in enumerate(self.groups):
            numeric = variable - len(self.layout.groups)
            rows[group] *= LEVEL
            if numeric >= 0:
                ranges = self.states.ranges[numeric]
                rise = RANGE / LEVEL * torch.linspace(0, 1, ranges)[:, None]
                rows[group.start : group.start + ranges] = rise * rows[group.start]
        scales = torch.tensor([sqrt(bandwidths[i % len(bandwidths)] * self.most) for i in range(number)])
        return rows / scales

    def _seen(self, states: Tensor) -> Tensor:
        """Return states [n, d] as zeros and ones [n, S]: one for each code, one for each state of other columns."""
        sizes = (group.stop - group.start for group in self.groups)
        others = [one_hot(states[:, self.codes + i], size) for i, size in enumerate(sizes)]
        return torch.cat([states[:, : self.codes], *others], dim=1).float()

    def features_of(self, records: Records) -> Tensor:
        """Return phi [n, S + 2F] of records, float64; its norm is at most one."""
        seen = self._seen(self.states.of(records)).double()
        share = (self.most / seen.sum(1, keepdim=True).clamp(min=self.most)).sqrt()  # of who has more codes than count
        phase = seen @ self.frequencies.double()
        return self._weighed(seen * share, phase.cos(), phase.sin())

    def expected(self, chances: Tensor) -> Tensor:
        """Return phi [n, S + 2F] as it is on average over records drawn by chances [n, S], each column alone."""
        codes, w = chances[:, : self.codes], self.frequencies
        phase, variance = codes @ w[: self.codes], (codes - codes.square()) @ w[: self.codes].square()
        length = (-variance / 2).exp()
        cos, sin = length * phase.cos(), length * phase.sin()
        for group in self.groups:  # the law of a sum is the product of those of its parts, as complex numbers
            own_cos, own_sin = chances[:, group] @ w[group].cos(), chances[:, group] @ w[group].sin()
            cos, sin = cos * own_cos - sin * own_sin, cos * own_sin + sin * own_cos
        return self._weighed(chances, cos, sin)

    def _weighed(self, seen: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        fourier = sqrt((1 - self.linear) / cos.shape[1])
        return torch.cat([sqrt(self.linear / self.most) * seen, fourier * cos, fourier * sin], dim=1)

    @override
    @torch.no_grad()
    def observe(self, train: Records) -> None:
        """Spend epsilon: tell the mean of the features; start the generator at what it says of columns alone."""
        n = len(train)
        rho = FULL * rho_within(self.epsilon, self.delta or 1 / n)
        told = Gaussian((2 * rho) ** -0.5)
        total = torch.zeros(len(self.embedding), dtype=torch.float64)
        for part in train.blocks(BLOCK):
            total += self.features_of(part).sum(0)
        rng = self.noise or secret_rng()
        total += told.noise_multiplier * torch.randn(len(total), generator=rng, dtype=torch.float64)
        shares = self._margins(total, n)
        self.embedding.copy_(total / n)
        self.embedding[: len(shares)] = sqrt(self.linear / self.most) * shares
        output = self.generator[-1]
        assert isinstance(output, nn.Linear)
        output.bias.copy_(self._logits(shares.clamp(0.5 / n, 1 - 0.5 / n)))
        what = f"of {len(self.embedding)} features, whose norm is at most 1"
        self.looks = (Look("mean embedding", told, what),)

    def _margins(self, total: Tensor, n: int) -> Tensor:
        """Return the shares [S] of patients that the noisy sum tells of each state: none below 0, or above 1."""
        width = len(self.frequencies)
        counts = total[:width] / sqrt(self.linear / self.most)
        codes = counts[: self.codes]
        counts[: self.codes] = norm_sub(codes, float(codes.sum().clamp(0, self.codes * n))).clamp(max=n)
        for group in self.groups:
            counts[group] = norm_sub(counts[group], float(n))
        return (counts / n).float()

    def _logits(self, shares: Tensor) -> Tensor:
        """Return logits [S] whose ``_chances`` are these."""
        return torch.cat([shares[: self.codes].logit(), shares[self.codes :].log()])

    def _chances(self, logits: Tensor) -> Tensor:
        parts = [logits[:, : self.codes].sigmoid(), *(logits[:, group].softmax(1) for group in self.groups)]
        return torch.cat(parts, dim=1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return how far what is generated is from what was told, squared; ``batch`` is not looked at."""
        noise = torch.randn(self.generated, self.noise_width, generator=self.step_rng(batch_idx), device=self.device)
        found = self.expected(self._chances(self.generator(noise)))
        one, other = (half.mean(0) - self.embedding for half in found.chunk(2))
        distance = one @ other
        self.log_losses(batch_idx, distance=distance)
        return distance

    @override
    def compilable(self) -> Iterator[nn.Module]:
        yield self.generator

    def configure_optimizers(self) -> Optimizer:
        """Adam on the generator."""
        return Adam(self.parameters(), lr=self.learning_rate, eps=NOTHING, fused=True)

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw records [n, p]: noise, what the generator makes of it, then every column by its chances."""
        noise = torch.randn(n, self.noise_width, generator=generator, device=self.device)
        chances = self._chances(self.generator(noise))
        refuse_nan(chances)
        codes = harden_bits(chances[:, : self.codes], generator).long()
        others = [harden_levels(chances[:, group], generator).argmax(1, keepdim=True) for group in self.groups]
        return self.states.records(torch.cat([codes, *others], dim=1), generator, None)
