"""What mechanisms spend together: Renyi and privacy loss accountants, of ``dp-accounting``.

Mironov, Renyi differential privacy, CSF 2017, and Mironov, Talwar, Zhang, Renyi DP of the sampled Gaussian mechanism,
2019; Doroshenko et al., Connect the dots: tighter discrete approximations of privacy loss distributions, PETS 2022.
Neighbours differ by one patient who is there or not (add/remove); sampling is Poisson, each patient by a coin.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from math import inf
from types import ModuleType
from typing import Any

from scipy.optimize import brentq

from ehrsynth.errors import OptionError

PRECISION = 1e-3  # to which a noise multiplier is found, relative
LEAST_NOISE = 0.1  # multipliers below it are no privacy, and accountants no help
MOST_NOISE = 1e7


@dataclass(frozen=True)
class Gaussian:
    """Gaussian noise on sums, ``times`` over.

    Attributes:
        noise_multiplier: standard deviation of the noise divided by the most that one patient can change (L2).
        times: releases of this kind.
        sensitivity: the most that one patient can change, in units of the sums; the deviation of their noise is so many
            times the multiplier.
    """

    noise_multiplier: float
    times: int = 1
    sensitivity: float = 1.0


@dataclass(frozen=True)
class SampledGaussian:
    """The steps of DP-SGD: Gaussian noise on a sum over patients of whom each takes part by a coin.

    Attributes:
        noise_multiplier: standard deviation of the noise divided by the norm that gradients are clipped to.
        sample_rate: chance of a patient to take part in a step.
        steps: taken.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int


@dataclass(frozen=True)
class ZeroConcentrated:
    """Any mechanism of rho-zCDP, Bun and Steinke, TCC 2016; an exponential mechanism of epsilon has epsilon^2 / 8."""

    rho: float


@dataclass(frozen=True)
class Unlikely:
    """What tells a patient apart with a chance of ``delta`` at most, and else nothing: it is part of delta."""

    delta: float


Mechanism = Gaussian | SampledGaussian | ZeroConcentrated | Unlikely


@dataclass(frozen=True)
class Epsilon:
    """An epsilon at a delta by two accountants, each an upper bound.

    Attributes:
        rdp: by Renyi divergences.
        pld: by privacy loss distributions, which are tighter; None if some mechanism is known by its rho alone.
    """

    rdp: float
    pld: float | None

    @property
    def value(self) -> float:
        """The smaller of the two bounds."""
        return self.rdp if self.pld is None else min(self.rdp, self.pld)


def epsilon_of(mechanisms: Sequence[Mechanism], delta: float) -> Epsilon:
    """Return what mechanisms spend together.

    Raises:
        OptionError: the accountants are not installed.
    """
    if not mechanisms:
        return Epsilon(0.0, 0.0)
    return Epsilon(_spent("rdp", mechanisms, delta), _spent("pld", mechanisms, delta) if _known(mechanisms) else None)


def noise_multiplier(
    epsilon: float, delta: float, sample_rate: float, steps: int, before: Sequence[Mechanism] = ()
) -> float:
    """Return the least noise multiplier of DP-SGD, up to a thousandth, that spends no more than ``epsilon``.

    It is found by privacy loss distributions, within what Renyi divergences say; by these alone if something ``before``
    is known by its rho.

    Args:
        epsilon: in all.
        delta: at which.
        sample_rate: chance of a patient to take part in a step.
        steps: of the training.
        before: what was spent already.

    Raises:
        OptionError: no noise is enough, or the accountants are not installed.
    """

    def over(accountant: str, noise: float) -> float:
        return _spent(accountant, [*before, SampledGaussian(noise, sample_rate, steps)], delta) - epsilon

    most = LEAST_NOISE
    while over("rdp", most) > 0:
        most *= 2
        if most > MOST_NOISE:
            raise OptionError(f"privacy.epsilon={epsilon:g}: no noise is enough for it at privacy.delta={delta:g}")
    if most == LEAST_NOISE:
        return most
    most = float(brentq(lambda noise: over("rdp", noise), most / 2, most, rtol=PRECISION)) * (1 + PRECISION)
    if not _known(before):
        return most
    least = most
    while over("pld", least) <= 0:
        least *= 0.9
    found = most
    if least < most:
        found = float(brentq(lambda noise: over("pld", noise), least, least / 0.9, rtol=PRECISION))
    while over("pld", found) > 0:  # the root lies within the precision to either side
        found *= 1 + PRECISION
    return found


