"""Tally on tables whose distribution is known: its likelihood, its draws, what is known in advance, when it stops."""

import itertools
import math
from functools import cache

import pytest
import torch
from torch import Tensor

from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.departures.drawing import drawn
from ehrsynth.models.departures.network import KNOTS, DepartureNetwork
from ehrsynth.models.departures.variables import NO_STATE, Variables, _ranges
from ehrsynth.models.quantiles import values_at
from ehrsynth.models.tally import Tally
from ehrsynth.sampling import sample_records
from ehrsynth.sampling.weighed import Weighing
from ehrsynth.schema import Column, Schema
from tests.training import fit

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]

DRUGS = tuple(Column(f"drug{i}", "binary", domain="medication") for i in range(8))
SEX = Column("sex", "categorical", ("F", "M"))
SITE = Column("site", "categorical", ("a", "b", "c", "d"), domain="site")
DIED = Column("died", "binary", role="outcome", domain="outcome")
AGE = Column("age", "continuous", bounds=(0, 1))
LACTATE = Column("lactate", "continuous", bounds=(0, 1), missing=True)
SMALL = {"width": 12, "depth": 1, "dropout": 0.0, "ranges": 4, "warmup_steps": 0}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows_of(schema: Schema, n: int, seed: int = 0) -> Records:
    layout = Layout.of(schema)
    chances = torch.rand(n, layout.width, generator=rng(seed)) * torch.linspace(0.2, 0.9, layout.width)
    return Records.of_dense(layout, layout.harden(chances, rng(seed + 1)))


@cache
def random_model(*columns: Column) -> Tally:
    """Return a model that has seen rows but learned nothing: its weights are large and random."""
    schema = Schema(columns)
    model = Tally(schema=schema, seed=3, **SMALL)  # type: ignore[arg-type]
    model.observe(rows_of(schema, 600))
    for weights in model.best.parameters():
        weights.copy_(0.6 * torch.randn(weights.shape, generator=rng(len(weights))))
    return model.eval()


def everything(variables: Variables) -> Tensor:
    """Return all records that there can be, in variables [n, V], whatever their tallies say."""
    return torch.tensor(list(itertools.product(*(range(size) for size in variables.sizes))))


def counts_of(variables: Variables, x: Tensor) -> Tensor:
    """Return a count for each tally's state, of ranges of one number each."""
    assert (variables.ranges[:, :, 1] == variables.ranges[:, :, 2]).all()
    return variables.told_counts(x)


def one_by_one(network: DepartureNetwork, v: Variables, x: Tensor, counts: Tensor, known: Tensor) -> float:
    """Return the surprise of one record in the words of the definition: variable after variable."""
    news = [int(x[p]) != int(v.no_news[p]) for p in range(len(x))]
    total, tables = network.start.clone(), network.tables()
    for place in range(len(x)):
        if known[place]:
            total += tables.known[v.starts[place] + x[place]]
    groups = v.states.layout.groups
    left = {t: int(counts[t]) for t in range(len(v.ranges))}
    for place in range(len(x)):
        if known[place] and news[place] and v.tally_of[place] >= 0:
            left[int(v.tally_of[place])] -= 1
    nats = 0.0
    for place in range(len(x)):
        if known[place]:
            continue
        h = total.clone()
        for tally, count in left.items():
            if place > v.tallies.start + tally:
                above = next(i for i, knot in enumerate(KNOTS) if knot > max(count, 0))
                share = (max(count, 0) - KNOTS[above - 1]) / (KNOTS[above] - KNOTS[above - 1])
                h += (1 - share) * network.left[tally, above - 1] + share * network.left[tally, above]
        h = network.states(h[None])[0]
        usual, logits = int(v.no_news[place]), network.levels(tables, v, h[None], place, x[None])[0]
        if v.tallies.start <= place < v.tallies.stop:
            codes = [p for p in range(len(x)) if v.tally_of[p] == place - v.tallies.start]
            least = sum(bool(known[p]) and news[p] for p in codes)
            for state in range(len(logits)):  # numbers from where it starts to where the next one does
                start, stop = (
                    [*v.ranges[place - v.tallies.start, : len(logits), 0].tolist(), 99][state + i] for i in (0, 1)
                )
                can = range(max(start, least), min(stop, least + sum(not known[p] for p in codes) + 1))
                logits[state] = logits[state] if can else -torch.inf
        levels = logits.log_softmax(0)
        odds = network.hazard.weight[place] @ h + network.hazard.bias[place]
        if place >= v.tallies.stop:
            odds += sum(network.by_level[v.starts[g] + x[g], place - v.tallies.stop] for g in range(len(groups)))
        departs = odds.sigmoid()
        if usual != NO_STATE:
            nats -= float(departs.log() if news[place] else (1 - departs).log())
        if news[place]:
            if usual == NO_STATE or v.sizes[place] > 2:
                nats -= float(levels[x[place]])
            total += tables.arrived[v.starts[place] + x[place]]
            if v.tally_of[place] >= 0:
                left[int(v.tally_of[place])] -= 1
    return nats


