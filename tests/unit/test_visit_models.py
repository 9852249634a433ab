"""The parts of models of visits against loops over patients, and what may be told of few."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ehrsynth.errors import OptionError
from ehrsynth.models.truncation import Truncation
from ehrsynth.models.visits.base import VisitModel
from ehrsynth.models.visits.calendar import DIES, FIRST, GAP, MEASURED, STAY, Calendar
from ehrsynth.models.visits.chronicle import Chronicle
from ehrsynth.models.visits.history import YEAR, History, usual_seasons
from ehrsynth.models.visits.independent_visits import IndependentVisits
from ehrsynth.models.visits.markov import Latest, Markov
from ehrsynth.models.visits.numbers import Numbers, Observed
from ehrsynth.models.visits.record_mixture_visits import RecordMixtureVisits
from ehrsynth.models.visits.recurrence import Recurrence
from ehrsynth.models.visits.stepwise import steps_of
from ehrsynth.seeding import numpy_rng
from ehrsynth.visit_batch import batch_of
from ehrsynth.visits import DAY, UNKNOWN, Visits, ragged
from tests.visits import SCHEMA, simulated, visit_schema

CODES = 9


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers_of(values: list[float], patients: list[int], decimals: int = 0) -> Numbers:
    numbers = Numbers(1, 8)
    numbers.learn([Observed(np.array(values), np.array(patients), decimals)])
    return numbers


def test_numbers_keep_what_many_share_and_tell_nothing_of_one() -> None:
    values = [0.0] * 40 + [7.0] * 40 + list(np.linspace(10, 50, 60)) + [999.0]
    numbers = numbers_of(values, list(range(len(values))), 1)
    drawn = numbers.value_at(0, torch.linspace(0, 1, 5001))
    assert (drawn == 0).float().mean() == pytest.approx(40 / 141, abs=0.01)
    assert ((drawn - 7).abs() < 1e-4).float().mean() == pytest.approx(40 / 141, abs=0.01)
    assert drawn.max() < 999
    given = torch.tensor([0.0, 7.0, 30.0])
    torch.testing.assert_close(numbers.value_at(0, numbers.place_of(0, given)).float(), given, rtol=1e-3, atol=1e-3)
    ranges = numbers.range_of(0, given)
    for number, value in zip(ranges.tolist(), given.tolist(), strict=True):
        within = numbers.drawn(0, torch.full((200,), number), rng())
        assert within.min() - 1e-4 <= value <= within.max() + 1e-4
        assert torch.equal(numbers.range_of(0, within), torch.full((200,), number))
    assert numbers.place_of(0, torch.tensor([torch.nan])).isnan().all()


def test_a_number_that_one_patient_has_often_is_no_atom() -> None:
    values = [123.4] * 50 + list(np.linspace(0, 300, 60))
    drawn = numbers_of(values, [0] * 50 + list(range(1, 61)), 1).value_at(0, torch.linspace(0, 1, 5001))
    assert (drawn.round(decimals=1) == 123.4).float().mean() < 0.02


def test_a_number_that_nobody_has() -> None:
    numbers = numbers_of([], [])
    assert numbers.drawn(0, torch.zeros(3, dtype=torch.int64), rng()).tolist() == [0.0, 0.0, 0.0]


def learned(static: torch.Tensor, visits: Visits, measurements: int = 1) -> Calendar:
    calendar = Calendar(SCHEMA, visit_schema(CODES, measurements), 16)
    calendar.learn(static, visits)
    return calendar


def test_a_calendar_has_the_laws_of_the_training_visits() -> None:
    static, visits = simulated(400, codes=CODES)
    calendar = learned(static, visits)
    assert calendar.empty == 0
    assert calendar.died == pytest.approx((visits.died != UNKNOWN).mean())
    assert calendar.most == np.sort(visits.per_patient)[-10]
    assert not calendar.overlaps
    assert int(calendar.age) == 0  # the only number, which is years of age
    gaps = visits.gaps[visits.number > 0]
    sizes = calendar.numbers.sizes
    for number, values in ((GAP, gaps), (FIRST, visits.starts[visits.offsets[:-1]] / DAY)):
        drawn = calendar._number(number, 20_000, rng())
        told = torch.from_numpy(np.quantile(values, [0.1, 0.5, 0.9]))
        torch.testing.assert_close(drawn.quantile(torch.tensor([0.1, 0.5, 0.9]).double()), told, rtol=0.15, atol=2.0)
    assert all(size > 3 for number, size in enumerate(sizes) if number in (GAP, STAY, DIES, MEASURED))
    firsts = np.full(400, 15_000 * DAY)
    born = calendar.births(static, firsts, firsts, rng())
    age = 20 + 70 * static[:, -1].numpy()
    np.testing.assert_allclose((firsts - born) / DAY / 365.25, age, atol=0.1)
    assert not (born % DAY).any()


def test_a_row_may_say_the_age_at_the_last_visit() -> None:
    static, visits = simulated(400, codes=CODES, mean_visits=6.0)
    years = 12.0 * visits.number / visits.per_patient.max()  # between visits, so that the first says little of the last
    firsts = visits.starts[visits.offsets[:-1]]
    visits = dataclasses.replace(visits, starts=firsts[visits.patient] + (years * 365.25).astype(np.int64) * DAY)
    lasts, age = visits.starts[visits.offsets[1:] - 1], 30 + 60 * static[:, -1].numpy().astype(float)
    born = (lasts - (age * 365.25 * DAY).astype(np.int64)) // DAY * DAY
    static[:, -1] = torch.from_numpy((age - 20) / 70)
    visits = dataclasses.replace(visits, ends=visits.starts, born=born, died=np.full(400, UNKNOWN))
    calendar = learned(static, visits)
    assert int(calendar.age) == 1  # behind the only number, as an age at the first visit
    np.testing.assert_allclose((calendar.births(static, firsts, lasts, rng()) - born) / DAY, 0.0, atol=40)
    model = Markov(schema=SCHEMA, visit_schema=visit_schema(CODES), seed=0)
    model.observe(static, visits)
    rows, drawn = model.sample(500, rng())
    some = np.flatnonzero(drawn.per_patient > 0)
    at_last = (drawn.starts[drawn.offsets[1:][some] - 1] - drawn.born[some]) / DAY / 365.25
    np.testing.assert_allclose(at_last, 20 + 70 * rows[some, -1].numpy(), atol=0.2)
    assert (drawn.born[drawn.patient] <= drawn.starts).all()


def test_births_lie_as_many_days_before_as_they_did() -> None:
    static, visits = simulated(400, codes=CODES)
    firsts, age = visits.starts[visits.offsets[:-1]], np.resize([5, 15, 25, 35], 400)
    days = np.floor(age * 365.25)
    calendar = learned(static, dataclasses.replace(visits, born=firsts - days.astype(np.int64) * DAY))
    assert int(calendar.age) == -1  # no column tells it
    found = (firsts - calendar.births(static, firsts, firsts, rng())) / DAY
    assert set(found) == set(days)


def test_nothing_is_told_of_fewer_than_ten() -> None:
    static, visits = simulated(60, codes=CODES)
    some = np.flatnonzero(visits.died != UNKNOWN)[:9]
    died, born = np.full(60, UNKNOWN), np.full(60, UNKNOWN)
    died[some], born[some] = visits.died[some], visits.born[some]
    calendar = learned(static, dataclasses.replace(visits, died=died, born=born))
    assert calendar.died == 0
    assert (calendar.births(static, np.zeros(60, np.int64), np.zeros(60, np.int64), rng()) == UNKNOWN).all()


def test_dates_keep_the_resolution_of_the_training_dates() -> None:
    static, visits = simulated(80, codes=CODES)
    minute = DAY // 1440
    shifted = dataclasses.replace(visits, starts=visits.starts + 7 * minute, ends=np.full(visits.count, UNKNOWN))
    calendar = learned(static, shifted)
    assert calendar.ticks.tolist() == [minute, DAY, DAY, DAY]
    assert not (calendar.moments(calendar.firsts(50, rng())) % minute).any()


def test_history_is_what_a_loop_says() -> None:
    static, visits = simulated(12, codes=CODES)
    batch = batch_of(visits, static, 1)
    past = History.none(batch.static, batch.first, 2, CODES, 1)
    hot, starts = batch.multi_hot(CODES).bool(), batch.gaps.cumsum(1)
    for t, visit in enumerate(steps_of(batch, CODES)):
        features = past.features()
        for i in np.flatnonzero(batch.lengths.numpy() > t):
            before = hot[i, :t]
            for code in range(CODES):
                had = before[:, code].nonzero().flatten().tolist()
                expected = [0.0] * 7
                expected[0 if t == 0 else 1 if not had else 2 if had[-1] == t - 1 else 3] = 1.0
                if had:
                    since = float(starts[i, t - 1] - starts[i, had[-1]])
                    expected[4:] = [np.log(len(had)), np.log1p(since / YEAR), len(had) / t]
                assert features[i, :, code].tolist() == pytest.approx(expected, abs=1e-5)
            known = [float(value) for value in batch.values[i, :t, 0] if value == value]
            assert past.values[i].isnan() if not known else past.values[i] == known[-1]
            assert past.means[i].isnan() if not known else past.means[i] == pytest.approx(np.mean(known), rel=1e-5)
            assert int(past.kinds[i]) == (2 if t == 0 else int(batch.kinds[i, t - 1]))
            assert past.gaps[i].isnan() if t < 2 else past.gaps[i] == batch.gaps[i, t - 1]
        past = past.after(visit)


def test_usual_seasons() -> None:
    """A rare code with log odds o + a cos(angle) + b sin(angle) begins near a and b; one of nine patients at none."""
    n, days = 6000, numpy_rng(0, "days").uniform(0, 3652.5, 6000)
    angle = 2 * np.pi * days / 365.25
    chances = 0.1 * np.exp(np.stack([0 * angle, 0.5 * np.cos(angle), -0.5 * np.sin(angle)], axis=1))
    hot = numpy_rng(0, "codes").random((n, 3)) < chances
    nine = np.flatnonzero(np.cos(angle) > 0.9)[:9]
    hot = np.column_stack([hot, np.isin(np.arange(n), nine)])
    visits = dataclasses.replace(
        simulated(n, codes=4, mean_visits=1)[1],
        starts=(days * DAY).astype(np.int64),
        codes=hot.nonzero()[1].astype(np.int32),
        code_offsets=np.concatenate([[0], hot.sum(1).cumsum()]),
    )
    found = usual_seasons(visits, 4)
    assert found.tolist() == [
        pytest.approx([0, 0.5, 0, 0], abs=0.15),
        pytest.approx([0, 0, -0.5, 0], abs=0.15),
    ]
    assert hot[:, 3].sum() == 9
    assert not found[:, 3].any()


def test_recurrence_is_what_a_loop_counts() -> None:
    _, visits = simulated(500, codes=CODES)
    counts = np.zeros((6, 2, CODES))
    for i in range(len(visits)):
        ever, latest = set(), set()
        for v in range(visits.offsets[i], visits.offsets[i + 1]):
            here = set(visits.codes[visits.code_offsets[v] : visits.code_offsets[v + 1]].tolist())
            for code in range(CODES):
                new = 4 if code not in ever else 5
                state = 0 if v == visits.offsets[i] else 2 if code in latest else 3 if code in ever else 1
                for each in {state, new, 5}:
                    counts[each, int(code in here), code] += 1
            latest, ever = here, ever | here
    found = Recurrence.of(visits, CODES)
    assert found.events.tolist() == counts[:, 1].tolist()
    assert found.exposed.tolist() == counts.sum(1).tolist()
    expected = np.log((counts[:, 1] + 0.5) / (counts[:, 0] + 0.5))
    enough = counts.min(1) >= 20  # then they are of ten patients too
    assert enough.sum() > 10
    np.testing.assert_allclose(found.odds.numpy()[enough], expected[enough], rtol=1e-4, atol=1e-4)
    assert found.told.numpy()[enough].all()
    assert np.isfinite(found.odds.numpy()).all()


def test_what_is_told_of_codes_that_hardly_ever_come_again() -> None:
    """That none of many does, that few do, and of a code that nine patients had nothing but what all codes do."""
    patients, codes = 60, 4
    rows = [[[0, 1], [0]] for _ in range(patients)]  # the first always comes again, the second never
    for i in range(40):
        rows[i][0].append(2)  # the third for three of forty
        rows[i][1] += [2] if i < 3 else []
    for i in range(9):
        rows[i][0].append(3)
    code_offsets, flat = ragged([visit for row in rows for visit in row])
    unknown, none = np.full(2 * patients, UNKNOWN), np.zeros(0, np.int32)
    visits = Visits(
        offsets=np.arange(patients + 1) * 2,
        starts=np.arange(2 * patients) * DAY,
        ends=unknown,
        kinds=np.zeros(2 * patients, np.int16),
        code_offsets=code_offsets,
        codes=flat,
        value_offsets=np.zeros(2 * patients + 1, np.int64),
        measured=none,
        values=none.astype(np.float32),
        born=unknown[:patients],
        died=unknown[:patients],
    )
    found = Recurrence.of(visits, codes)
    chance = found.odds[2].sigmoid()
    pooled = (60 + 3 + 0.5) / (60 + 60 + 40 + 9 + 1)
    assert chance.tolist() == pytest.approx([60.5 / 61, 0.5 / 61, 5 / 40, pooled], abs=1e-4)
    assert found.told[2].tolist() == [True, True, False, False]


def test_markov_counts_what_a_loop_counts() -> None:
    static, visits = simulated(500, codes=CODES)
    model = Markov(schema=SCHEMA, visit_schema=visit_schema(CODES))
    model.observe(static, visits)
    first, new, stays = np.zeros((3, 2, CODES))
    kinds, lengths = np.zeros((3, 2)), visits.per_patient
    for i in range(len(visits)):
        latest: set[int] | None = None
        kind = 2
        for v in range(visits.offsets[i], visits.offsets[i + 1]):
            here = set(visits.codes[visits.code_offsets[v] : visits.code_offsets[v + 1]].tolist())
            for code in range(CODES):
                table = first if latest is None else stays if code in latest else new
                table[0, code] += code in here
                table[1, code] += 1
            kinds[kind, visits.kinds[v]] += 1
            latest, kind = here, int(visits.kinds[v])
    for row, (count, among) in enumerate((first, new, stays)):
        enough = count >= 20
        np.testing.assert_allclose(model.codes[row][enough], ((count + 0.5) / (among + 1))[enough], rtol=1e-5)
    np.testing.assert_allclose(model.kinds, (kinds + 0.5) / (kinds + 0.5).sum(1, keepdims=True), rtol=1e-5)
    reached = [(lengths >= number).sum() for number in (1, 2, 3)]
    np.testing.assert_allclose(model.ends[:2], [1 - reached[1] / reached[0], 1 - reached[2] / reached[1]], rtol=1e-5)


def test_markov_counts_deaths_by_the_kind_of_the_last_visit() -> None:
    static, visits = simulated(3000, codes=CODES)
    kinds = visits.kinds[visits.offsets[1:] - 1]
    draws = np.random.default_rng(0)
    dead = draws.random(3000) < np.where(kinds == 1, 0.6, 0.1)
    days = np.where(kinds == 1, draws.integers(1, 20, 3000), draws.integers(100, 200, 3000))
    visits = dataclasses.replace(visits, died=np.where(dead, visits.left + days * DAY, UNKNOWN))
    model = Markov(schema=SCHEMA, visit_schema=visit_schema(CODES))
    model.observe(static, visits)
    for kind in range(2):
        mine = kinds == kind
        assert model.died[kind] == pytest.approx((dead[mine].sum() + 0.5) / (mine.sum() + 1))
        of_kind = torch.full((4000,), kind)
        going, when = model.going_on(Latest(of_kind * 0 + 1, of_kind, torch.zeros(4000, CODES) > 0), rng(kind))
        assert going.float().mean() == pytest.approx(1 - float(model.ends[0]), abs=0.03)
        assert when.isfinite().float().mean() == pytest.approx(dead[mine].mean(), abs=0.05)
        assert ((when[when.isfinite()] > 50) == (kind == 0)).float().mean() > 0.9
    nobody = dataclasses.replace(visits, died=np.full(3000, UNKNOWN))
    model.observe(static, nobody)
    assert model.going_on(Latest(of_kind, of_kind, torch.zeros(4000, CODES) > 0), rng(0))[1].isnan().all()


def dying_in_hospital(by_day: bool) -> tuple[torch.Tensor, Visits]:
    """Visits that begin and end at some hour; who dies does so as the last ends, of which perhaps the day is told."""
    static, visits = simulated(1500, codes=CODES)
    hour = DAY // 24
    draws = np.random.default_rng(1)
    starts = visits.starts + draws.integers(0, 10, visits.count) * hour
    ends = np.where(visits.ends == UNKNOWN, UNKNOWN, visits.ends + draws.integers(10, 24, visits.count) * hour)
    visits = dataclasses.replace(visits, starts=starts, ends=ends)
    died = np.where(draws.random(1500) < 0.3, visits.left, UNKNOWN)
    return static, dataclasses.replace(
        visits, died=np.where(died == UNKNOWN, died, died // DAY * DAY if by_day else died)
    )


@pytest.mark.parametrize("model_of", [Markov, RecordMixtureVisits, IndependentVisits])
def test_who_dies_in_hospital_dies_as_the_last_visit_ends(model_of: Callable[..., VisitModel]) -> None:
    static, visits = dying_in_hospital(by_day=False)
    model = model_of(schema=SCHEMA, visit_schema=visit_schema(CODES))
    model.observe(static, visits)
    drawn = model.sample(1500, rng())[1]
    dead = drawn.died != UNKNOWN
    assert dead.mean() == pytest.approx(0.3, abs=0.05)
    assert (drawn.died == drawn.left)[dead].all()
    assert (drawn.ends[drawn.offsets[1:][dead] - 1] != UNKNOWN).mean() > 0.8  # most are known to have ended so


@pytest.mark.parametrize("model_of", [Markov, RecordMixtureVisits, IndependentVisits])
def test_a_death_of_which_the_day_is_known_is_on_the_day_that_the_last_visit_ends(
    model_of: Callable[..., VisitModel],
) -> None:
    static, visits = dying_in_hospital(by_day=True)
    model = model_of(schema=SCHEMA, visit_schema=visit_schema(CODES))
    model.observe(static, visits)
    drawn = model.sample(1500, rng())[1]
    dead = drawn.died != UNKNOWN
    last = drawn.starts[drawn.offsets[1:][dead] - 1]
    assert (drawn.died[dead] >= last // DAY * DAY).all()
    assert (drawn.died[dead] <= drawn.left[dead]).mean() > 0.95


def test_markov_tells_no_code_of_few() -> None:
    static, visits = simulated(100, codes=CODES)
    nine = np.flatnonzero(visits.number == 0)[:9]
    codes, offsets = (
        visits.codes[visits.codes != 0],
        np.cumsum([0, *np.bincount(visits.visit_of_code[visits.codes != 0], minlength=visits.count)]),
    )
    rare = np.insert(codes, offsets[nine], 0)
    more = np.zeros(visits.count + 1, np.int64)
    np.add.at(more, nine + 1, 1)
    model = Markov(schema=SCHEMA, visit_schema=visit_schema(CODES))
    model.observe(
        static, dataclasses.replace(visits, codes=rare.astype(np.int32), code_offsets=offsets + more.cumsum())
    )
    none = Markov(schema=SCHEMA, visit_schema=visit_schema(CODES))
    none.observe(static, dataclasses.replace(visits, codes=codes, code_offsets=offsets))
    assert model.codes[0, 0] < 0.1
    assert model.codes[0, 0] != pytest.approx(0.09, abs=0.01)


def test_a_visit_as_a_row_and_back() -> None:
    static, visits = simulated(60, codes=CODES)
    model = Chronicle(schema=SCHEMA, visit_schema=visit_schema(CODES), width=8, warmup_steps=1)
    model.observe(static, visits)
    visited = model._visited(batch_of(visits, static, 1))
    order = torch.arange(visits.count)  # patient by patient, visit by visit
    assert torch.equal(visited.owner, torch.from_numpy(visits.patient))
    numbers = model.calendar.numbers
    step = model.as_rows.visit(visited.rows, numbers, visited.past.number == 0)
    assert step.kinds.tolist() == visits.kinds.tolist()
    whose, codes = step.codes.nonzero(as_tuple=True)
    assert whose.tolist() == visits.visit_of_code.tolist()
    assert codes.tolist() == visits.codes.tolist()
    assert torch.equal(visited.past.number, torch.from_numpy(visits.number))
    later = visits.number > 0
    assert (step.gaps[~torch.from_numpy(later)] == 0).all()
    # A value that fewer than ten share comes back near it, others exactly.
    assert np.corrcoef(step.gaps.numpy()[later], visits.gaps[later])[0, 1] > 0.95
    assert len(visited.ender) == len(visits) == len(set(visited.ender.tolist()))
    assert len(order) == len(visited.rows)
    static_places = [model.as_rows.layout.places[f"row {name}"] for name in SCHEMA.names]
    shown = torch.cat([visited.rows[:, places] for places in static_places], dim=1)
    own = torch.cat([static[:, model.layout.places[name]] for name in SCHEMA.names], dim=1)
    assert torch.equal(shown, own[visited.owner])


def test_what_is_known_before_a_visit_says_nothing_of_it() -> None:
    """The likelihood of a record's beginning does not change with what comes later."""
    static, visits = simulated(60, codes=CODES)
    model = Chronicle(schema=SCHEMA, visit_schema=visit_schema(CODES), width=8, warmup_steps=1)
    model.observe(static, visits)
    long = np.flatnonzero(visits.per_patient >= 3)
    batch = batch_of(visits, static, 1, long)
    changed = dataclasses.replace(batch, codes=batch.codes.clone(), kinds=batch.kinds.clone())
    second = batch.places % batch.longest >= 1
    changed.codes[second] = CODES - 1 - changed.codes[second]
    changed.kinds[:, 1:] = 1 - changed.kinds[:, 1:]
    one, other = model._visited(batch), model._visited(changed)
    for visited in (one, other):
        upto = (visited.past.number <= 1).nonzero().flatten()
        past = model.rows.network.past(visited.past)  # type: ignore[operator]
        known = model._known.expand(len(visited.rows), -1)
        x, _ = model.rows.variables.of(visited.rows)
        if visited is one:
            h = model.rows.network.before(model.rows.variables, x, known, past)[upto]  # type: ignore[operator]
        else:
            again = model.rows.network.before(model.rows.variables, x, known, past)[upto]  # type: ignore[operator]
            torch.testing.assert_close(h, again)


