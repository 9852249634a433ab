"""Meaningful identity disclosure by hand, against a slow loop, and on degenerate data."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import triang

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.evaluator import NotApplicableError, RealData, Value
from ehrsynth.evaluation.privacy.identity_disclosure import IdentityDisclosure
from ehrsynth.layout import Layout, Records
from ehrsynth.metrics.identity_disclosure import (
    Frame,
    People,
    centres,
    cluster,
    lattice,
    rank,
    verification,
    worst_cases,
)
from ehrsynth.schema import Column, Schema
from ehrsynth.seeding import numpy_rng
from tests.evaluation_toy import bits_only, code_schema, toy_real, toy_records

REAL = toy_real(200, 100)


def found(evaluator: IdentityDisclosure, real: RealData, synthetic: Records) -> Value:
    result = evaluator.fit(real, 0)(synthetic, 0)["privacy/identity_disclosure"]
    assert isinstance(result, Value)
    return result


def part(value: Value, kind: str, name: str) -> float:
    piece = value.parts[kind, name]
    assert isinstance(piece, Value)
    return piece.value


def test_the_correction_is_the_mean_of_triangular_draws() -> None:
    low, mean, high = 0.0013, 0.0426, 0.065
    mode = 3 * mean - low - high
    wrong = triang((mode - low) / (high - low), low, high - low)
    for k in (1, 10):
        correct = float(((1 - wrong.ppf((np.arange(20_000) + 0.5) / 20_000)) ** k).mean())
        expected = (1 + 0.23 * (1 - correct)) / 2
        assert verification(k) == pytest.approx(expected, abs=1e-6)


def test_the_lattice_is_whole_or_drawn_and_never_all_suppressed() -> None:
    whole = lattice([2, 3], 10, numpy_rng(0))
    assert whole.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]]
    drawn = lattice([5, 3, 3, 2, 2, 2], 40, numpy_rng(0))
    assert len({tuple(node) for node in drawn.tolist()}) == len(drawn) <= 40
    assert not drawn[0].any()
    assert [4, 2, 2, 1, 1, 1] not in drawn.tolist()


def test_a_table_by_hand() -> None:
    """One identifier and four sensitive codes; exact groups {0,1}, {2,3,4}; p = 2/5, 1/5, 1/5, 3/5 of ones."""
    schema = Schema((Column("old", "binary", domain="demographics"), *code_schema(4).columns))
    real = [[1, 1, 0, 0, 1], [1, 0, 1, 0, 1], [0, 1, 0, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
    synthetic = [[1, 1, 0, 0, 0], [1, 0, 0, 0, 1], [1, 0, 0, 1, 1]]  # nobody of the second group
    table = bits_only(real, schema)
    value = found(
        IdentityDisclosure(codes=0, learned=0.25, few=2), RealData(schema, table, table), bits_only(synthetic, schema)
    )
    # Patient 0 learns c0 = 1. Patient 1's c1 = 1 is in no match, and c3 = 1 is what most have.
    assert value.value == pytest.approx(verification(1) * 0.5 / 5)
    assert part(value, "few", "risk") == 0
    assert part(value, "count", "nodes") == 1
    assert part(value, "side", "excess") == 0


def slow(
    nodes: NDArray[np.int64],
    target: tuple[np.ndarray, ...],
    source: tuple[np.ndarray, ...],
    reach: np.ndarray,
    need: int,
) -> list[float]:
    known, bits, values = target
    others, offered, numbers = source
    widths = np.array([1, 3, 10**6])
    worst = np.zeros(len(known))
    for node in nodes:
        for i in range(len(known)):
            mine = known[i] // widths[node]
            match = (others // widths[node] == mine).all(1)
            group = (known // widths[node] == mine).all(1).sum()
            if not match.any():
                continue
            count = (offered[match] & bits[i]).any(0).sum()
            count += sum((np.abs(numbers[match, c] - values[i, c]) < reach[i, c]).any() for c in range(values.shape[1]))
            worst[i] = max(worst[i], (count >= need) / group)
    return worst.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_worst_cases_by_a_slow_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def draw(n: int) -> tuple[np.ndarray, ...]:
        values = rng.normal(size=(n, 2))
        values[rng.random((n, 2)) < 0.2] = np.nan
        return rng.integers(0, 9, (n, 2)), rng.random((n, 6)) < 0.3, values

    def people(known: np.ndarray, bits: np.ndarray, _: np.ndarray) -> People:
        return People([[k.astype(np.int32), (k // 3).astype(np.int32)] for k in known.T], *np.nonzero(bits))

    target, source = draw(60), draw(25)
    reach = rng.random((60, 2)) * 0.3
    nodes = lattice([3, 3], 100, numpy_rng(0))
    cut = people(*target)
    got = worst_cases(
        nodes, cut, people(*source), rank(target[2], reach, source[2]), [Frame(cut.known)], [1.0, 2.0, 3.0]
    )[0]
    for row, need in zip(got, (1, 2, 3), strict=True):
        assert row.tolist() == pytest.approx(slow(nodes, target, source, reach, need))


def test_anchors_bracket_the_part_that_discriminates() -> None:
    evaluator = IdentityDisclosure(codes=2, few=4, max_nodes=64)
    copy, fresh = (found(evaluator, REAL, table) for table in (REAL.train, toy_records(200, 9)))
    assert part(copy, "few", "excess") > 0.02 > part(fresh, "few", "excess")
    assert copy.value >= fresh.value
    assert copy.ci is not None
    assert copy.ci[0] <= copy.value <= copy.ci[1]


def test_the_order_of_rows_changes_nothing() -> None:
    evaluator, synthetic = IdentityDisclosure(max_nodes=32), toy_records(150, 4)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    assert found(evaluator, REAL, synthetic) == found(evaluator, REAL, synthetic[order])


def test_a_larger_population_lowers_the_risk_in_proportion() -> None:
    synthetic = toy_records(150, 4)
    plain = found(IdentityDisclosure(max_nodes=32), REAL, synthetic)
    larger = found(IdentityDisclosure(max_nodes=32, population_factor=10), REAL, synthetic)
    assert larger.value == pytest.approx(plain.value / 10)
    with pytest.raises(OptionError, match="below 1"):
        IdentityDisclosure(population_factor=0.5)


def test_a_population_table_of_ten_copies_is_a_factor_of_ten(tmp_path: Path) -> None:
    sex = np.where(REAL.train.bits[:, 14].numpy() > 0, "F", "M")
    age = np.round(20 + 70 * REAL.train.values[:, 1].double().numpy())
    frame = pd.DataFrame({"sex": sex, "age": age})
    pd.concat([frame] * 10).to_csv(tmp_path / "population.csv", index=False)
    synthetic = toy_records(150, 4)
    few = partial(IdentityDisclosure, identifiers=["sex", "age"], max_nodes=32)
    table = found(few(population=str(tmp_path / "population.csv")), REAL, synthetic)
    factor = found(few(population_factor=10), REAL, synthetic)
    assert table.value == pytest.approx(factor.value)
    frame.drop(columns="age").to_csv(tmp_path / "short.csv", index=False)
    with pytest.raises(OptionError, match="no column 'age'"):
        few(population=str(tmp_path / "short.csv")).fit(REAL, 0)
    frame[:50].to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(OptionError, match="no fewer rows than R"):
        few(population=str(tmp_path / "few.csv")).fit(REAL, 0)


def test_what_the_measure_needs() -> None:
    schema = code_schema(4)
    rows = bits_only([[1, 0, 1, 0], [0, 1, 1, 0]] * 5, schema)
    with pytest.raises(NotApplicableError, match="both quasi-identifiers and sensitive"):
        IdentityDisclosure(codes=4).fit(RealData(schema, rows, rows), 0)
    with pytest.raises(NotApplicableError, match="both quasi-identifiers and sensitive"):
        IdentityDisclosure(codes=0).fit(RealData(schema, rows, rows), 0)
    with pytest.raises(OptionError, match="no column 'shoe'"):
        IdentityDisclosure(identifiers=["shoe"]).fit(REAL, 0)


def test_constant_and_single_rows_give_a_number() -> None:
    constant = toy_records(50, 1)
    constant = Records(constant.layout, constant.bits[:1].repeat(50, 1), constant.values[:1].repeat(50, 1))
    unseen = constant.values.clone()
    unseen[:, 0] = torch.nan
    for real in (
        REAL,
        replace(REAL, train=constant),
        replace(REAL, train=Records(constant.layout, constant.bits, unseen)),
    ):
        for synthetic in (constant, constant[:1]):
            value = found(IdentityDisclosure(max_nodes=16), real, synthetic)
            assert 0 <= value.value <= 1


def test_numbers_with_one_value_or_none_have_as_many_clusters() -> None:
    rng = numpy_rng(0)
    assert centres(np.array([]), rng).tolist() == []
    assert centres(np.full(9, 2.0), rng).tolist() == [2.0]
    middles = centres(np.concatenate([np.random.default_rng(0).normal(m, 0.1, 100) for m in (0, 5, 9)]), rng)
    assert middles == pytest.approx([0, 5, 9], abs=0.1)
    assert cluster(np.array([-1.0, 4.0, 30.0]), middles).tolist() == [0, 1, 2]


def test_continuous_identifiers_are_generalised_in_parts_of_their_range() -> None:
    schema = Schema((Column("bmi", "continuous", bounds=(10.0, 60.0), domain="demographics"), *code_schema(3).columns))
    rows = Records(
        Layout.of(schema),
        torch.eye(3, dtype=torch.uint8).repeat(10, 1),
        torch.rand(30, 1, generator=torch.Generator().manual_seed(0)),
    )
    value = found(IdentityDisclosure(codes=0, few=1), RealData(schema, rows, rows), rows)
    assert part(value, "count", "lattice") == 4
    assert value.value > 0.1
