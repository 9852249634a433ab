"""The law of a number with its atoms: shared values come back exactly, and nothing that few rows have is told."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import wasserstein_distance

from ehrsynth.data import hard_case
from ehrsynth.data.encoding import Encoder, fit_numbers
from ehrsynth.data.hard_case import OUTCOMES
from ehrsynth.disclosure import LEAST, shared_bounds
from ehrsynth.kinds import unscaled
from ehrsynth.layout import Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.law import KNOTS, law_of
from ehrsynth.models.quantiles import places_of, quantiles, values_at
from ehrsynth.models.states import States, edges_of
from ehrsynth.schema import Column, Schema

N = 5_000


def law(
    numbers: np.ndarray, decimals: int = 0, bounds: tuple[float, float] | None = None
) -> tuple[torch.Tensor, Column]:
    column = Column("x", "continuous", bounds=bounds or (numbers.min(), numbers.max()), decimals=decimals)
    schema = Schema((column,))
    records = Encoder(schema).encode(pd.DataFrame({"x": numbers}))
    return law_of(records, schema), column


def drawn(numbers: np.ndarray, decimals: int = 0, n: int = 200_000, **options: tuple[float, float]) -> np.ndarray:
    """Return numbers at ``n`` even places of their law."""
    found, column = law(numbers, decimals, **options)
    return unscaled(column, values_at((torch.arange(n) + 0.5)[:, None] / n, found)[:, 0])


def share(numbers: np.ndarray, value: float) -> float:
    return float((numbers == value).mean())


def test_shared_values_come_back_as_often_and_nothing_lies_between_them() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.choice([0.0, 9, 26, 37, 44, 100], N, p=[0.7, 0.1, 0.08, 0.06, 0.05, 0.01])
    found = drawn(numbers)
    assert set(found) == set(numbers)
    for value in set(numbers):
        assert share(found, value) == pytest.approx(share(numbers, value), abs=2e-5)


def test_a_limit_of_detection_takes_nothing_of_its_neighbours() -> None:
    rng = np.random.default_rng(0)
    numbers = np.exp(rng.normal(0, 1, N)).clip(0.5, 3).round(3)
    found = drawn(numbers, 3)
    for limit in (0.5, 3.0):
        assert share(numbers, limit) > 0.1
        assert share(found, limit) == pytest.approx(share(numbers, limit), abs=1e-4)
    assert found.mean() == pytest.approx(numbers.mean(), rel=1e-4)


def test_a_few_rows_beside_a_large_atom_do_not_smear_it() -> None:
    numbers = np.r_[np.full(500, 110.0), [112, 114, 117], np.full(300, 120.0), np.full(12, 190.0), 191.0, 193.0]
    found = drawn(numbers)
    assert {value for value in set(found) if value < 125} == {110.0, 120.0}
    assert share(found, 110) == pytest.approx(503 / 817, abs=0.004)
    assert found[found > 125].min() == 190
    assert (found > 125).mean() == pytest.approx(14 / 817, abs=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_heavy_tails_keep_their_mean_and_end_at_the_bound(sign: int) -> None:
    numbers = sign * np.random.default_rng(1).pareto(1.5, N).round(2)
    low, high = shared_bounds(pd.Series(numbers).value_counts().sort_index())
    clipped = numbers.clip(low, high)
    found = drawn(clipped, 2, bounds=(low, high))
    assert (found.min(), found.max()) == (low, high)
    assert found.mean() == pytest.approx(clipped.mean(), rel=2e-3)
    for part in (0.9, 0.99, 0.998):
        ends = np.quantile(sign * found, part), np.quantile(sign * clipped, part)
        assert ends[0] == pytest.approx(ends[1], rel=0.05)


def test_places_and_values_undo_each_other() -> None:
    rng = np.random.default_rng(2)
    numbers = np.where(rng.random(N) < 0.3, 2.0, rng.normal(3, 1, N).round(3))
    found, _ = law(numbers, 3)
    places = torch.linspace(0, 1, 777)[:, None]
    values = values_at(places, found)
    assert (values.diff(dim=0) >= 0).all()
    below, up_to = places_of(values, found, right=False), places_of(values, found, right=True)
    assert ((below <= places + 1e-5) & (places <= up_to + 1e-5)).all()
    assert (up_to - below).max() == pytest.approx(0.3, abs=0.02)
    outside = torch.tensor([[-1.0], [2.0]])
    assert places_of(outside, found, right=True)[:, 0].tolist() == [0, 1]
    assert places_of(outside, found, right=False)[:, 0].tolist() == [0, 1]


def test_nine_rows_between_two_atoms_leave_no_trace_of_their_values() -> None:
    around = np.r_[np.zeros(400), np.full(300, 50.0)]
    one, other = (law(np.r_[around, cells], 0)[0] for cells in (np.arange(1, 10), np.arange(40, 49)))
    assert torch.equal(one, other)


def test_of_ten_rows_together_nothing_but_the_mean_is_told() -> None:
    around = np.r_[np.zeros(400), np.full(300, 50.0)]
    rows = (np.arange(20, 30), np.r_[np.arange(16, 21), np.arange(29, 34)])
    assert rows[0].sum() == rows[1].sum()
    one, other = (law(np.r_[around, cells], 0)[0] for cells in rows)
    assert torch.allclose(one, other, atol=1e-6)
    assert not torch.equal(one, law(np.r_[around, rows[0] + 5], 0)[0])


def test_of_the_ten_largest_rows_nothing_but_the_tenth_and_their_mean_is_told() -> None:
    body = np.random.default_rng(3).normal(0, 1, N).round(4).clip(-3, 3)
    largest = (np.linspace(5, 10, 9), np.r_[np.full(8, 6.5), 15.5])
    assert largest[0].sum() == largest[1].sum()
    one, other = (law(np.r_[body, 4.0, cells], 4, (-5.0, 20.0))[0] for cells in largest)
    assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("numbers", [[], [4.0], [1.0, 2.0, 3.0], [7.0] * 30], ids=["none", "one", "three", "constant"])
def test_few_rows_and_constants(numbers: list[float]) -> None:
    cells = np.array([*numbers, *[np.nan] * 3])
    bounds = (min(numbers, default=0.0), max(numbers, default=1.0))
    schema = Schema((Column("x", "continuous", bounds=bounds, decimals=0, missing=True),))
    records = Encoder(schema).encode(pd.DataFrame({"x": cells}))
    found = law_of(records, schema)
    assert found.shape == (2, KNOTS, 1)
    values = unscaled(schema.columns[0], values_at(torch.linspace(0, 1, 50)[:, None], found)[:, 0])
    assert ((values >= bounds[0]) & (values <= bounds[1])).all()


def test_many_rows_have_no_more_knots() -> None:
    rng = np.random.default_rng(4)
    numbers = np.r_[rng.normal(0, 1, 50_000).round(6), rng.integers(-3000, 3000, 100_000) / 1000]
    places = law(numbers, 6)[0][0, :, 0]
    assert (places.diff() >= 0).all()
    assert 1_000 < len(places.unique()) < KNOTS
    found = drawn(numbers, 6, 100_000)
    assert wasserstein_distance(found, numbers) < 1e-3 * numbers.std()


# --- numbers drawn through states, as models of discrete variables draw them ------------------------------------------


@pytest.fixture(scope="module")
def hard() -> tuple[Schema, Records, pd.DataFrame, pd.DataFrame]:
    """The numbers of the hard case: training rows, encoded too, and as many fresh patients, clipped to their bounds."""
    train, fresh = (hard_case.draw(N, seed).select_dtypes("number").drop(columns=[*OUTCOMES]) for seed in (0, 1))
    columns = []
    for name in train:
        bounds = shared_bounds(train[name].value_counts().sort_index())
        train[name], fresh[name] = (table[name].clip(*bounds) for table in (train, fresh))
        column = Column(str(name), "continuous", bounds=bounds, missing=bool(train[name].isna().any()))
        columns.append(replace(fit_numbers(column, train[name]), bounds=bounds))
    schema = Schema(tuple(columns))
    return schema, Encoder(schema).encode(train), train, fresh


def through_states(schema: Schema, train: Records, *, shuffled: bool) -> pd.DataFrame:
    """Draw each number's states at their training frequencies, as many as there are rows, or exactly as often."""
    found, rng = law_of(train, schema), torch.Generator().manual_seed(0)
    states = States(train.layout, found, edges_of(train, found, 32))
    real = states.of(train)
    chosen = torch.randint(len(real), real.shape, generator=rng)
    rows = states.records(real.gather(0, chosen) if shuffled else real, rng, None)
    return Encoder(schema).decode(Records.of_dense(train.layout, rows).with_gaps())


