"""Accountants against reference numbers, and a ledger that claims no more than it knows."""

import json
import subprocess
import sys

import pytest

from ehrsynth.accounting import (
    Gaussian,
    SampledGaussian,
    ZeroConcentrated,
    epsilon_of,
    noise_multiplier,
    rho_within,
    steps_within,
)
from ehrsynth.errors import OptionError
from ehrsynth.ledger import Ledger, Look

# n, batch, steps, delta, noise multipliers of epsilon 1, 3, 8 by privacy loss distributions (dp-accounting 0.6.0)
REFERENCE = [
    (41_868, 512, 4_089, 1e-5, (3.026, 1.303, 0.788)),
    (45_057, 2_048, 2_201, 1e-5, (8.021, 3.078, 1.472)),
    (126_522, 512, 12_356, 1e-6, (2.041, 0.966, 0.657)),
]


@pytest.mark.parametrize(("n", "batch", "steps", "delta", "noises"), REFERENCE[1:2])
def test_noise_of_an_epsilon_is_that_of_the_reference(
    n: int, batch: int, steps: int, delta: float, noises: tuple[float, ...]
) -> None:
    found = noise_multiplier(3.0, delta, batch / n, steps)
    assert found == pytest.approx(noises[1], rel=0.01)
    assert epsilon_of([SampledGaussian(found, batch / n, steps)], delta).value <= 3.0


@pytest.mark.study
@pytest.mark.parametrize(("n", "batch", "steps", "delta", "noises"), REFERENCE)
def test_noise_of_every_epsilon_is_that_of_the_reference(
    n: int, batch: int, steps: int, delta: float, noises: tuple[float, ...]
) -> None:
    for epsilon, noise in zip((1.0, 3.0, 8.0), noises, strict=True):
        assert noise_multiplier(epsilon, delta, batch / n, steps) == pytest.approx(noise, rel=0.01)


def test_two_accountants_agree_and_the_looser_one_is_above() -> None:
    found = epsilon_of([SampledGaussian(1.0, 512 / 45_057, 4_401)], 1e-5)
    assert found.pld == pytest.approx(4.532, rel=0.01)
    assert found.rdp == pytest.approx(4.950, rel=0.01)
    assert found.pld <= found.rdp <= 1.15 * found.pld
    assert found.value == found.pld


def test_composed_releases_are_one_release_of_less_noise() -> None:
    four, one = epsilon_of([Gaussian(2.0, 4)], 1e-6), epsilon_of([Gaussian(1.0)], 1e-6)
    assert four.pld == pytest.approx(one.pld, rel=1e-3)
    assert epsilon_of([Gaussian(2.0, 2), Gaussian(2.0, 2)], 1e-6).rdp == pytest.approx(four.rdp)
    rho = epsilon_of([ZeroConcentrated(0.25), ZeroConcentrated(0.25)], 1e-6)
    assert rho.rdp == pytest.approx(one.rdp)  # a Gaussian of multiplier 1 has rho 1/2
    assert rho.pld is None
    assert epsilon_of([], 1e-6).value == 0
    assert epsilon_of([Gaussian(0.0)], 1e-6).value == float("inf")


@pytest.mark.parametrize(("epsilon", "rho"), [(1.0, 0.0306), (3.0, 0.2242), (10.0, 1.783)])
def test_rho_of_an_epsilon(epsilon: float, rho: float) -> None:
    assert rho_within(epsilon, 1e-5) == pytest.approx(rho, rel=0.01)


@pytest.mark.parametrize("epsilon", [0.005, 0.3, 3.0])
def test_rho_is_within_its_epsilon_and_hardly_below(epsilon: float) -> None:
    assert 0.999999 * epsilon < epsilon_of([ZeroConcentrated(rho_within(epsilon, 1e-5))], 1e-5).rdp <= epsilon


@pytest.mark.parametrize("epsilon", [0.002, 0.0005, 1e-6])
def test_so_it_is_where_the_bound_leaps(epsilon: float) -> None:
    """What changes nothing but by a chance of delta has an epsilon of zero, and a little more has one of 0.003."""
    rho = rho_within(epsilon, 1e-5)
    assert rho > 0
    assert epsilon_of([ZeroConcentrated(rho)], 1e-5).rdp <= epsilon


def test_steps_end_where_the_next_one_would_cost_too_much() -> None:
    rate, noise = 256 / 10_000, 1.1
    steps = steps_within(3.0, 1e-4, rate, noise)
    assert epsilon_of([SampledGaussian(noise, rate, steps)], 1e-4).rdp <= 3.0
    assert epsilon_of([SampledGaussian(noise, rate, steps + 1)], 1e-4).rdp > 3.0
    assert steps_within(0.01, 1e-5, 1.0, 0.5) == 0


LOOKS = (
    Look("bounds of numbers", "public", "schema.json"),
    Look("training", SampledGaussian(1.5, 0.01, 100), "DP-SGD"),
    Look("marginals", Gaussian(8.0, 3)),
    Look("choice of a tree", ZeroConcentrated(0.01)),
)


def test_a_ledger_comes_back_from_json_and_says_what_was_spent() -> None:
    ledger = Ledger(1e-5, LOOKS)
    content = json.loads(json.dumps(ledger.to_dict()))
    assert Ledger.from_dict(content) == ledger
    assert content["total"] == {"rdp": pytest.approx(ledger.total.rdp), "pld": None}
    assert content["unit"] == "one patient, all visits"
    assert "of all that was learned from patients" in str(ledger)
    forged = {**content, "spent": {"rdp": 0.001, "pld": 0.001}}
    assert Ledger.from_dict(forged).total.rdp > 0.1


def test_a_ledger_with_an_unaccounted_look_claims_no_total_and_names_every_one() -> None:
    ledger = Ledger(1e-5, LOOKS).after(Look("rare codes", "unaccounted"), Look("proposed rules", "unaccounted"))
    with pytest.raises(OptionError, match=r"no total epsilon can be claimed.*: rare codes, proposed rules;"):
        _ = ledger.total
    assert ledger.spent == Ledger(1e-5, LOOKS).total
    assert ledger.to_dict()["total"] is None
    assert str(ledger).endswith("learned without noise were rare codes, proposed rules")


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5])
def test_delta_is_a_chance(delta: float) -> None:
    with pytest.raises(OptionError, match=r"privacy.delta="):
        Ledger(delta)


def test_whoever_stands_in_for_stderr_stays_open() -> None:
    """The accountants' logging library closes what it writes to when logging is configured anew, as Hydra does."""
    code = """
import io, logging.config, sys
standing_in = sys.stderr = io.StringIO()
from ehrsynth.accounting import accountants
accountants()
sys.stderr = sys.__stderr__
logging.config.dictConfig({"version": 1})
print(standing_in.closed)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
