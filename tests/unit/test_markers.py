"""Which measurement tells most of whether a code begins, against loops over visits."""

import math

import pytest
import torch
from torch import Tensor

from ehrsynth.models.visits.companions import NONE
from ehrsynth.models.visits.history import History
from ehrsynth.models.visits.markers import BEGINS, Signs, markers_of
from ehrsynth.models.visits.stepwise import Step

NOT_MEASURED, BELOW, ABOVE = range(3)


@pytest.fixture(scope="module")
def visits() -> tuple[Tensor, Tensor, Tensor]:
    """Codes [k, 3] of visits, how each stands, and values [k, 2]; the second value alone tells, of the second code."""
    rng = torch.Generator().manual_seed(0)
    k = 4000
    values = torch.randn(k, 2, generator=rng).round(decimals=1)
    chance = torch.stack([torch.full((k,), 0.2), (values[:, 1] >= 1).float() * 0.6, torch.full((k,), 0.002)], dim=1)
    there = torch.rand(k, 3, generator=rng) < chance
    values[torch.rand(k, 2, generator=rng) < 0.3] = torch.nan
    return there, torch.randint(4, (k, 3), generator=rng).to(torch.uint8), values


THRESHOLDS = torch.tensor([[-1.0, 0.0, 1.0, 2.0], [-1.0, 0.0, 1.0, 2.0]])


def test_log_odds_are_what_a_loop_counts(visits: tuple[Tensor, Tensor, Tensor]) -> None:
    there, states, values = visits
    found, _ = markers_of(there, states, values, THRESHOLDS)
    assert found.of.tolist() == [NONE, 1, NONE]
    assert found.at[1] == 1.0
    for state in range(BEGINS):
        counts = [[0, 0] for _ in range(3)]
        for codes, stands, value in zip(there.tolist(), states.tolist(), values.tolist(), strict=True):
            if stands[1] == state:
                degree = NOT_MEASURED if math.isnan(value[1]) else ABOVE if value[1] >= 1.0 else BELOW
                counts[degree][codes[1]] += 1
        assert counts[BELOW][1] == 0
        without, having = (math.log(sum(row[code] for row in counts) + 0.5) for code in (0, 1))
        for degree, (no, yes) in enumerate(counts):
            odds = math.log((yes + 0.5) / (no + 0.5))
            assert float(found.beyond[state, degree, 1]) == pytest.approx(odds - (having - without), abs=1e-4)
    assert found.beyond[:, BELOW, 1].max() < -3
    assert not found.beyond[:, :, [0, 2]].any()


def test_of_one_to_nine_it_says_that_there_are_few(visits: tuple[Tensor, Tensor, Tensor]) -> None:
    there, states, values = (part.clone() for part in visits)
    states[:] = 1
    below = (values[:, 1] < 1).nonzero().flatten()
    said = []
    for events in (1, 9, 12):
        there[below, 1] = False
        there[below[:events], 1] = True
        odds = markers_of(there, states, values, THRESHOLDS)[0].beyond[1, :, 1]
        said.append((float(odds[BELOW]), float(odds[ABOVE])))
    assert said[0] == pytest.approx(said[1], abs=0.05)  # the share of all visits, which is told by itself, differs
    assert said[2][0] > said[0][0] + 0.5


def test_nothing_is_told_of_fewer_than_ten() -> None:
    """However surely the code comes with what is measured."""
    values = torch.linspace(0, 1, 1000)[:, None]
    for patients, told in ((9, False), (10, True)):
        there = torch.zeros(1000, 1, dtype=torch.bool)
        there[-patients:] = True
        found, gains = markers_of(there, torch.zeros(1000, 1, dtype=torch.uint8), values, torch.tensor([[0.5, 0.9]]))
        assert bool(found.beyond.any()) is told
        signs = Signs(1)
        signs.learn(gains, there, values)
        assert signs.of.tolist() == [0 if told else NONE]


def test_visits_in_which_nothing_is_ever_measured() -> None:
    there, values = torch.ones(20, 2) > 0, torch.zeros(20, 0)
    found, gains = markers_of(there, torch.zeros(20, 2), values, torch.zeros(0, 4))
    assert found.of.tolist() == [NONE, NONE]
    Signs(0).learn(gains, there, values)


def test_visits_of_a_hospital_without_codes() -> None:
    there, values, signs = torch.ones(20, 0) > 0, torch.zeros(20, 2), Signs(2)
    found, gains = markers_of(there, torch.zeros(20, 0), values, torch.zeros(2, 4))
    signs.learn(gains, there, values)
    assert found.of.tolist() == []
    assert signs.of.tolist() == [NONE, NONE]


def test_each_measurement_is_a_sign_of_the_code_it_tells_most_of(visits: tuple[Tensor, Tensor, Tensor]) -> None:
    there, states, values = visits
    signs = Signs(2)
    signs.learn(markers_of(there, states, values, THRESHOLDS)[1], there, values)
    assert signs.of.tolist() == [NONE, 1]
    theirs = [value for value, codes in zip(values[:, 1].tolist(), there.tolist(), strict=True) if codes[1]]
    theirs = sorted(value for value in theirs if not math.isnan(value))
    assert float(signs.usual[1]) == pytest.approx(theirs[(len(theirs) - 1) // 2])


def test_what_was_measured_before_a_diagnosis_is_out_of_date() -> None:
    """The first patient was measured before the code came, the second as it did; the third never has it."""
    past = History.none(torch.zeros(4, 0), torch.zeros(4, dtype=torch.float64), 1, 1, 2)
    signs, usual = torch.tensor([0, NONE]), torch.tensor([7.0, 0.0])
    assert past.valid(signs, usual).isnan().all()
    for day, coded, measured in (
        (0.0, [False, False, False, False], [5.0, 5.0, 5.0, torch.nan]),
        (30.0, [True, True, False, True], [torch.nan, 6.0, torch.nan, torch.nan]),
        (30.0, [True, True, False, False], [torch.nan, torch.nan, torch.nan, torch.nan]),
    ):
        values = torch.tensor(measured)[:, None].expand(4, 2)
        step = Step(
            gaps=torch.full((4,), day, dtype=torch.float64),
            kinds=torch.zeros(4, dtype=torch.int64),
            stays=torch.zeros(4, dtype=torch.float64),
            codes=torch.tensor(coded)[:, None],
            values=values,
        )
        past = past.after(step)
    now = past.valid(signs, usual)
    assert now[:, 0].tolist() == [7.0, 6.0, 5.0, 7.0]
    assert now[:3, 1].tolist() == [5.0, 6.0, 5.0]
    assert now[3, 1].isnan()