def test_codes_come_by_domain_and_prevalence_after_tallies_and_outcomes_last() -> None:
    columns = (DIED, *DRUGS, Column("flag", "binary", domain="other"), SEX, AGE)
    model = random_model(*columns)
    v = model.variables
    names = [*(c.name for c in columns if c.kind == "binary"), "sex", "age"]
    order = [names[variable] for variable in v.order.tolist()]
    assert order[:2] == ["sex", "age"]
    assert order[2] == "flag"  # the smaller domain
    assert order[-1] == "died"
    shares = dict(zip(names, model.variables.states.of(rows_of(Schema(columns), 600)).float().mean(0), strict=False))
    unusual = [min(float(shares[name]), 1 - float(shares[name])) for name in order[3:-1]]
    assert unusual == sorted(unusual)[::-1] or order[3:-1] == sorted(DRUGS, key=lambda c: -unusual[0])
    assert v.sizes[v.tallies] == [len(v.ranges[0])]
    assert (v.tally_of >= 0).sum() == 8


def test_chances_of_all_records_sum_to_one() -> None:
    for columns in ((SEX, SITE, *DRUGS[:3], DIED), (AGE, LACTATE, *DRUGS[:2]), DRUGS):
        model = random_model(*columns)
        v, x = model.variables, everything(model.variables)
        known = torch.zeros_like(x, dtype=torch.bool)
        counts = counts_of(v, x) if columns == DRUGS else v.counted(x != v.no_news)
        chances = (-model.best.surprise(v, x, counts, known).double()).exp()
        assert float(chances.sum()) == pytest.approx(1.0, abs=1e-5)
        known = torch.rand(x.shape, generator=rng(1)) < 0.4
        known[:, v.tallies] = False
        known = known[:1].expand(len(x), -1)
        given = (-model.best.surprise(v, x, counts, known).double()).exp()
        if not known.any():
            continue
        groups = torch.unique(x[:, known[0]], dim=0, return_inverse=True)[1]
        sums = torch.zeros(int(groups.max()) + 1, dtype=torch.float64).index_add(0, groups, given)
        torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-5, rtol=0)


