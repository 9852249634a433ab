"""The forest over noisy counts: what it finds without noise, how much noise there is, and what one patient changes."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from ehrsynth.accounting import Gaussian, epsilon_of
from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.ledger import Ledger
from ehrsynth.models.condition import Condition
from ehrsynth.models.dp_tree import DPTree, _forest
from ehrsynth.models.noisy_looks import norm_sub
from ehrsynth.models.tree import Tree, pairwise_errors
from ehrsynth.schema import Column, Schema

CODES = 6
SCHEMA = Schema(
    (
        *(Column(f"code{i}", "binary", domain="diagnosis") for i in range(CODES)),
        Column("sex", "categorical", ("F", "M")),
        Column("visits", "count", bounds=(0, 4)),
        Column("age", "continuous", bounds=(0, 100), missing=True),
        Column("constant", "continuous", bounds=(3, 3)),
    )
)
N = 20_000


def patients(n: int = N, seed: int = 0) -> Records:
    """Codes 0 and 1 go together, code 2 is of women, age of those with many visits, code 5 of nobody."""
    rng = np.random.default_rng(seed)
    sex, visits = rng.random(n) < 0.4, rng.integers(0, 5, n)
    codes = rng.random((n, CODES)) < np.array([0.2, 0, 0, 0.05, 0.3, 0])
    codes[:, 1] = np.where(rng.random(n) < 0.9, codes[:, 0], rng.random(n) < 0.2)
    codes[:, 2] = ~sex & (rng.random(n) < 0.5)
    age = np.clip(visits / 5 + 0.1 * rng.random(n), 0, 1)
    gap = rng.random(n) < 0.1
    layout = Layout.of(SCHEMA)
    x = np.zeros((n, layout.width), np.float32)
    x[:, :CODES] = codes
    x[:, layout.names.index("age:missing")] = gap
    x[:, layout.names.index("sex=F")], x[:, layout.names.index("sex=M")] = ~sex, sex
    values = layout.values.start
    x[:, values], x[:, values + 1] = visits / 4, age
    return Records.of_dense(layout, torch.from_numpy(x))


def learned(epsilon: float, records: Records | None = None, seed: int = 0, **options: int) -> DPTree:
    model = DPTree(schema=SCHEMA, epsilon=epsilon, **options)
    model.noise = np.random.default_rng(seed)
    model.observe(patients() if records is None else records)
    return model


def joined(model: DPTree) -> set[frozenset[str]]:
    names = model.states.columns
    return {frozenset((names[i], names[p])) for i, p in enumerate(model.parents.tolist()) if p >= 0}


def drawn(model: DPTree, n: int = N, condition: Condition | None = None) -> Tensor:
    return model.sample(n, torch.Generator().manual_seed(1), condition)


def test_what_depends_on_what_is_found_and_drawn_as_it_is() -> None:
    model, real = learned(100.0), patients().dense().nan_to_num(0.0)
    pairs = {("code0", "code1"), ("sex", "code2"), ("visits", "age")}
    assert {frozenset(pair) for pair in pairs} <= joined(model)
    assert len(joined(model)) == len(SCHEMA.columns) - 1
    rows = drawn(model)
    at = model.layout.values.start
    gap = model.layout.names.index("age:missing")
    for table in (rows, real):
        table[table[:, gap] > 0, at + 1] = 0.0  # whatever stands under a gap
    torch.testing.assert_close(rows.mean(0), real.mean(0), rtol=0, atol=0.02)
    wanted, found = (float(torch.corrcoef(table[:, :CODES].T)[0, 1]) for table in (real, rows))
    assert found == pytest.approx(wanted, abs=0.03)
    assert rows[:, :CODES][rows[:, model.layout.names.index("sex=M")] > 0, 2].mean() < 0.01
    known = rows[rows[:, gap] == 0]
    assert torch.corrcoef(known[:, at : at + 2].T)[0, 1] > 0.85
    assert (rows[:, at + 2] == 0).all()


def test_conditions_are_those_that_counting_finds() -> None:
    model = learned(100.0)
    rows = drawn(model, 60_000)
    layout, values = model.layout, model.layout.values.start
    low, high, given = (torch.zeros(1, layout.width) for _ in range(3))
    low[0, values], high[0, values], given[0, values] = 0.7, 1.0, 1.0
    low[0, 0] = high[0, 0] = given[0, 0] = 1.0
    condition = Condition(layout, low, high, given.bool())
    asked, counted = drawn(model, 20_000, condition), rows[condition.met_by(rows)]
    assert condition.met_by(asked).all()
    torch.testing.assert_close(asked.mean(0), counted.mean(0), rtol=0, atol=0.03)


def test_little_epsilon_joins_few_and_is_near_the_margins() -> None:
    model, real = learned(0.05), patients().dense().nan_to_num(0.0)
    assert 1 <= len(joined(model)) < len(SCHEMA.columns) - 1
    torch.testing.assert_close(drawn(model).mean(0)[:CODES], real.mean(0)[:CODES], rtol=0, atol=0.05)


def test_its_ledger_says_what_it_spent_and_noise_is_as_large() -> None:
    model = learned(2.0)
    ledger = Ledger(1 / N, model.looks)
    assert ledger.total.value == pytest.approx(2.0, rel=1e-3)
    assert ledger.total.value <= 2.0
    told = next(look.mechanism for look in model.looks if isinstance(look.mechanism, Gaussian))
    assert epsilon_of([told] * 6, 1 / N).rdp == pytest.approx(
        epsilon_of([Gaussian(told.noise_multiplier, 6)], 1 / N).rdp
    )
    alone = Tree.empty(torch.full((len(model.states.sizes),), -1), torch.tensor(model.states.sizes))
    rows, rng = partial(model.states.blocks, patients(200)), np.random.default_rng(0)
    found = [model._counted(rows, alone, 10, told, rng) for _ in range(400)]
    assert torch.stack(found).std(0).mean() == pytest.approx(10**0.5 * told.noise_multiplier, rel=0.03)


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("chained", [False, True])
def test_a_patient_changes_counts_by_no_more_than_the_norm(heavy: bool, chained: bool) -> None:
    schema = Schema(tuple(Column(f"c{i}", "binary") for i in range(50)))
    model = DPTree(schema=schema, most_codes=9)
    parents = torch.arange(-1, 49) if chained else torch.full((50,), -1)
    tree = Tree.empty(parents, torch.full((50,), 2))
    x = (torch.rand(20, 50, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    x[-1] = torch.ones(50) if heavy else torch.cat([torch.ones(5), torch.zeros(45)])
    records = Records.of_dense(Layout.of(schema), x)

    def counts(part: Records) -> Tensor:
        rows = partial(model.states.blocks, part)
        return model._counted(rows, tree, 9, Gaussian(1e-9), np.random.default_rng(0))

    changed = (counts(records) - counts(records[:-1])).norm()
    wanted = 3.0 if heavy else (4.0 if chained else 5.0) ** 0.5
    assert changed == pytest.approx(wanted, abs=1e-4)


def test_errors_of_independence_are_those_of_tables_and_one_row_changes_them_by_one() -> None:
    rng = np.random.default_rng(0)
    sizes = [2, 3, 2, 4]
    states = torch.from_numpy(np.stack([rng.integers(0, size, 60) for size in sizes], 1))
    margins = np.concatenate([rng.dirichlet(np.ones(size)) * 60 for size in sizes])
    found = pairwise_errors(lambda: [states[:25], states[25:]], sizes, margins)
    starts = np.cumsum([0, *sizes])
    for i in range(4):
        for j in range(4):
            table = np.zeros((sizes[i], sizes[j]))
            np.add.at(table, (states[:, i].numpy(), states[:, j].numpy()), 1)
            of_i, of_j = margins[starts[i] : starts[i + 1]], margins[starts[j] : starts[j + 1]]
            wanted = 0.0 if i == j else np.abs(table - np.outer(of_i, of_j) / 60).sum()
            assert found[i, j] == pytest.approx(wanted)
    fewer = pairwise_errors(lambda: [states[:-1]], sizes, margins)
    assert np.abs(found - fewer).max() <= 1 + 1e-9


def test_choices_follow_the_exponential_mechanism() -> None:
    errors = np.zeros((3, 3))
    errors[0, 1] = errors[1, 0] = 2.0
    rng, hits = np.random.default_rng(0), 0
    for _ in range(3000):
        parents = _forest(errors, 1, 1.0, rng)
        hits += bool(parents[1] == 0)
        assert (parents >= 0).sum() == 1
    assert hits / 3000 == pytest.approx(np.e / (np.e + 2), abs=0.03)
    chain = np.array([[0, 9, 0, 0], [9, 0, 8, 7], [0, 8, 0, 6], [0, 7, 6, 0.0]])
    assert _forest(chain, 3, 1e3, rng).tolist() == [-1, 0, 1, 1]


def test_the_nearest_counts_of_a_sum() -> None:
    assert norm_sub(torch.tensor([3.0, -1.0, 2.0]), 4.0).tolist() == [2.5, 0.0, 1.5]
    assert norm_sub(torch.tensor([1.0, 1.0]), 6.0).tolist() == [3.0, 3.0]
    assert norm_sub(torch.tensor([5.0, -5.0]), 0.0).tolist() == [0.0, 0.0]


def test_the_noise_is_secret_and_options_are_checked() -> None:
    tables = [learned(1.0).tables, learned(1.0).tables]
    torch.testing.assert_close(*tables)
    models = [DPTree(schema=SCHEMA, seed=0, epsilon=1.0) for _ in range(2)]
    for model in models:
        model.observe(patients(500))
    assert models[0].tables.shape != models[1].tables.shape or not models[0].tables.equal(models[1].tables)
    for option in ({"epsilon": 0}, {"most_codes": 0}, {"bins": 1}):
        with pytest.raises(OptionError, match=f"model.{next(iter(option))}"):
            DPTree(schema=SCHEMA, **option)  # type: ignore[arg-type]