def test_numbers_drawn_through_states_are_no_farther_from_training_than_fresh_patients(
    hard: tuple[Schema, Records, pd.DataFrame, pd.DataFrame],
) -> None:
    schema, records, train, fresh = hard
    synthetic = through_states(schema, records, shuffled=True)

    def distance(table: pd.DataFrame, name: str) -> float:
        return wasserstein_distance(train[name].dropna(), table[name].dropna()) / np.ptp(train[name].dropna())

    distances = np.array([[distance(table, name) for table in (synthetic, fresh)] for name in schema.names])
    assert distances[:, 0].mean() < 1.0 * distances[:, 1].mean()
    assert (distances[:, 0] < 3 * distances[:, 1].clip(np.median(distances[:, 1]))).all()


def test_numbers_drawn_through_states_have_the_atoms_gaps_and_decimals_of_training_rows(
    hard: tuple[Schema, Records, pd.DataFrame, pd.DataFrame],
) -> None:
    schema, records, train, _ = hard
    synthetic = through_states(schema, records, shuffled=False)
    assert synthetic.isna().equals(train.isna())
    for column in schema.columns:
        real, made = train[column.name].dropna(), synthetic[column.name].dropna()
        counts = real.value_counts()
        large = counts[counts >= len(real) / 32]
        found = made.value_counts().reindex(large.index, fill_value=0)
        # A range that holds such a value may hold a few others too, among which the draw decides.
        assert (found - large).abs().max() < 5 * len(real) ** 0.5 if len(large) else True, column.name
        if counts.min() >= LEAST:
            assert set(made) == set(real), column.name
        assert np.allclose(made, made.round(column.decimals or 0))
    for name, value in (("urine", 0), ("crp", 5), ("heart_rate", 0), ("saturation", 100), ("glucose", 600)):
        assert (synthetic[name] == value).mean() == pytest.approx((train[name] == value).mean(), abs=0.004), name
    assert (synthetic["systolic"] % 2 == 0).mean() > 0.99