def test_a_likelihood_is_that_of_the_definition_variable_by_variable() -> None:
    columns = (SEX, SITE, AGE, LACTATE, *DRUGS, DIED)
    model = random_model(*columns)
    v = model.variables
    x, counts = v.of(rows_of(Schema(columns), 40, seed=5).dense().nan_to_num(0.0))
    known = torch.rand(x.shape, generator=rng(2)) < torch.rand(40, 1, generator=rng(3)) * 0.5
    known[:, v.tallies] = False
    found = model.best.surprise(v, x, counts, known)
    expected = [one_by_one(model.best, v, *record) for record in zip(x, counts, known, strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-3, rtol=1e-4)


def test_draws_have_the_frequencies_that_the_likelihood_says() -> None:
    model = random_model(SEX, SITE, *DRUGS[:3], DIED)
    v, x = model.variables, everything(model.variables)
    code = torch.tensor([1, *v.sizes[:-1]]).cumprod(0)
    nothing = torch.zeros_like(x, dtype=torch.bool)
    some = nothing.clone()
    some[:, [1, 3]] = True
    for known, evidence in ((nothing, x[0]), (some, x[77])):
        nats = model.best.surprise(v, x, v.counted(x != v.no_news), known).double()
        chances = (-nats).exp() * ((x == evidence) | ~known).all(1)
        n = 100_000
        found, _ = drawn(model.best, v, evidence.expand(n, -1), known[0].expand(n, -1), rng(4))
        assert ((found == evidence) | ~known[0]).all()
        frequencies = torch.bincount((found * code).sum(1), minlength=int((x * code).sum(1).max()) + 1)
        expected = chances.new_zeros(len(frequencies)).index_copy(0, (x * code).sum(1), chances)
        often = expected > 1e-4
        apart = (frequencies / n - expected).abs() / (expected * (1 - expected) / n).sqrt()
        assert apart[often].max() < 4.5
        assert float((frequencies / n)[~often].sum()) == pytest.approx(float(expected[~often].sum()), abs=2e-3)


def test_tallied_draws_have_the_frequencies_too() -> None:
    model = random_model(*DRUGS)
    v, x = model.variables, everything(model.variables)
    known = torch.zeros_like(x, dtype=torch.bool)
    chances = (-model.best.surprise(v, x, counts_of(v, x), known).double()).exp()
    found, _ = drawn(model.best, v, x[:1].expand(100_000, -1), known[:1].expand(100_000, -1), rng())
    for part in (v.tallies.start, v.tallies.stop, v.tallies.stop + 5):
        expected = torch.stack([chances[x[:, part] == state].sum() for state in range(v.sizes[part])])
        frequencies = torch.bincount(found[:, part], minlength=v.sizes[part]) / 100_000
        assert ((frequencies - expected).abs() < 4.5 * (expected / 100_000).sqrt()).all()


def test_what_is_known_in_advance_says_nothing_else_of_the_record() -> None:
    """Among training rows of which the same is told, the rest is as among all rows that have it."""
    columns = DRUGS[:3]
    model = random_model(*columns)
    v = model.variables
    x = (torch.rand(1_000_000, 3, generator=rng()) < torch.tensor([0.4, 0.3, 0.2])).long()
    x[:, 2] |= x[:, 0] & x[:, 1]  # not independent
    x = x[:, v.order]
    known, weights = model._some_known(x, rng(1))
    assert 0.35 < float(known.any(1).float().mean()) < 0.65
    for place in range(3):
        for state in (0, 1):
            asked = (known.sum(1) == 1) & known[:, place] & (x[:, place] == state)
            have = x[:, place] == state
            for other in {0, 1, 2} - {place}:
                told = (weights[asked] * x[asked, other]).sum() / weights[asked].sum()
                assert float(told) == pytest.approx(float(x[have, other].float().mean()), abs=0.02)


def test_conditions_are_met_by_values_ranges_and_gaps() -> None:
    schema = Schema((SEX, AGE, LACTATE, *DRUGS))
    model = Tally(schema=schema, seed=0, **SMALL)  # type: ignore[arg-type]
    model.observe(rows_of(schema, 600))
    layout = model.layout
    low, high = torch.zeros(2, 1, layout.width)
    given = torch.zeros(1, layout.width, dtype=torch.bool)
    age, gap, women = (layout.names.index(name) for name in ("age", "lactate:missing", "sex=F"))
    low[0, age], high[0, age], given[0, age] = 0.3, 0.55, True
    low[0, gap] = high[0, gap] = 1
    low[0, women] = high[0, women] = 1
    given[0, [gap, women, layout.names.index("sex=M")]] = True
    rows = model.sample(500, rng(), Condition(layout, low, high, given))
    assert Condition(layout, low, high, given).met_by(rows).all()
    assert rows[:, age].std() > 0.02


def test_ranges_nobody_is_in_are_refused() -> None:
    model = random_model(AGE, *DRUGS[:2])
    model = Tally(schema=model.schema, seed=0, **SMALL)  # type: ignore[arg-type]
    model.observe(rows_of(model.schema, 600))
    model.best.level_bias.data.fill_(-60.0)
    model.best.level_bias.data[model.variables.sizes[0] - 1] = 60.0  # the last range of the age, always
    age = model.layout.names.index("age")
    low, high = torch.zeros(2, 1, model.layout.width)
    high[0, age] = float(values_at(torch.tensor([[0.6]]), model.quantiles))
    given = (high > 0).expand(1, -1)
    with pytest.raises(OptionError, match=r"condition age: none of 200 draws for a record lies in the ranges"):
        model.sample(5, rng(), Condition(model.layout, low, high, given))


def planted(n: int) -> Tensor:
    """Return 8 drugs, died, sex=F, sex=M: every record has two drugs next to each other; women of the first die."""
    first, u, female = torch.randint(7, (n,), generator=rng()), torch.rand(n, generator=rng(1)), rng(2)
    drugs = torch.zeros(n, 8).scatter(1, first[:, None], 1.0).scatter(1, first[:, None] + 1, 1.0)
    women = (torch.rand(n, generator=female) < 0.5).float()
    died = (u < 0.05 + 0.8 * women * drugs[:, 0]).float()
    return torch.cat([drugs, died[:, None], women[:, None], 1 - women[:, None]], dim=1)


@cache
def learned() -> Tally:
    model = Tally(
        schema=Schema((*DRUGS, DIED, SEX)), width=64, dropout=0.0, warmup_steps=20, learning_rate=1e-2, ema_decay=0.98
    )
    rows = planted(6_000)
    model.observe(Records.of_dense(model.layout, rows))
    fit(model, rows.split(250), 15)
    return model.eval()


def test_structure_is_learned_and_conditions_follow_it() -> None:
    model = learned()
    rows = model.sample(5_000, rng())
    drugs = rows[:, :8]
    assert float((drugs.sum(1) == 2).float().mean()) > 0.98
    assert float((drugs[:, :-1] * drugs[:, 1:]).sum(1).mean()) > 0.97  # next to each other
    have = (rows[:, 0] == 1) & (rows[:, 9] == 1)
    assert float(rows[have, 8].mean()) == pytest.approx(0.85, abs=0.07)
    dead = Condition.of(Records.of_dense(model.layout, torch.eye(11)[8:9] + torch.eye(11)[9:10]), ["died", "sex"])
    told = model.sample(5_000, rng(1), dead)
    assert (told[:, 8] == 1).all()
    # Of women who died 0.85 / 7 had the first drug, and 6/7 of 0.05 others.
    assert float(told[:, 0].mean()) == pytest.approx(0.85 / (0.85 + 6 * 0.05), abs=0.1)


def test_weighed_draws_under_a_condition_are_those_that_come_when_nothing_is_told() -> None:
    model = random_model(SEX, SITE, AGE, DIED)
    place = model.layout.names.index("died")
    asked = Condition.of(Records.of_dense(model.layout, torch.eye(model.layout.width)[place][None]), ["died"])
    free = model.sample(60_000, rng())
    free = free[free[:, place] == 1]
    told = model.sample(20_000, rng(1), asked)
    weighing = Weighing(model, asked, pool=80)
    kept = sample_records(model, 2_000, 0, condition=asked, keeping=weighing).dense()
    assert (kept[:, place] == 1).all()
    off = (kept.mean(0) - free.mean(0)).abs().max()
    assert weighing.enough
    assert off < 0.05
    assert (told.mean(0) - free.mean(0)).abs().max() > 3 * off  # the weights are random: what is told misleads
    records = Records.of_dense(model.layout, told[:50])
    likelier = model.log_likelihood(records) - model.log_likelihood(records, ["died"])
    torch.testing.assert_close(model.log_weights(records, asked), likelier)


def test_a_tally_whose_codes_are_known_takes_no_nats() -> None:
    model = random_model(SEX, DIED, *DRUGS)
    names = model.schema.names
    rows = rows_of(model.schema, 40, seed=3).dense()
    assert model.tallies.shape[0] == 1
    for name, states in (("sex", ([1.0, 0.0], [0.0, 1.0])), ("died", ([0.0], [1.0]))):
        known = [other for other in names if other != name]
        total = torch.zeros(len(rows))
        for state in states:
            rows[:, model.layout.places[name]] = torch.tensor(state)
            total += model.log_likelihood(Records.of_dense(model.layout, rows), known).exp()
        torch.testing.assert_close(total, torch.ones(len(rows)))


def test_a_tally_is_drawn_among_what_codes_that_are_known_allow() -> None:
    model = random_model(SEX, *DRUGS)
    places = [model.layout.names.index(drug.name) for drug in DRUGS]
    bits = torch.zeros(1, model.layout.width)
    bits[0, places[:3]] = 1
    asked = Condition.of(Records.of_dense(model.layout, bits), [drug.name for drug in DRUGS])
    rows = model.sample(200, rng(), asked)
    assert (rows[:, places] == bits[:, places]).all()
    x, known = model.variables.known(model.variables.states.evidence(asked).exp())
    assert model.variables.possible(0, x, known).sum() == 1
    some = known.clone()
    some[:, model.variables.tallies.stop :] &= x[:, model.variables.tallies.stop :] == 1
    starts = model.tallies[0, : model.variables.sizes[model.variables.tallies.start], 0]
    assert model.variables.possible(0, x, some)[0].tolist() == [stop > 3 for stop in [*starts[1:].tolist(), 99]]


def test_likelihood_nears_the_entropy_of_what_was_planted() -> None:
    model = learned()
    rows = Records.of_dense(model.layout, planted(6_000))
    died = -(0.85 * math.log(0.85) + 0.15 * math.log(0.15)) / 14
    died -= (0.05 * math.log(0.05) + 0.95 * math.log(0.95)) * 13 / 14
    entropy = math.log(7) + math.log(2) + died
    assert -float(model.log_likelihood(rows).mean()) == pytest.approx(entropy, abs=0.06)
    given = -float(model.log_likelihood(rows, known=[column.name for column in DRUGS]).mean())
    assert given == pytest.approx(math.log(2) + died, abs=0.05)


def test_a_checkpoint_brings_the_shapes_of_what_was_observed() -> None:
    model = random_model(SEX, AGE, LACTATE, *DRUGS)
    other = Tally(schema=model.schema, seed=0, **SMALL)  # type: ignore[arg-type]
    other.load_state_dict(model.state_dict())
    rows = rows_of(model.schema, 30, seed=8)
    torch.testing.assert_close(other.log_likelihood(rows), model.log_likelihood(rows), rtol=0, atol=0)
    assert torch.equal(other.sample(20, rng()), model.sample(20, rng()))


def test_neighbouring_ranges_of_a_number_have_much_in_common() -> None:
    schema = Schema((AGE, *DRUGS[:2]))
    model = Tally(schema=schema, width=64, ranges=32)
    model.observe(rows_of(schema, 2_000))
    ranges = model.best.arrived()[: model.variables.sizes[0]]
    assert len(ranges) > 25
    waves = model.best.arrived.shared[0]
    middle = (torch.arange(len(ranges)) + 0.5) / len(ranges)
    sums = [sum(math.cos(math.pi * f * t) / f**0.5 * waves[f - 1] for f in range(1, 9)) for t in middle.tolist()]
    torch.testing.assert_close(ranges - model.best.arrived.own[: len(ranges)], torch.stack(sums))  # type: ignore[arg-type]
    apart = torch.cdist(ranges, ranges)
    assert float(apart.diagonal(1).mean()) < 0.5 * float(apart.diagonal(16).mean())


def test_what_no_man_has_is_known_before_training_and_rare_pairs_are_not() -> None:
    n = 4_000
    women = (torch.rand(n, generator=rng()) < 0.5).float()
    prostate = (torch.rand(n, generator=rng(1)) < 0.1).float() * (1 - women)
    common = (torch.rand(n, generator=rng(2)) < 0.2 + 0.3 * women).float()
    rare = torch.zeros(n)
    rare[:7] = 1
    model = Tally(schema=Schema((*DRUGS[:3], SEX)), seed=0, **SMALL)  # type: ignore[arg-type]
    rows = torch.stack([prostate, common, rare, women, 1 - women], dim=1)
    model.observe(Records.of_dense(model.layout, rows))
    drawn = model.sample(20_000, rng())
    assert float(drawn[drawn[:, 3] == 1, 0].mean()) < 5e-4
    for sex in (3, 4):
        found = drawn[drawn[:, sex] == 1, 1].mean()
        assert float(found) == pytest.approx(float(rows[rows[:, sex] == 1, 1].mean()), abs=0.02)
    total = float(prostate.sum())
    never = math.log(0.05 / (float(women.sum()) + 0.5)) - math.log((total + 0.5) / (n - total + 0.5))
    place = model.variables.order.tolist().index(0) - 1  # after the sex
    assert float(model.best.by_level[0, place]) == pytest.approx(never, abs=1e-5)
    place = model.variables.order.tolist().index(2) - 1
    assert (model.best.by_level[:, place] == 0).all()  # seven patients


def test_training_stops_when_validation_rows_get_no_likelier_and_keeps_the_best() -> None:
    schema = Schema(DRUGS)
    rows = rows_of(schema, 60).dense()
    model = Tally(schema=schema, width=64, dropout=0.0, warmup_steps=0, ema_decay=0.5, patience=2, horizon=1e9)
    model.observe(Records.of_dense(model.layout, rows))
    unseen = rows_of(schema, 60, seed=9)
    model.hold_out(unseen)
    trainer = fit(model, rows.split(20), 200)
    assert trainer.current_epoch < 150
    assert int(model.waited) == 2
    assert -float(model.log_likelihood(unseen).mean()) == pytest.approx(float(model.least), abs=1e-5)
    assert float(model.least) < -float(model._likelihood_by(model.average.module, unseen).mean())


def test_weights_average_over_the_horizon_whatever_the_batch_and_what_starts_at_the_truth_does_not_decay() -> None:
    model = Tally(schema=Schema((*DRUGS, SEX)), width=64, learning_rate=0.01, horizon=7.5)
    rows = rows_of(model.schema, 60)
    model.observe(rows)
    optimizer = fit(model, rows.dense().split(15), 3).optimizers[0]
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: decays[id(weights)] for name, weights in model.network.named_parameters()}
    assert found["hazard.weight"] == found["arrived.own"] == pytest.approx(1 / (0.01 * 4 * 7.5))
    assert {name for name, decay in found.items() if decay == 0} == {
        *(name for name in found if name.endswith("bias")),
        "start",
        "level_bias",
        "by_level",
        "blocks.0.norm.weight",
    }
    (few,) = fit(model, [rows.dense()], 1).optimizers
    assert few.param_groups[0]["weight_decay"] == pytest.approx(1 / (0.01 * 20)), "an epoch of one batch"
    (gathered,) = fit(model, rows.dense().split(5), 1, accumulate_grad_batches=3).optimizers
    assert gathered.param_groups[0]["weight_decay"] == pytest.approx(1 / (0.01 * 4 * 7.5)), "twelve batches, four steps"


