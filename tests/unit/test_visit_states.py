"""Visits as rows of codes and levels, and how records end, against loops over patients."""

import math

import numpy as np
import torch

from ehrsynth.models.truncation import Truncation
from ehrsynth.models.visits.calendar import DIES, GAP, MEASURED, STAY, Calendar
from ehrsynth.models.visits.endings import DIED, ENDS, GOES_ON, Endings
from ehrsynth.models.visits.stepwise import steps_of
from ehrsynth.models.visits.visit_states import VisitStates, clock
from ehrsynth.visit_batch import VisitBatch, batch_of
from tests.visits import SCHEMA, simulated, visit_schema

CODES, RANGES = 8, 8


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learned(n: int = 80) -> tuple[VisitStates, Calendar, VisitBatch]:
    static, visits = simulated(n, codes=CODES, measurements=2)
    schema = visit_schema(CODES, 2)
    calendar = Calendar(SCHEMA, schema, RANGES)
    calendar.learn(static, visits)
    return VisitStates(schema, RANGES), calendar, batch_of(visits, static, 2)


def test_rows_say_what_visits_have_and_come_back() -> None:
    states, calendar, batch = learned()
    numbers = calendar.numbers
    rows = states.of_batch(batch, numbers)
    hot = batch.multi_hot(CODES)
    stay, *values = states.maybe
    unknown = 0
    for i, t in batch.real.nonzero().tolist():
        row = rows[i, t]
        assert torch.equal(row[:CODES], hot[i, t])
        assert int(row[states.kind].argmax()) == int(batch.kinds[i, t])
        assert row[states.kind].sum() == 1
        assert row[states.gap].sum() == (t > 0)
        if t:
            assert int(row[states.gap].argmax()) == int(numbers.range_of(GAP, batch.gaps[i, t : t + 1]))
        told = [(stay, STAY, batch.stays[i, t])]
        told += [(part, MEASURED + j, batch.values[i, t, j]) for j, part in enumerate(values)]
        for part, number, value in told:
            known = bool(value.isfinite())
            unknown += not known
            level = int(numbers.range_of(number, value[None])) if known else 2 * RANGES
            assert row[part].tolist() == [float(place == level) for place in range(2 * RANGES + 1)]
    assert unknown > 10
    for t, visit in enumerate(steps_of(batch, CODES)):
        here = batch.real[:, t]
        first = torch.full((len(batch),), t == 0)
        assert torch.equal(states.rows(visit, first, numbers)[here], rows[here, t])  # one by one as all at once
        back = states.visit(rows[:, t], first, numbers, rng())
        assert torch.equal(back.codes[here], visit.codes[here])
        assert torch.equal(back.kinds[here], visit.kinds[here])
        assert torch.equal(back.values.isfinite()[here], visit.values.isfinite()[here])
        if t:
            assert torch.equal(numbers.range_of(GAP, back.gaps)[here], numbers.range_of(GAP, visit.gaps)[here])
        else:
            assert not back.gaps.any()


def test_no_range_is_drawn_that_a_number_does_not_have() -> None:
    states, calendar, _ = learned()
    closed = states.closed(calendar.numbers)
    for part, number in [(states.gap, GAP), *zip(states.maybe, states.numbers, strict=True)]:
        size = calendar.numbers.sizes[number]
        assert size < 2 * RANGES
        open_ = (closed[part] == 0).nonzero().flatten().tolist()
        assert open_ == [*range(size), *([2 * RANGES] if part != states.gap else [])]
    assert not closed[: states.gap.start].any()
    logits = (3 * torch.randn(50, len(closed), generator=rng())) + closed
    for truncation in (Truncation(), Truncation(temperature=2.0, top_p=0.9)):
        shares = states.layout.activate(states.as_drawn(logits, truncation))
        assert (shares[:, closed < 0] == 0).all()
        for part in states.layout.groups.values():
            torch.testing.assert_close(shares[:, part].sum(1), torch.ones(50))


def test_what_is_usual_are_the_shares_of_visits() -> None:
    states, calendar, _ = learned()
    static, visits = simulated(80, codes=CODES, measurements=2)
    shares = states.layout.activate(states.usual(visits, static, calendar.numbers)[None])[0]
    expected = np.bincount(visits.codes, minlength=CODES) / visits.count
    np.testing.assert_allclose(shares[:CODES], expected, atol=0.01)
    kinds = np.bincount(visits.kinds, minlength=2) / visits.count
    np.testing.assert_allclose(shares[states.kind], kinds, atol=0.01)


def test_a_clock_tells_when() -> None:
    _, calendar, batch = learned()
    number, gaps, elapsed = torch.tensor([0, 8]), torch.tensor([0.0, 30.0]), torch.tensor([0.0, 400.0])
    found = clock(number, gaps, elapsed, batch.first[:2], calendar.numbers)
    assert found[:, 0].tolist() == [0.0, 0.5]
    assert found[1, 1:3].tolist() == [
        torch.tensor(math.log(31) / 8).item(),
        torch.tensor(math.log(401) / 8).item(),
    ]
    assert ((found[:, 3] > 0) & (found[:, 3] < 1)).all()


@torch.no_grad()
def test_endings_are_what_a_loop_says() -> None:
    _, calendar, batch = learned()
    endings, numbers = Endings(5, RANGES), calendar.numbers
    for weights in endings.parameters():
        weights.data = torch.randn(weights.shape, generator=rng())
    known = torch.randn(len(batch), batch.longest, 5, generator=rng(1))
    found = endings.nats(known, batch, numbers)
    died = 0
    for i, length in enumerate(batch.lengths.tolist()):
        nats = 0.0
        for t in range(length):
            fates = endings.fate(known[i, t]).log_softmax(0)
            if t + 1 < length:
                nats -= float(fates[GOES_ON])
            elif batch.dies[i].isnan():
                nats -= float(fates[ENDS])
            else:
                died += 1
                ranges = endings.death(known[i, t])[: numbers.sizes[DIES]].log_softmax(0)
                nats -= float(fates[DIED] + ranges[numbers.range_of(DIES, batch.dies[i : i + 1])[0]])
        torch.testing.assert_close(float(found[i]), nats, rtol=1e-4, atol=1e-4)
    assert 5 < died < len(batch)


@torch.no_grad()
def test_endings_are_drawn_as_they_are_said() -> None:
    _, calendar, _ = learned()
    endings = Endings(1, RANGES)
    endings.fate.weight.data.zero_()
    endings.fate.bias.data = torch.tensor([0.5, 0.3, 0.2]).log()
    going, dies = endings.drawn(torch.zeros(4000, 1), calendar.numbers, Truncation(), rng())
    assert abs(float(going.float().mean()) - 0.5) < 0.03
    assert abs(float(dies.isfinite().float().mean()) - 0.2) < 0.03
    assert not (going & dies.isfinite()).any()