def test_a_condition_on_a_shared_value_is_met_by_its_range_alone() -> None:
    numbers = np.random.default_rng(5).choice([0.0, 3, 4, 9], N, p=[0.6, 0.2, 0.15, 0.05])
    schema = Schema((Column("x", "count", bounds=(0, 9)),))
    records = Encoder(schema).encode(pd.DataFrame({"x": numbers}))
    found = law_of(records, schema)
    states = States(records.layout, found, edges_of(records, found, 16))
    assert states.ranges == [4]
    condition = Condition.of(records[torch.tensor([int((numbers == 4).argmax())])], ["x"])
    assert states.evidence(condition).exp().tolist() == [[0, 0, 1, 0]]
    between = Condition(records.layout, torch.tensor([[0.2]]), torch.tensor([[0.5]]), torch.tensor([[True]]))
    assert states.evidence(between).exp().tolist() == [[0, 1, 1, 0]]
    rows = states.records(torch.full((50, 1), 1), torch.Generator().manual_seed(0), between)
    assert set(unscaled(schema.columns[0], rows[:, 0])) == {3.0}


def test_the_even_law_and_the_one_with_atoms_have_ranges_alike(
    hard: tuple[Schema, Records, pd.DataFrame, pd.DataFrame],
) -> None:
    schema, records, _, _ = hard
    for found in (law_of(records, schema), quantiles(records)):
        ranges = States(records.layout, found, edges_of(records, found, 16)).ranges
        assert all(2 <= number <= 32 for number in ranges)