def test_no_code_is_told_what_is_drawn_after_it() -> None:
    """A visit's codes are as likely up to each place whatever its later codes are, whatever the weights."""
    static, visits = simulated(60, codes=CODES)
    model = Chronicle(schema=SCHEMA, visit_schema=visit_schema(CODES), width=8, warmup_steps=1).eval()
    model.observe(static, visits)
    network, visited = model.rows.best, model._visited(batch_of(visits, static, 1))
    assert (network.companions == -1).any()  # type: ignore[union-attr]
    network.told.data.normal_(generator=rng())  # type: ignore[union-attr, operator]
    past = network.past(visited.past)  # type: ignore[operator]
    x, _ = model.rows.variables.of(visited.rows)
    place = int(network.place.sort().values[4])  # type: ignore[union-attr, operator]
    changed = x.clone()
    changed[:, place:] = 1 - changed[:, place:]
    assert torch.equal(past.told_by(x)[:, : place + 1], past.told_by(changed)[:, : place + 1])


def test_codes_are_told_the_day_of_their_own_visit() -> None:
    """And not of the one before, nor of the range that the gap is in."""
    static, visits = simulated(200, codes=CODES)
    model = Chronicle(schema=SCHEMA, visit_schema=visit_schema(CODES), width=8, warmup_steps=1).eval()
    model.observe(static, visits)
    assert model._visited(batch_of(visits, static, 1)).days.numpy() == pytest.approx(visits.starts / DAY, abs=1e-3)
    model.rows.best.season.data[0, 0] = 20.0  # type: ignore[union-attr, index]
    with torch.no_grad():
        static, drawn = model.sample(300, rng())
    has = np.zeros(drawn.count, bool)
    has[drawn.visit_of_code[drawn.codes == 0]] = True
    towards_winter = np.cos(2 * np.pi * drawn.starts / DAY / 365.25)
    assert has[towards_winter > 0.5].mean() > 0.95
    assert has[towards_winter < -0.5].mean() < 0.05
    likelihood = model.log_likelihood(static, drawn)
    model.rows.best.season.data[0, 0] = -20.0  # type: ignore[union-attr, index]
    assert (likelihood - model.log_likelihood(static, drawn)).mean() > 10


