"""How many codes records have, against all records there are; and private models that draw as many as patients have."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Binomial

from ehrsynth.accounting import Gaussian
from ehrsynth.layout import Layout, Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.dp_mixture import DPMixture
from ehrsynth.models.dp_tree import DPTree
from ehrsynth.models.number_of_codes import (
    BINS,
    counted_weights,
    drawn_by_weight,
    law_of_independent,
    law_of_number,
    number_in,
    weights_towards,
)
from ehrsynth.models.tree import Tree
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        *(Column(f"code{i}", "binary", domain="diagnosis") for i in range(6)),
        Column("sex", "categorical", ("F", "M"), domain="demographics"),
        Column("died", "binary", role="outcome", domain="outcome"),
    )
)
N = 20_000


def two_of_six(n: int = N, seed: int = 0) -> Records:
    """Patients of whom each has two of six codes, the first ones more often; three of hundred have none."""
    rng = np.random.default_rng(seed)
    order = rng.gumbel(size=(n, 6)) + np.log([4, 3, 2, 2, 1, 1])
    codes = order >= np.sort(order, axis=1)[:, [-2]]
    codes[rng.random(n) < 0.03] = False
    sex, died = rng.random(n) < 0.5, rng.random(n) < 0.1
    layout = Layout.of(SCHEMA)
    x = np.zeros((n, layout.width), np.float32)
    for i in range(6):
        x[:, layout.names.index(f"code{i}")] = codes[:, i]
    x[:, layout.names.index("sex=F")], x[:, layout.names.index("sex=M")] = ~sex, sex
    x[:, layout.names.index("died")] = died
    return Records.of_dense(layout, torch.from_numpy(x))


def private_tree(epsilon: float, counted: float = 0.05) -> DPTree:
    model = DPTree(schema=SCHEMA, epsilon=epsilon, counted=counted)
    model.noise = np.random.default_rng(0)
    model.observe(two_of_six())
    return model


def private_mixture(epsilon: float, counted: float = 0.05) -> DPMixture:
    model = DPMixture(schema=SCHEMA, epsilon=epsilon, counted=counted, components=3)
    model.noise = torch.Generator().manual_seed(0)
    model.observe(two_of_six())
    return model.eval()


each = pytest.mark.parametrize("learned", [private_tree, private_mixture])


def numbers(rows: Tensor) -> Tensor:
    names = Layout.of(SCHEMA).names
    return rows[:, [names.index(f"code{i}") for i in range(6)]].sum(1)


def all_records() -> Tensor:
    """All 256 records that there are."""
    names = Layout.of(SCHEMA).names
    every = torch.zeros(256, len(names))
    for row, (*codes, sex, died) in enumerate(product((0, 1), repeat=8)):
        every[row, [names.index(f"code{c}") for c in range(6)]] = torch.tensor(codes).float()
        every[row, names.index("sex=M" if sex else "sex=F")] = 1.0
        every[row, names.index("died")] = died
    return every


def counted_in(every: Tensor, drawn: Tensor) -> np.ndarray:
    """Return the share of each record among those drawn."""
    powers = 2 ** torch.arange(every.shape[1])
    names = [(rows.long() * powers).sum(1) for rows in (every, drawn)]
    found: np.ndarray = (torch.bincount(names[1], minlength=int(names[0].max()) + 1)[names[0]] / len(drawn)).numpy()
    return found


@pytest.mark.parametrize("known", [False, True])
def test_the_law_is_that_of_all_records(known: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    sizes = torch.tensor([2, 2, 2, 3, 2])
    tree = Tree.empty(torch.tensor([3, 0, 0, -1, 3]), sizes)
    for step in tree.steps:
        chances = torch.rand(step.table.shape, generator=rng) + 0.1
        tree.tables[step.table] = chances / chances.sum(2, keepdim=True)
    present = torch.zeros(int(sizes.sum()), dtype=torch.bool)
    present[tree.offsets[:3] + 1] = True  # the last variable has two states and is no code
    evidence = torch.zeros(2, int(sizes.sum()))
    if known:
        evidence[0, int(tree.offsets[1])] = -torch.inf  # the second code is there
        evidence[1, int(tree.offsets[3])] = -2.0
    states = torch.tensor(list(product(*map(range, sizes.tolist()))))
    found = torch.zeros(2, BINS, dtype=torch.float64)
    for row in states:
        at = tree.offsets[:-1] + row
        logs = evidence[:, at].sum(1) + sum(
            float(tree.tables[tree.starts[v] + (row[p] if p >= 0 else 0) * sizes[v] + row[v]].log())
            for v, p in enumerate(tree.parents.tolist())
        )
        found[:, int(row[:3].sum())] += logs.exp()
    wanted = found / found.sum(1, keepdim=True)
    torch.testing.assert_close(law_of_number(tree, present, evidence if known else None), wanted[: 2 if known else 1])


@pytest.mark.parametrize("codes", [0, 3, 9])
def test_independent_codes_have_the_law_of_all_their_sets(codes: int) -> None:
    chances = torch.rand(2, codes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = torch.zeros(2, BINS, dtype=torch.float64)
    for present in product((0, 1), repeat=codes):
        there = torch.tensor(present, dtype=torch.bool)
        wanted[:, sum(present)] += chances.where(there, 1 - chances).prod(1)
    torch.testing.assert_close(law_of_independent(chances), wanted)


def test_many_independent_codes_are_together_in_the_last_number() -> None:
    binomial = Binomial(200, torch.tensor(0.3, dtype=torch.float64))
    wanted = binomial.log_prob(torch.arange(201, dtype=torch.float64)).exp()
    found = law_of_independent(torch.full((1, 200), 0.3, dtype=torch.float64))[0]
    torch.testing.assert_close(found[:-1], wanted[: BINS - 1], rtol=1e-6, atol=1e-12)
    assert float(found[-1]) == pytest.approx(float(wanted[BINS - 1 :].sum()), rel=1e-6)


def test_weights_have_a_mean_of_one_and_are_limited() -> None:
    law, wanted = torch.zeros(BINS), torch.zeros(BINS)
    law[:3], wanted[:3] = torch.tensor([0.5, 0.499, 0.001]), torch.tensor([0.25, 0.65, 0.1])
    weights = weights_towards(wanted, law).exp()
    assert float((law * weights).sum()) == pytest.approx(1.0, abs=1e-6)
    assert float(weights[1] / weights[0]) == pytest.approx(0.65 / 0.499 / 0.5, rel=1e-4)
    assert float(weights[2] / weights[0]) == pytest.approx(8 / 0.5, rel=1e-4)


def test_noise_on_counts_is_as_large_as_is_said_and_explains_what_it_can() -> None:
    """Four patients have one code each; of the model's records half have one, half have none."""
    rows, codes = [torch.tensor([[1.0, 0.0]] * 3), torch.tensor([[0.0, 1.0]])], torch.tensor([0, 1])
    law = torch.zeros(BINS, dtype=torch.float64)
    law[:2] = 0.5
    silent = torch.zeros(BINS, dtype=torch.float64)
    weights, look = counted_weights(rows, codes, law, Gaussian(0.1), silent)
    # Beyond the model are -2 and 2: of their 8 squared, noise explains 64 * 0.01. So 4 patients become 0.16 and 3.84.
    torch.testing.assert_close(weights[:2].exp(), torch.tensor([0.08, 1.92], dtype=torch.float64))
    assert (look.what, look.mechanism) == ("numbers of codes", Gaussian(0.1))
    assert counted_weights(rows, codes, law, Gaussian(1.0), silent)[0][:2].tolist() == pytest.approx([0, 0])
    shift = silent.clone()
    shift[0], shift[1] = 10.0, -10.0  # times 0.1: one patient more and one less, so -1 and 1, of which 68 % are kept
    moved = counted_weights(rows, codes, law, Gaussian(0.1), shift)[0][:2].exp()
    assert moved.tolist() == pytest.approx([1 - 0.68 / 2, 1 + 0.68 / 2])


