"""Which code tells most of each, against loops over visits."""

import math

import pytest
import torch
from torch import Tensor

from ehrsynth.models.visits.companions import NONE, companions_of

STATES = 2


@pytest.fixture(scope="module")
def visits() -> tuple[Tensor, Tensor]:
    """Codes [k, 5] of visits, and how each stands; of the first and those before it nothing tells."""
    rng = torch.Generator().manual_seed(0)
    k = 2000
    there = torch.rand(k, 5, generator=rng) < torch.tensor([0.3, 0.5, 0.0, 0.1, 0.004])
    states = torch.randint(STATES, (k, 5), generator=rng).to(torch.uint8)
    chance = torch.where(there[:, 0], 0.8, torch.where(states[:, 2] == 0, 0.0, 0.3))
    there[:, 2] = torch.rand(k, generator=rng) < chance  # in the first state never without the first code
    return there, states


def before() -> Tensor:
    """Return that codes are told by those before them."""
    return torch.ones(5, 5, dtype=torch.bool).triu(1)


def test_log_odds_are_what_a_loop_counts(visits: tuple[Tensor, Tensor]) -> None:
    there, states = visits
    found = companions_of(there, states, there, before(), STATES)
    assert found.of.tolist() == [NONE, NONE, 0, NONE, NONE]
    for state in range(STATES):
        counts = [[0, 0], [0, 0]]
        for visit, stands in zip(there.tolist(), states.tolist(), strict=True):
            if stands[2] == state:
                counts[visit[0]][visit[2]] += 1
        without, having = (math.log(sum(row[code] for row in counts) + 0.5) for code in (0, 1))
        for companion in (0, 1):
            odds = math.log((counts[companion][1] + 0.5) / (counts[companion][0] + 0.5))
            assert float(found.beyond[state, companion, 2]) == pytest.approx(odds - (having - without), abs=1e-4)
    assert found.beyond[0, 0, 2] < -3
    assert not found.beyond[:, :, [0, 1, 3, 4]].any()


def test_the_one_that_tells_most_of_those_that_may(visits: tuple[Tensor, Tensor]) -> None:
    there, states = visits
    given = there.clone()
    given[:, 1] = there[:, 0] ^ (torch.rand(len(there), generator=torch.Generator().manual_seed(1)) < 0.1)
    assert int(companions_of(there, states, given, before(), STATES).of[2]) == 0
    allowed = before()
    allowed[0, 2] = False
    assert int(companions_of(there, states, given, allowed, STATES).of[2]) == 1


def test_nothing_is_told_of_fewer_than_ten() -> None:
    """However surely the code comes with its companion."""
    there = torch.zeros(1000, 2, dtype=torch.bool)
    states = torch.zeros(1000, 2, dtype=torch.uint8)
    for patients, told in ((9, False), (10, True)):
        there[:patients] = True
        there[500:600, 0] = True
        found = companions_of(there, states, there, torch.ones(2, 2, dtype=torch.bool).triu(1), 1)
        assert bool(found.beyond.any()) is told
