"""How many codes records of a tree have, against all of its records; and a private tree that draws as many."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from ehrsynth.layout import Layout, Records
from ehrsynth.models.dp_tree import DPTree
from ehrsynth.models.number_of_codes import BINS, law_of_number, weights_towards
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


def learned(epsilon: float, counted: float = 0.05, seed: int = 0) -> DPTree:
    model = DPTree(schema=SCHEMA, epsilon=epsilon, counted=counted)
    model.noise = np.random.default_rng(seed)
    model.observe(two_of_six())
    return model


def numbers(model: DPTree, rows: Tensor) -> Tensor:
    names = model.layout.names
    return rows[:, [names.index(f"code{i}") for i in range(6)]].sum(1)


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


def test_weights_have_a_mean_of_one_and_are_limited() -> None:
    law, wanted = torch.zeros(BINS), torch.zeros(BINS)
    law[:3], wanted[:3] = torch.tensor([0.5, 0.499, 0.001]), torch.tensor([0.25, 0.65, 0.1])
    weights = weights_towards(wanted, law).exp()
    assert float((law * weights).sum()) == pytest.approx(1.0, abs=1e-6)
    assert float(weights[1] / weights[0]) == pytest.approx(0.65 / 0.499 / 0.5, rel=1e-4)
    assert float(weights[2] / weights[0]) == pytest.approx(8 / 0.5, rel=1e-4)


def test_drawn_records_have_as_many_codes_as_patients() -> None:
    real = numbers(learned(100.0), two_of_six().dense())
    for counted, off in ((0.05, (0.0, 0.03)), (0.0, (0.2, 1.0))):
        model = learned(100.0, counted)
        rows = model.sample(N, torch.Generator().manual_seed(1))
        drawn = numbers(model, rows)
        apart = max(abs(float((drawn == k).float().mean() - (real == k).float().mean())) for k in range(7))
        assert off[0] <= apart <= off[1]
        names = model.layout.names
        assert rows[:, names.index("died")].mean() == pytest.approx(0.1, abs=0.01)
        assert rows[:, names.index("sex=M")].mean() == pytest.approx(0.5, abs=0.02)


def test_noise_that_drowns_the_numbers_leaves_them_to_the_tree() -> None:
    model = learned(0.0005)
    law = law_of_number(model.tree, model._present)[0]
    assert float((law * (model.log_tilts.exp() - 1).abs()).sum()) < 0.1


def test_likelihoods_are_those_of_draws() -> None:
    """They add up to one over all records, also given some columns, and draws are as likely as they say."""
    model = learned(5.0)
    codes = torch.tensor(list(product([0.0, 1.0], repeat=6)))
    every = torch.zeros(len(codes) * 4, model.layout.width)
    names = model.layout.names
    for row, (i, sex, died) in enumerate(product(range(len(codes)), (0, 1), (0, 1))):
        every[row, [names.index(f"code{c}") for c in range(6)]] = codes[i]
        every[row, names.index("sex=M" if sex else "sex=F")] = 1.0
        every[row, names.index("died")] = died
    records = Records.of_dense(model.layout, every)
    likelihood = model.log_likelihood(records).exp()
    assert float(likelihood.sum()) == pytest.approx(1.0, abs=1e-4)
    given = model.log_likelihood(records, ("code0", "sex")).exp()
    for code, sex in product((0, 1), ("sex=F", "sex=M")):
        mine = (every[:, names.index("code0")] == code) & (every[:, names.index(sex)] == 1)
        assert float(given[mine].sum()) == pytest.approx(1.0, abs=1e-4)
        torch.testing.assert_close(given[mine], likelihood[mine] / likelihood[mine].sum(), rtol=1e-3, atol=1e-6)
    drawn = model.sample(60_000, torch.Generator().manual_seed(2))
    place = {tuple(row.tolist()): i for i, row in enumerate(every)}
    counted = np.bincount([place[tuple(row)] for row in drawn.tolist()], minlength=len(every)) / 60_000
    assert counted == pytest.approx(likelihood.numpy(), abs=0.006)
