"""How codes begin by the gap before, against the law they were drawn by and against a loop."""

import math

import pytest
import torch
from torch import Tensor

from ehrsynth.models.visits.companions import NONE
from ehrsynth.models.visits.history import NEVER
from ehrsynth.models.visits.waits import waits_of

ALONE = torch.full((4,), NONE)


@pytest.fixture(scope="module")
def visits() -> tuple[Tensor, Tensor, Tensor]:
    """Codes [k, 4] of visits, how each stands, and the gap before.

    The first begins at a steady hazard, the second belongs to visits, the third comes with the first and the last is
    rare.
    """
    rng = torch.Generator().manual_seed(0)
    k = 60_000
    gaps = torch.exp(4 + torch.randn(k, generator=rng))
    chance = torch.stack([1 - (-gaps / 2000).exp(), torch.full((k,), 0.1), torch.zeros(k), torch.full((k,), 3e-4)], 1)
    there = torch.rand(k, 4, generator=rng) < chance
    there[:, 2] = there[:, 0] & (torch.rand(k, generator=rng) < 0.8)
    return there, torch.randint(3, (k, 4), generator=rng).to(torch.uint8), gaps


def test_a_steady_hazard_grows_as_the_gap_does(visits: tuple[Tensor, Tensor, Tensor]) -> None:
    found = waits_of(*visits, ALONE)
    assert found.growth[0] == pytest.approx(1.0, abs=0.15)
    assert found.growth[1] == pytest.approx(0.0, abs=0.1)
    odds = (found.growth * visits[2].log1p()[:, None] - found.less).exp().mean(0)
    assert odds.tolist() == pytest.approx([1.0] * 4, abs=0.02)  # over all gaps as they were


def test_growth_is_what_a_loop_counts(visits: tuple[Tensor, Tensor, Tensor]) -> None:
    there, states, gaps = visits
    asked = (states == NEVER).any(1)
    middle = float(gaps[asked].median())
    counts, logs = [[0, 0], [0, 0]], [[0.0], [0.0]]
    for codes, stands, gap in zip(there.tolist(), states.tolist(), gaps.tolist(), strict=True):
        if NEVER in stands:
            logs[gap >= middle].append(math.log1p(gap))
        if stands[0] == NEVER:
            counts[gap >= middle][codes[0]] += 1
    short, long = (math.log((yes + 0.5) / (no + 0.5)) for no, yes in counts)
    apart = [sum(of) / (len(of) - 1) for of in logs]
    found = waits_of(there, states, gaps, ALONE)
    assert found.growth[0] == pytest.approx((long - short) / (apart[1] - apart[0]), abs=1e-3)


def test_what_comes_with_another_waits_as_that_does(visits: tuple[Tensor, Tensor, Tensor]) -> None:
    beside = torch.tensor([NONE, NONE, 0, NONE])
    assert waits_of(*visits, ALONE).growth[2] > 0.8
    assert waits_of(*visits, beside).growth[2] == 0


def test_of_fewer_than_ten_it_is_what_all_codes_say(visits: tuple[Tensor, Tensor, Tensor]) -> None:
    there, states, gaps = (part.clone() for part in visits)
    there[:, 3] = False
    late = ((states[:, 3] == NEVER) & (gaps > gaps.median())).nonzero().flatten()
    said = []
    for events in (1, 9):
        there[late[:events], 3] = True
        said.append(float(waits_of(there, states, gaps, ALONE).growth[3]))
    assert said[0] == pytest.approx(said[1], abs=0.01)
    assert 0.1 < said[0] < 0.9


def test_visits_of_which_none_is_a_later_one() -> None:
    found = waits_of(torch.ones(20, 4) > 0, torch.zeros(20, 4, dtype=torch.uint8), torch.zeros(20), ALONE)
    assert found.growth.tolist() == [0.0] * 4