@each
@torch.no_grad()
def test_drawn_records_have_as_many_codes_as_patients(learned: Callable[..., DPTree | DPMixture]) -> None:
    real = numbers(two_of_six().dense())
    for counted, off in ((0.05, (0.0, 0.03)), (0.0, (0.2, 1.0))):
        model = learned(100.0, counted)
        rows = model.sample(N, torch.Generator().manual_seed(1))
        drawn = numbers(rows)
        apart = max(abs(float((drawn == k).float().mean() - (real == k).float().mean())) for k in range(7))
        assert off[0] <= apart <= off[1]
        names = model.layout.names
        assert rows[:, names.index("died")].mean() == pytest.approx(0.1, abs=0.01)
        assert rows[:, names.index("sex=M")].mean() == pytest.approx(0.5, abs=0.02)


@torch.no_grad()
def test_noise_that_drowns_the_numbers_leaves_them_to_the_model() -> None:
    drowned = private_tree(0.0005)
    law = law_of_number(drowned.tree, drowned._present)[0]
    assert float((law * (drowned.log_tilts.exp() - 1).abs()).sum()) < 0.1
    mixed = private_mixture(0.0005)
    law = mixed.shares.double() @ law_of_independent(mixed.chances[:, mixed._codes])
    assert float((law * (mixed.log_tilts.exp() - 1).abs()).sum()) < 0.1