def test_a_code_that_most_visits_have_comes_again_too() -> None:
    """What departs from the usual is then its absence."""
    static, visits = simulated(300, codes=CODES)
    hot = batch_of(visits, static, 1).multi_hot(CODES).bool()
    has = torch.rand(300, 1, generator=rng()) < 0.75  # each patient nearly always has it, or hardly ever
    hot[:, :, 0] = has ^ (torch.rand(hot.shape[:2], generator=rng(1)) < 0.1)
    counts = hot[batch_of(visits, static, 1).real]
    rows, codes = counts.nonzero(as_tuple=True)
    offsets = np.concatenate([[0], np.bincount(rows.numpy(), minlength=visits.count).cumsum()])
    visits = dataclasses.replace(visits, codes=codes.numpy().astype(np.int32), code_offsets=offsets)
    model = Chronicle(schema=SCHEMA, visit_schema=visit_schema(CODES), width=8, warmup_steps=1)
    model.observe(static, visits)
    variables, network = model.rows.variables, model.rows.best
    assert int(variables.no_news[network.place[0]]) == 1  # type: ignore[index]
    visited = model._visited(batch_of(visits, static, 1))
    odds = network.past(visited.past).odds[:, network.place[0]]  # type: ignore[operator, index]
    has = visited.past.latest[:, 0]
    later = visited.past.number > 0
    assert odds[later & has].max() < 0 < odds[later & ~has].min()


