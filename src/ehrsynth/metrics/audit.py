"""Audit in one run: canaries that were planted by coins are guessed, and epsilon cannot be less than guesses show.

Steinke, Nasr and Jagielski, Privacy auditing with one (1) training run, NeurIPS 2023, theorem 3.1. A bound from below
proves nothing about how private a generator is; one above the epsilon that is claimed proves that the claim is wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from ehrsynth.bits import unpack
from ehrsynth.layout import Records
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points, nearest

Canary = Literal["random", "rare_pair", "all_rare"]
LARGEST = 50.0  # epsilon that is looked for
PRECISION = 1e-3
FEWEST = 3  # codes of a canary of rare ones


@dataclass(frozen=True)
class Audit:
    """What guesses about planted records show.

    Attributes:
        canaries: planted or left out, each by a fair coin.
        guesses: made; of the other canaries the attack is less sure.
        correct: of these.
        epsilon: what cannot be less, at the confidence that was asked for.
        most: what the same number of guesses would have shown had all been right: an audit cannot certify more.
    """

    canaries: int
    guesses: int
    correct: int
    epsilon: float
    most: float

    def __str__(self) -> str:
        """Say the bound beside what could have been found."""
        return (
            f"epsilon is at least {self.epsilon:.2f} ({self.correct} of {self.guesses} guesses right about"
            f" {self.canaries} canaries; had all been right, at least {self.most:.2f})"
        )


def p_value(epsilon: float, canaries: int, guesses: int, correct: int, delta: float) -> float:
    """Return the chance of so many correct guesses, or more, if the training was (epsilon, delta) private.

    It is beta + 2 m delta alpha, beta = P[B >= v] of B ~ Bin(r, e^eps / (1 + e^eps)), alpha the largest of
    (P[B >= v - i] - beta) / i over i >= 1, of m canaries, r guesses and v correct ones.
    """
    right = 1 / (1 + np.exp(-epsilon))
    beta = binom.sf(correct - 1, guesses, right)
    fewer = np.arange(1, correct + 1)
    alpha = ((binom.sf(correct - fewer - 1, guesses, right) - beta) / fewer).max(initial=0.0)
    return float(min(1.0, beta + 2 * canaries * delta * alpha))


def least_epsilon(canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95) -> float:
    """Return the largest epsilon that so many correct guesses exclude; 0 if they exclude none.

    Args:
        canaries: each planted by a fair coin.
        guesses: of them, the others abstained from.
        correct: guesses.
        delta: at which epsilon is asked for.
        confidence: of the exclusion.
    """
    low, high = 0.0, LARGEST
    if p_value(low, canaries, guesses, correct, delta) > 1 - confidence:
        return 0.0
    while high - low > PRECISION:
        middle = (low + high) / 2
        excluded = p_value(middle, canaries, guesses, correct, delta) <= 1 - confidence
        low, high = (middle, high) if excluded else (low, middle)
    return low


def audit_of_scores(
    scores: Tensor, planted: Tensor, delta: float, guesses: int | None = None, confidence: float = 0.95
) -> Audit:
    """Guess that the canaries of the highest scores were planted and those of the lowest were not.

    Args:
        scores: [m], higher for what is rather thought to have been planted; they must not depend on the coins but
            through what was trained.
        planted: bool [m], how the coins fell.
        delta: at which epsilon is asked for.
        guesses: how many to make, decided before; half of them are of planted ones. All by default.
        confidence: of the bound.
    """
    m = len(scores)
    made = m if guesses is None else min(guesses, m)
    order = scores.argsort(stable=True)
    lowest, highest = order[: made // 2], order[m - (made - made // 2) :]
    correct = int((~planted[lowest]).sum() + planted[highest].sum())
    bounds = (least_epsilon(m, made, right, delta, confidence) for right in (correct, made))
    return Audit(m, made, correct, *bounds)


def audit_of_release(
    train: Records,
    release: Callable[[Records], Records],
    *,
    kind: Canary,
    canaries: int,
    delta: float,
    generator: torch.Generator,
    guesses: int | None = None,
) -> Audit:
    """Plant canaries in training records, and guess from what is released which of them are there.

    Args:
        train: training records.
        release: learns from records, the planted ones at the end, and returns synthetic ones.
        kind: of the canaries, see ``canaries_of``.
        canaries: how many to toss a coin for.
        delta: at which epsilon is asked for.
        generator: of canaries and coins; the release must have streams of its own.
        guesses: see ``audit_of_scores``.
    """
    made = canaries_of(train, kind, canaries, generator)
    planted = torch.rand(canaries, generator=generator) < 0.5
    synthetic = release(Records.joined([train, made[planted.nonzero().flatten()]]))
    means = observed_means(train.values)
    apart, _ = nearest(Points.of(made, means), Points.of(synthetic, means))
    return audit_of_scores(-apart, planted, delta, guesses)


def canaries_of(train: Records, kind: Canary, n: int, generator: torch.Generator) -> Records:
    """Return records that nobody is: training records with other codes.

    ``random`` has as many codes as the record, drawn evenly from all; ``rare_pair`` has its codes, but one less, and
    two of the rarer half; ``all_rare`` has as many of the rarer half, at least three.

    Args:
        train: training records.
        kind: of codes.
        n: records.
        generator: of the draws.
    """
    assert kind in get_args(Canary)
    layout = train.layout
    codes = torch.tensor([i for i, field in enumerate(layout.fields) if field.kind == "bit"])
    chosen = train[torch.randint(len(train), (n,), generator=generator)]
    bits, shares = unpack(chosen.bits).clone(), torch.zeros(len(codes), dtype=torch.float64)
    for part in train.blocks(8192):
        shares += unpack(part.bits)[:, codes].sum(0)
    rarer = codes[shares.argsort(stable=True)[: max(1, len(codes) // 2)]]
    for row in bits:
        own = codes[row[codes] > 0]
        if kind == "rare_pair":
            if len(own):
                row[own[torch.randint(len(own), (1,), generator=generator)]] = 0
            row[_some(rarer, 2, generator)] = 1
        else:
            row[own] = 0
            number = max(len(own), FEWEST) if kind == "all_rare" else max(len(own), 1)
            row[_some(codes if kind == "random" else rarer, number, generator)] = 1
    return Records(layout, bits, chosen.values)


def _some(codes: Tensor, number: int, generator: torch.Generator) -> Tensor:
    return codes[torch.randperm(len(codes), generator=generator)[:number]]
