"""What the past makes expected of tallies and odds, against enumeration and loops."""

from itertools import product
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from scipy.stats import binom

from ehrsynth.models.departures.drawing import drawn
from ehrsynth.models.departures.expected import Expected
from ehrsynth.models.departures.variables import NEVER, Variables
from ehrsynth.models.visits.chronicle import Chronicle
from ehrsynth.models.visits.chronicle_network import HistoryNetwork
from ehrsynth.visit_batch import batch_of
from ehrsynth.visits import UNKNOWN, Visits
from tests.visits import SCHEMA, simulated, visit_schema

CODES = 24
CHANCES = [0.9, 0.85, 0.8, 0.02, 0.01, 0.3]


def of_chances(chances: list[float], again: list[bool]) -> tuple[Variables, Expected]:
    """Return what is expected of one record of one domain, whose codes have these chances; it has two tallies."""
    numbers = torch.arange(len(chances) + 1)
    ranges = torch.full((2, len(chances) + 2, 3), NEVER)
    ranges[:, : len(numbers)] = numbers[:, None]
    tally_of = torch.zeros(len(chances), dtype=torch.int64)
    told = {
        "ranges": ranges,
        "parts": 2,
        "tally_of": tally_of,
        "tally_in": lambda again: tally_of + again,
        "places_of_tally": lambda tally: slice(0, len(chances)),
    }
    variables = cast("Variables", SimpleNamespace(**told))
    return variables, Expected.of(variables, torch.tensor([chances]).logit(), torch.tensor([again]))


def test_of_codes_alike_a_tally_is_binomial_and_what_is_left_is_shared_evenly() -> None:
    again = [True, False, True, True, False, True]
    variables, expected = of_chances([0.3, 0.1, 0.3, 0.3, 0.1, 0.3], again)
    owner = torch.zeros(1, dtype=torch.int64)
    for tally, (n, p) in enumerate(((2, 0.1), (4, 0.3))):
        chances = expected.law(variables, tally, owner)[0].softmax(0)
        assert chances.tolist() == pytest.approx(binom.pmf(np.arange(7), n, p), abs=0.04)
        assert chances[n + 1 :].max() < 1e-6
    base = torch.tensor([[0.3, 0.1, 0.3, 0.3, 0.1, 0.3]]).logit()
    left = torch.tensor([[1, 3]])
    found = (base + expected.odds(left, owner, slice(0, 6))).sigmoid()[0]
    assert found.tolist() == pytest.approx([3 / 4, 1 / 2, 0.97, 0.99, 0.97, 0.99], abs=0.04)  # later ones if none came


@pytest.mark.parametrize("number", range(5))
def test_the_first_code_is_about_as_likely_as_in_all_records_of_so_many(number: int) -> None:
    ways = [way for way in product((0, 1), repeat=6) if sum(way) == number]
    weights = [np.prod([p if bit else 1 - p for p, bit in zip(CHANCES, way, strict=True)]) for way in ways]
    truth = sum(w for w, way in zip(weights, ways, strict=True) if way[0]) / sum(weights)
    _, expected = of_chances(CHANCES, [True] * 6)
    moved = expected.odds(torch.tensor([[0, number]]), torch.zeros(1, dtype=torch.int64), slice(0, 1))[0, 0]
    assert float((torch.tensor(CHANCES[0]).logit() + moved).sigmoid()) == pytest.approx(truth, abs=0.1)


@pytest.fixture(scope="module")
def started() -> tuple[Chronicle, torch.Tensor, Visits]:
    """A model that has seen what is counted, and was not trained."""
    static, visits = simulated(600, codes=CODES)
    model = Chronicle(tallies=True, schema=SCHEMA, visit_schema=visit_schema(CODES), width=8, warmup_steps=1)
    model.observe(static, visits)
    cast("HistoryNetwork", model.rows.best).told.data.zero_()  # no code tells of another: tallies alone
    return model.eval(), static, visits


def test_codes_that_come_again_are_counted_apart(started: tuple[Chronicle, torch.Tensor, Visits]) -> None:
    model, static, visits = started
    visited = model._visited(batch_of(visits, static, 1, np.arange(100)))
    network = cast("HistoryNetwork", model.rows.best)
    _, counts = model.rows.variables.of(visited.rows, network.past(visited.past).again)
    number = 0
    for i in range(100):
        before: set[int] = set()
        for v in range(visits.offsets[i], visits.offsets[i + 1]):
            here = set(visits.codes[visits.code_offsets[v] : visits.code_offsets[v + 1]].tolist())
            told = [len([c for c in here if c < 18 and (c in before) == again]) for again in (False, True)]
            assert counts[number].tolist() == told  # six medications are too few to be counted
            before |= here
            number += 1
    assert number == len(counts)


def test_drawn_codes_are_as_many_as_their_tallies_say(started: tuple[Chronicle, torch.Tensor, Visits]) -> None:
    model, static, visits = started
    visited = model._visited(batch_of(visits, static, 1))
    variables, network = model.rows.variables, cast("HistoryNetwork", model.rows.best)
    past = network.past(visited.past)
    x, _ = variables.of(model.as_rows.of_past(visited.past, model.calendar.numbers))
    known = model._known.expand(len(x), -1)
    found, _ = drawn(network, variables, x, known, torch.Generator().manual_seed(0), past=past)
    counts = variables.counted(found != variables.no_news, past.again)
    told = variables.told_counts(found)
    assert (counts == told).all(1).float().mean() > 0.9
    assert not (told[:, 1] > past.again[:, variables.places_of_tally(1)].sum(1)).any()


def test_untrained_it_draws_what_was_counted(started: tuple[Chronicle, torch.Tensor, Visits]) -> None:
    """Given what was before, codes of the latest visit come again as often as they did, and others; so do ends."""
    model, static, visits = started
    visited = model._visited(batch_of(visits, static, 1))
    found = model.step(visited.past, torch.Generator().manual_seed(0)).codes
    hot = visited.rows[:, :CODES] > 0
    for which in (visited.past.latest, visited.past.again & ~visited.past.latest, ~visited.past.again):
        truth = float(hot[which].float().mean())
        assert float(found[which].float().mean()) == pytest.approx(truth, rel=0.15)

    going, dies = model.going_on(visited.past, torch.Generator().manual_seed(0))
    assert float(going.float().mean()) == pytest.approx(1 - len(visits) / visits.count, abs=0.05)
    dead = float((visits.died != UNKNOWN).mean())
    assert float(dies[~going].isfinite().float().mean()) == pytest.approx(dead, abs=0.05)