def test_settled_codes_begin_and_come_again_as_often_as_they_did() -> None:
    static, visits = simulated(400, codes=CODES)
    model = Chronicle(schema=SCHEMA, visit_schema=visit_schema(CODES), width=8, warmup_steps=1, top_p=0.9).eval()
    model.observe(static, visits)
    told, wanted = model.wanted.isfinite(), Recurrence.of(visits, CODES).odds[:4]
    assert told.sum() > 20
    model.rows.best.each.data[1] += 0.7  # type: ignore[union-attr, operator]  # too many new ones
    model.rows.best.each.data[2] -= 0.7  # type: ignore[union-attr, operator]  # too few again

    def off() -> float:
        """Return how far the odds of codes are from those in training visits."""
        whole = model.truncation
        model.truncation = Truncation()
        _, drawn = model.sample(4000, rng())
        model.truncation = whole
        return float((Recurrence.of(drawn, CODES).odds[:4] - wanted)[told].abs().mean())

    before = off()
    model.settle()
    assert not model.rows.best.settled.any(), "of a network that was not trained"  # type: ignore[union-attr, operator]
    model.settled.fill_(False)
    assert off() < 0.3 * before
    shift = model.rows.best.settled.clone()  # type: ignore[union-attr, operator]
    assert model.truncation == Truncation(top_p=0.9)
    assert not shift[~told].any()
    model.sample(10, rng())
    assert torch.equal(model.rows.best.settled, shift)  # type: ignore[arg-type]