def test_no_range_of_a_tally_is_of_less_than_ten_rows() -> None:
    schema = Schema(tuple(Column(f"c{i}", "binary", domain="diagnosis") for i in range(60)))
    bits = (torch.rand(400, 60, generator=rng()) < torch.rand(400, 1, generator=rng(1)) ** 3).float()
    model = Tally(schema=schema, **SMALL)  # type: ignore[arg-type]
    model.observe(Records.of_dense(model.layout, bits))
    x, counts = model.variables.of(bits)
    rows = torch.bincount(x[:, 0], minlength=model.variables.sizes[0])
    assert (rows >= 10).all()
    assert len(rows) < 35
    assert int((counts >= model.tallies[0, -1, 2]).sum()) >= 10  # what is drawn at most, ten rows have or more
    within = (model.tallies[0, x[:, 0], 2] - model.tallies[0, x[:, 0], 1] + 1).float().log()
    assert within.max() > 0
    nothing = torch.zeros_like(x, dtype=torch.bool)
    torch.testing.assert_close(model.variables.nats_within(x, nothing), within)
    assert not model.variables.nats_within(x, ~nothing).any()
    states = torch.arange(len(rows)).repeat_interleave(200)
    assert torch.equal(model.variables.ranges_of(model.variables.counts_in(0, states, rng())[:, None])[:, 0], states)


