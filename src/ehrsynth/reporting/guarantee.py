"""What a private run guarantees, and what each look at patients spent of it, in words for card and privacy page."""

from dataclasses import dataclass

from ehrsynth.accounting import Gaussian, SampledGaussian, Unlikely, ZeroConcentrated, accountants, epsilon_of
from ehrsynth.ledger import COVERS, NEIGHBOURS, RANDOMNESS, UNIT, Ledger, Look
from ehrsynth.reporting.audited import Audited

NOT_AUDITED = (
    "none in this run; audit.canaries=500 plants records by coins and bounds epsilon from below, and a low bound proves"
    " nothing"
)


@dataclass(frozen=True)
class Release:
    """One look at patients.

    Attributes:
        what: was learned.
        how: by which mechanism, with what noise.
        alone: what it would spend if it were the only one, by Renyi divergences; None if it spends no epsilon.
        why: more about it.
    """

    what: str
    how: str
    alone: float | None
    why: str


@dataclass(frozen=True)
class Guarantee:
    """What a privacy officer must know of a private run.

    Attributes:
        facts: label -> text.
        releases: all looks, in their order; what they spend alone does not add up, and is more than their part.
    """

    facts: dict[str, str]
    releases: tuple[Release, ...]

    @classmethod
    def of(cls, ledger: Ledger, audited: Audited | None = None) -> "Guarantee":
        """Return what a ledger guarantees, beside what an audit found of it."""
        spent, by = ledger.spent, "" if ledger.spent.pld is None else f", PLD {ledger.spent.pld:.3f}"
        value = f"{spent.value:.3f} (RDP {spent.rdp:.3f}{by})"
        if ledger.unaccounted:
            unclaimed = ", ".join(ledger.unaccounted)
            value = f"no total is claimed: learned without noise were {unclaimed}; what had noise spent {value}"
        releases = tuple(_release(look, ledger.delta) for look in ledger.looks)
        noisy = [release.what for release in releases if release.alone is not None]
        facts = {
            "epsilon": value,
            "delta": f"{ledger.delta:.3g}",
            "unit": UNIT,
            "neighbours": NEIGHBOURS,
            "covers": COVERS,
            "mechanisms with noise": ", ".join(noisy) or "none",
            "sampling": _sampling(ledger),
            "accountants": accountants(),
            "seeds": RANDOMNESS,
            "audit": NOT_AUDITED if audited is None else str(audited),
        }
        return cls(facts, releases)


def _release(look: Look, delta: float) -> Release:
    mechanism = look.mechanism
    if isinstance(mechanism, str):
        how = {"public": "known without patients", "unaccounted": "WITHOUT NOISE"}[mechanism]
        return Release(look.what, how, None, look.why)
    if isinstance(mechanism, Unlikely):
        return Release(look.what, f"chance {mechanism.delta:.3g}, part of delta", None, look.why)
    alone = epsilon_of([mechanism], delta).rdp
    if isinstance(mechanism, Gaussian):
        times = f", {mechanism.times} times" if mechanism.times > 1 else ""
        noise = f"{mechanism.noise_multiplier:.3g} times a sensitivity of {mechanism.sensitivity:.3g} (L2){times}"
        return Release(look.what, f"Gaussian noise, {noise}", alone, look.why)
    if isinstance(mechanism, SampledGaussian):
        noise = f"{mechanism.noise_multiplier:.3g} times the clipped norm, {mechanism.steps} steps"
        return Release(look.what, f"Gaussian noise, {noise}, sample rate {mechanism.sample_rate:.3g}", alone, look.why)
    assert isinstance(mechanism, ZeroConcentrated)
    return Release(look.what, f"rho {mechanism.rho:.3g} of zero-concentrated privacy", alone, look.why)


def _sampling(ledger: Ledger) -> str:
    sampled = [look.mechanism for look in ledger.looks if isinstance(look.mechanism, SampledGaussian)]
    if not sampled:
        return "none: every patient is in each sum"
    rates = ", ".join(f"{mechanism.sample_rate:.3g} in {mechanism.steps} steps" for mechanism in sampled)
    return f"Poisson, each patient by a coin: {rates}; sums before the training are over all patients"