def steps_within(
    epsilon: float, delta: float, sample_rate: float, noise: float, before: Sequence[Mechanism] = ()
) -> int:
    """Return how many steps of DP-SGD at a noise multiplier spend no more than ``epsilon``; 0 if one is too much."""

    def fits(steps: int) -> bool:
        return _spent("rdp", [*before, SampledGaussian(noise, sample_rate, steps)], delta) <= epsilon

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high) and high < 2**40:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def rho_within(epsilon: float, delta: float, before: Sequence[Mechanism] = ()) -> float:
    """Return the largest rho whose zCDP is within (epsilon, delta), by Renyi divergences.

    Raises:
        OptionError: what was spent ``before`` is as much.
    """

    def over(rho: float) -> float:
        return _spent("rdp", [*before, ZeroConcentrated(rho)], delta) - epsilon

    if over(0.0) >= 0:
        raise OptionError(f"privacy.epsilon={epsilon:g}: nothing is left of it; a smaller privacy.schema leaves more")
    rho = float(brentq(over, 0.0, epsilon, xtol=1e-18, rtol=1e-12)) * (1 - 1e-9)  # a root is found to either side
    while over(rho) > 0:  # near zero the bound leaps, to what is no more than delta
        rho *= 1 - PRECISION
    return rho


def gaussian_within(epsilon: float, delta: float) -> float:
    """Return the noise multiplier of one release by Gaussian noise within (epsilon, delta)."""
    return float((2 * rho_within(epsilon, delta)) ** -0.5)


def accountants() -> str:
    """Return the name and version of the accountants, for a report."""
    _library()
    return f"dp-accounting {version('dp-accounting')}: RDP and PLD"


def _known(mechanisms: Sequence[Mechanism]) -> bool:
    """Return whether all have a privacy loss distribution, and not a rho alone."""
    return not any(isinstance(mechanism, ZeroConcentrated) for mechanism in mechanisms)


def _spent(accountant: str, mechanisms: Sequence[Mechanism], delta: float) -> float:
    return _composed(accountant, tuple(mechanisms), delta)


@lru_cache(maxsize=1024)  # sites ask the same in every round, and a ledger what its training has asked
def _composed(accountant: str, mechanisms: tuple[Mechanism, ...], delta: float) -> float:
    library = _library()
    if accountant == "rdp":
        from dp_accounting.rdp import RdpAccountant as Accountant
    else:
        from dp_accounting.pld import PLDAccountant as Accountant
    if any(isinstance(each, Gaussian | SampledGaussian) and each.noise_multiplier <= 0 for each in mechanisms):
        return inf
    left = delta - sum(mechanism.delta for mechanism in mechanisms if isinstance(mechanism, Unlikely))
    if left <= 0:
        return inf
    composed = Accountant()
    for mechanism in (each for each in mechanisms if not isinstance(each, Unlikely)):
        with _quiet():
            composed.compose(_event(library, mechanism))
    return float(composed.get_epsilon(left))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence notes about orders whose sums do not converge: they are left out, and the bound is of the others."""
    from absl import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _event(library: ModuleType, mechanism: Gaussian | SampledGaussian | ZeroConcentrated) -> Any:
    if isinstance(mechanism, ZeroConcentrated):
        return library.ZCDpEvent(mechanism.rho)
    noise = library.GaussianDpEvent(mechanism.noise_multiplier)
    if isinstance(mechanism, Gaussian):
        return library.SelfComposedDpEvent(noise, mechanism.times)
    sampled = library.PoissonSampledDpEvent(mechanism.sample_rate, noise)
    return library.SelfComposedDpEvent(sampled, mechanism.steps)


def _library() -> ModuleType:
    try:
        import dp_accounting
        from absl import logging
    except ImportError:
        raise OptionError(
            "privacy needs the package dp-accounting; pip install 'ehrsynth[privacy]' brings it"
        ) from None
    # Its handler closes its stream when logging is configured anew, unless that is the process's own: what stands
    # in for stderr when it is imported, in a notebook or a test, belongs to others.
    logging.get_absl_handler().python_handler.stream = sys.__stderr__
    library: ModuleType = dp_accounting
    return library
