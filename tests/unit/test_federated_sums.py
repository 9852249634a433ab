"""Sums under masks, and the averages made of them, against cases computed by hand."""

import numpy as np
import pytest
import torch
from scipy import stats

from ehrsynth.errors import TrainingError
from ehrsynth.seeding import numpy_rng, secret_rng, torch_rng
from ehrsynth.study.federate.averaging import averaged, flattened, restored
from ehrsynth.study.federate.masks import LIMIT, fixed, masked, pair_seeds, real, secure_sum


def test_an_average_by_hand() -> None:
    """One patient with weights (1, -2) and three with (5, 6): (1 + 15) / 4 and (-2 + 18) / 4; a counter is rounded."""
    states = [
        {"w": torch.tensor([[1.0, -2.0]]), "n": torch.tensor(1)},
        {"w": torch.tensor([[5.0, 6.0]]), "n": torch.tensor(4)},
    ]
    found = averaged(states, [1, 3], torch_rng(0))
    assert torch.equal(found["w"], torch.tensor([[4.0, 4.0]]))
    assert torch.equal(found["n"], torch.tensor(3))  # 3.25
    assert found["n"].dtype == torch.int64


def test_an_average_equals_that_of_plain_sums() -> None:
    rng = torch_rng(1)
    states = [{"a": torch.randn(50, 3, generator=rng), "b": torch.randn(7, generator=rng)} for _ in range(4)]
    patients = [10, 200, 31, 5]
    found = averaged(states, patients, secret_rng())
    for name in ("a", "b"):
        plain = sum(n * state[name].double() for n, state in zip(patients, states, strict=True)) / sum(patients)
        assert torch.allclose(found[name].double(), plain, atol=1e-13, rtol=2.0**-24)  # what float32 rounds


def test_masks_leave_no_trace_whatever_they_are() -> None:
    states = [{"w": torch.randn(100, generator=torch_rng(2, k))} for k in range(3)]
    one, two = (averaged(states, [3, 4, 5], torch_rng(seed))["w"] for seed in (7, 8))
    assert torch.equal(one, two)


def test_the_average_of_one_site_is_its_own_to_the_bit() -> None:
    tiny = {"w": torch.tensor([1e-30, 3.3e-9, 0.1])}
    assert torch.equal(averaged([tiny], [9], torch_rng(0))["w"], tiny["w"])


def test_masked_words_cancel_exactly_and_tell_nothing_alone() -> None:
    """What a site sends is uniform over all words, and another with other seeds, though its numbers are all zero."""
    zeros = fixed(np.zeros(20_000))
    sent = {}
    for seed in (0, 1):
        seeds = pair_seeds(3, torch_rng(seed))
        parts = [masked(zeros, site, seeds) for site in range(3)]
        assert not (parts[0] + parts[1] + parts[2]).any()
        sent[seed] = parts[0]
        for part in parts:
            assert stats.kstest(part / 2.0**64, "uniform").pvalue > 1e-3
    assert (sent[0] != sent[1]).mean() > 0.999


def test_two_sites_of_three_do_not_cancel() -> None:
    parts = [fixed(numpy_rng(k).normal(size=1000)) for k in range(3)]
    seeds = pair_seeds(3, torch_rng(0))
    partial = masked(parts[0], 0, seeds) + masked(parts[1], 1, seeds)
    assert (partial != parts[0] + parts[1]).mean() > 0.999


def test_fixed_point_there_and_back() -> None:
    values = np.array([0.0, 1.0, -1.0, 2.0**-46, -(2.0**-46), 131071.5, -131071.5])
    assert np.array_equal(real(fixed(values)), values)
    assert np.abs(real(fixed(np.array([1 / 3]))) - 1 / 3) <= 2.0**-47
    assert np.array_equal(secure_sum([np.array([3], np.uint64), np.array([4], np.uint64)], torch_rng(0)), [7])


@pytest.mark.parametrize("value", [LIMIT, -LIMIT, np.nan, np.inf])
def test_what_does_not_fit_is_refused(value: float) -> None:
    with pytest.raises(TrainingError, match="131,072"):
        fixed(np.array([0.0, value]))


def test_a_state_there_and_back() -> None:
    state = {"w": torch.randn(2, 3), "seen": torch.tensor(5), "on": torch.tensor([True, False])}
    back = restored(flattened(state), state)
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in state.items())