@each
@torch.no_grad()
def test_likelihoods_are_those_of_draws(learned: Callable[..., DPTree | DPMixture]) -> None:
    """They add up to one over all records, also given some columns, and draws are as likely as they say."""
    model, every = learned(5.0), all_records()
    names, records = model.layout.names, Records.of_dense(model.layout, every)
    likelihood = model.log_likelihood(records).exp()
    assert float(likelihood.sum()) == pytest.approx(1.0, abs=1e-4)
    given = model.log_likelihood(records, ("code0", "sex")).exp()
    for code, sex in product((0, 1), ("sex=F", "sex=M")):
        mine = (every[:, names.index("code0")] == code) & (every[:, names.index(sex)] == 1)
        assert float(given[mine].sum()) == pytest.approx(1.0, abs=1e-4)
        torch.testing.assert_close(given[mine], likelihood[mine] / likelihood[mine].sum(), rtol=1e-3, atol=1e-6)
    drawn = model.sample(60_000, torch.Generator().manual_seed(2))
    assert counted_in(every, drawn) == pytest.approx(likelihood.numpy(), abs=0.006)


@each
@torch.no_grad()
def test_draws_under_a_condition_are_as_likely_as_they_say(learned: Callable[..., DPTree | DPMixture]) -> None:
    """One condition of all, and one after the other; what is left to numbers of codes that are unlikely too."""
    model, every = learned(5.0), all_records()
    records = Records.of_dense(model.layout, every)
    columns = ("code0", "code1", "code4", "sex")
    likelihood = model.log_likelihood(records, columns).exp()
    condition = Condition.of(records, columns)
    several = [0, 100, 255]  # none of these codes, some, all
    asked = condition.of_rows(torch.tensor(several).repeat(20_000))
    drawn = model.sample(60_000, torch.Generator().manual_seed(3), asked).view(20_000, len(several), -1)
    for i, row in enumerate(several):
        one = condition.of_rows(slice(row, row + 1))
        wanted = likelihood.where(one.met_by(every), 0.0)
        assert float(wanted.sum()) == pytest.approx(1.0, abs=1e-4)
        assert counted_in(every, drawn[:, i]) == pytest.approx(wanted.numpy(), abs=0.015)
        alone = model.sample(20_000, torch.Generator().manual_seed(4), one)
        assert counted_in(every, alone) == pytest.approx(wanted.numpy(), abs=0.015)


@torch.no_grad()
def test_a_number_that_is_known_weighs_what_its_law_would() -> None:
    """All codes are known of a whole record: no law of what is left is asked for."""
    model, every = private_tree(5.0), all_records()
    records, columns = Records.of_dense(model.layout, every), model.schema.names
    law = law_of_number(model.tree, model._present, model.states.evidence(Condition.of(records, columns)))
    assert torch.equal(law.argmax(1), number_in(every, model._codes))
    plain = private_tree(5.0, 0.0)
    plain.load_state_dict({name: part for name, part in model.state_dict().items() if name != "log_tilts"})
    weights = (law @ model.log_tilts.double().exp()).log()
    torch.testing.assert_close(model.log_likelihood(records).double(), plain.log_likelihood(records).double() + weights)


@torch.no_grad()
def test_a_mixture_of_weights_is_that_by_hand() -> None:
    """Every record is as likely as in the mixture, times the weight of its number of codes."""
    model, every = private_mixture(5.0), all_records()
    records = Records.of_dense(model.layout, every)
    plain = private_mixture(5.0, 0.0)
    plain.load_state_dict({name: part for name, part in model.state_dict().items() if name != "log_tilts"})
    weights = model.log_tilts.double()[numbers(every).long()]
    assert float(weights.max() - weights.min()) > 1
    torch.testing.assert_close(model.log_likelihood(records), plain.log_likelihood(records) + weights)


def test_no_draw_waits_for_a_number_of_codes_that_its_condition_rules_out() -> None:
    """Of two codes one is asked for: one and two weigh the same, so each draw is taken, however much others weigh."""
    schema = Schema(SCHEMA.columns[:2])
    layout, calls = Layout.of(schema), []
    log_weights = torch.full((BINS,), 5.0)
    log_weights[:3] = torch.tensor([3.0, 1.0, 1.0])

    def draw(n: int, generator: torch.Generator, condition: Condition | None) -> Tensor:
        calls.append(n)
        rows = (torch.rand(n, 2, generator=generator) < 0.5).float()
        return rows if condition is None else condition.imposed_on(rows)

    asked = Condition.of(Records.of_dense(layout, torch.ones(1, 2)), ["code0"])
    drawn = partial(drawn_by_weight, draw, log_weights, torch.tensor([0, 1]), 5000)
    rows = drawn(torch.Generator().manual_seed(0), asked)
    assert calls == [5000]
    assert rows.mean(0).tolist() == pytest.approx([1.0, 0.5], abs=0.03)
    free = torch.bincount(drawn(torch.Generator().manual_seed(0), None).sum(1).long()) / 5000
    wanted = np.exp([3.0, 1.0, 1.0]) * [0.25, 0.5, 0.25]
    assert free.numpy() == pytest.approx(wanted / wanted.sum(), abs=0.03)