def test_tallies_of_several_domains_are_told_apart() -> None:
    schema = Schema((*DRUGS, *(Column(f"c{i}", "binary", domain="diagnosis") for i in range(30))))
    rows = rows_of(schema, 600)
    model = Tally(schema=schema, **SMALL)  # type: ignore[arg-type]
    model.observe(rows)
    x, counts = model.variables.of(rows.dense())
    assert torch.equal(counts, torch.stack([rows.dense()[:, :8].sum(1), rows.dense()[:, 8:].sum(1)], 1).long())
    for tally, ranges in enumerate(model.tallies):
        start, low, high = ranges[x[:, tally]].unbind(1)
        assert (start <= counts[:, tally]).all()
        alone = (low == high) & (counts[:, tally] >= low)
        assert float(alone.float().mean()) > 0.8
        assert (counts[alone, tally] == low[alone]).float().mean() > 0.9


def test_numbers_of_codes_that_many_records_have_stand_alone() -> None:
    counts = torch.tensor([2] * 50 + [3] * 9 + [5] * 12 + [7] * 4 + [8] * 4 + [9] * 3 + [30] * 3)
    expected = [[0, 2, 2], [3, 5, 5], [6, 8, 8]]  # ten have 8 or more
    assert _ranges(counts).tolist() == expected
    assert _ranges(torch.tensor([1] * 20 + [2, 3, 4, 5] * 3 + [6] * 10)).tolist() == [[0, 1, 1], [2, 2, 5], [6, 6, 6]]
    assert _ranges(torch.tensor([4] * 3)).tolist() == [[0, 0, 0]]


def test_the_score_function_pushes_away_from_what_breaks_rules() -> None:
    from ehrsynth.constraints import Exclusive, Rules

    model = random_model(*DRUGS[:3])
    rule = Exclusive((model.schema.names[0], model.schema.names[1]))
    model = Tally(schema=model.schema, seed=1, **SMALL)  # type: ignore[arg-type]
    model.observe(rows_of(model.schema, 600))
    model.rules, model.rules_weight = Rules([rule], model.schema), 1.0
    optimizer = torch.optim.Adam(model.network.parameters(), lr=0.05)
    for step in range(60):
        optimizer.zero_grad()
        model._score_function(rng(step)).backward()
        optimizer.step()
    model.best.load_state_dict(model.network.state_dict())
    before = rows_of(model.schema, 600).dense()
    broken = [float(model.rules.broken(rows).float().mean()) for rows in (before, model.sample(2_000, rng()))]
    assert broken[1] < 0.3 * broken[0]
