"""What tables of counts tell: margins, counts of ten rows or more, and zeros that mean something; nothing else."""

import numpy as np
import pytest
import torch

from ehrsynth.layout import Layout, Records
from ehrsynth.models.chow_liu import ChowLiu
from ehrsynth.models.told import told
from ehrsynth.models.tree import Tree, pair_counts
from ehrsynth.schema import Column, Schema


def of(counts: list[list[int]]) -> list[list[float]]:
    found: list[list[float]] = told(torch.tensor([counts]))[0].tolist()
    return found


def test_counts_of_ten_rows_or_more_are_told_as_they_are() -> None:
    assert of([[900, 50], [40, 10]]) == [[900, 50], [40, 10]]


@pytest.mark.parametrize("few", [1, 9])
def test_two_codes_that_few_rows_share_are_told_as_if_independent(few: int) -> None:
    assert of([[950 - few, few], [50 - few, few]]) != [[950 - few, few], [50 - few, few]]
    found = of([[910 + few, 50 - few], [40 - few, few]])
    np.testing.assert_allclose(found, np.outer([960, 40], [950, 50]) / 1000)


def test_that_nobody_has_both_is_told_where_five_were_expected() -> None:
    assert of([[400, 100], [500, 0]]) == [[400, 100], [500, 0]]  # 50 women are expected
    assert of([[0, 0], [500, 100]]) == [[0, 0], [500, 100]]  # nobody has the state
    np.testing.assert_allclose(of([[994, 3], [3, 0]]), np.outer([997, 3], [997, 3]) / 1000)


def test_of_a_code_of_one_sex_and_three_patients_of_unknown_sex_these_go_where_they_fit() -> None:
    found = of([[900, 100], [800, 0], [3, 0]])  # rows F, M, unknown
    assert found == [[900, 100], [800, 0], [3, 0]]
    found = of([[900, 100], [800, 0], [2, 1]])
    np.testing.assert_allclose(found, [[902 * 1000 / 1003, 101 * 1000 / 1003], [800, 0], [902 * 3 / 1003, 303 / 1003]])


def test_ranges_that_differ_least_are_put_together() -> None:
    counts = [[500, 400, 300, 200, 100], [3, 4, 20, 40, 90]]
    found = of(counts)
    np.testing.assert_allclose(found[1][:3], np.array([503, 404, 320]) * 27 / 1227)
    assert found[1][3:] == [40, 90]


@pytest.mark.parametrize("shape", [(2, 2), (2, 9), (7, 2), (12, 15), (1, 6)])
@pytest.mark.parametrize("seed", range(5))
def test_margins_stay_and_nothing_below_ten_can_be_read_off(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    means = rng.exponential(1, (4, *shape)) ** 2 * 30 * (rng.random((4, *shape)) < 0.8)
    counts = rng.poisson(means).astype(float)
    for table, found in zip(counts, told(torch.from_numpy(counts)).numpy(), strict=True):
        np.testing.assert_allclose(found.sum(1), table.sum(1), atol=1e-9)
        np.testing.assert_allclose(found.sum(0), table.sum(0), atol=1e-9)
        require_nothing_small(table, found)


def test_nothing_below_ten_can_be_read_off_a_checkpoint() -> None:
    schema = Schema(
        (
            *(Column(f"code{i}", "binary") for i in range(20)),
            Column("sex", "categorical", ("F", "M", "X")),
            Column("ward", "categorical", tuple("abcdefgh")),
            Column("age", "continuous", bounds=(0, 1)),
        )
    )
    layout, rng, n = Layout.of(schema), torch.Generator().manual_seed(0), 1500
    age = torch.rand(n, 1, generator=rng)
    ward = (age * 5 + torch.rand(n, 1, generator=rng).pow(2) * 4).long().clamp(max=7).squeeze(1)
    sex = torch.multinomial(torch.tensor([0.5, 0.497, 0.003]), n, True, generator=rng)
    chances = torch.rand(8, 20, generator=rng).pow(5)[ward] * torch.linspace(0.1, 1, 20)
    chances[sex == 1, 19] = 0.0  # a code of women
    parts = [chances, torch.eye(3)[sex], torch.eye(8)[ward], age]
    train = Records.of_dense(layout, layout.harden(torch.cat(parts, dim=1), rng))
    model = ChowLiu(schema=schema, smoothing=1.0)
    model.observe(train)
    sizes = torch.tensor(model.states.sizes)
    tree = Tree(model.parents, sizes, model.tables.double())
    real = pair_counts(lambda: [model.states.of(train)], model.parents, sizes).double()
    small = 0
    for step in tree.steps:
        for cells in step.table:
            table = real[cells]
            above, beside = table.sum(1, keepdim=True), table.sum(0)
            found = tree.tables[cells] * (above * (n + 1) / n) - above * beside / n / n  # without the smoothing
            require_nothing_small(table.numpy(), found.numpy(), 1e-2)
            small += int(((table > 0) & (table < 10)).sum())
    assert small > 20, "there was something to hide"
    rows = model.sample(20_000, torch.Generator().manual_seed(0))
    of_men, of_women = (rows[rows[:, 20 + level] == 1, 19].mean() for level in (1, 0))
    assert of_men < 0.02 < 0.1 < of_women


def require_nothing_small(counts: np.ndarray, found: np.ndarray, atol: float = 1e-9) -> None:
    """Every told count is of rows and columns put together, whose cells are proportional to their margins."""
    rows, columns = (_alike(found if axis else found.T, atol) for axis in (1, 0))
    if min(rows.max(), columns.max()) == 0:
        return  # nothing but the margins
    for row in range(rows.max() + 1):
        for column in range(columns.max() + 1):
            block = np.ix_(rows == row, columns == column)
            together = counts[block].sum()
            assert found[block].sum() == pytest.approx(together, abs=10 * atol)
            assert together == 0 or together >= 10


def _alike(table: np.ndarray, atol: float) -> np.ndarray:
    """Number the rows of a table such that those of one shape have one number."""
    shapes = table / np.maximum(table.sum(1, keepdims=True), 1e-300)
    found = np.zeros(len(table), int)
    for row in range(1, len(table)):
        same = [other for other in range(row) if np.allclose(shapes[row], shapes[other], atol=atol / 100, rtol=1e-7)]
        found[row] = found[same[0]] if same else found.max() + 1
    return found