def test_truncation() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -4.0]])
    as_learned = Truncation()
    assert as_learned.levels(logits) is logits
    assert as_learned.bits(logits) is logits
    assert torch.equal(Truncation(temperature=2.0).levels(logits), logits / 2)
    shares = logits.softmax(1)  # 0.664, 0.244, 0.090, 0.002
    assert Truncation(top_p=0.9).levels(logits).isneginf().tolist() == [[False, False, True, True]]
    assert Truncation(top_p=0.95).levels(logits).isneginf().tolist() == [[False, False, False, True]]
    assert Truncation(top_p=0.1).levels(logits).isneginf().tolist() == [[False, True, True, True]]
    assert shares[0, :2].sum() > 0.9
    odds = torch.logit(torch.tensor([0.04, 0.06, 0.5, 0.96]))
    assert Truncation(top_p=0.95).bits(odds).sigmoid().tolist() == pytest.approx([0.0, 0.06, 0.5, 1.0], abs=1e-6)
    for wrong in ({"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_p": True}):
        with pytest.raises(OptionError, match=r"model\.(temperature|top_p)="):
            Truncation(**wrong)


def test_followed_by() -> None:
    _, visits = simulated(6, codes=CODES)
    later = visits.of_patients(np.array([1, 0, 3, 2, 5, 4]))
    both = visits.followed_by(later)
    assert both.per_patient.tolist() == (visits.per_patient + later.per_patient).tolist()
    first, second = visits.of_patients(np.array([2])), visits.of_patients(np.array([3]))
    mine = both.of_patients(np.array([2]))
    assert mine.starts.tolist() == [*first.starts, *second.starts]
    assert mine.codes.tolist() == [*first.codes, *second.codes]
    assert mine.values.tolist() == [*first.values, *second.values]
    assert (mine.born[0], mine.died[0]) == (first.born[0], second.died[0])
