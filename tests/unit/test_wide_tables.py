"""Tables with more columns than a matrix of all pairs may have: the same scores from a part of it at a time."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ehrsynth import free_memory
from ehrsynth.errors import MachineError
from ehrsynth.evaluation import groups as grouping
from ehrsynth.evaluation import required_memory
from ehrsynth.evaluation.columns import Levels
from ehrsynth.evaluation.evaluator import RealData, Value
from ehrsynth.evaluation.fidelity import latent_deviation, manifold
from ehrsynth.evaluation.fidelity.correlation import Correlation
from ehrsynth.evaluation.fidelity.latent_deviation import LatentDeviation
from ehrsynth.evaluation.fidelity.manifold import Support
from ehrsynth.evaluation.fidelity.prevalence import Prevalence
from ehrsynth.evaluation.fidelity.rare_codes import RarePairLift
from ehrsynth.evaluation.groups import grouped
from ehrsynth.evaluation.memory import Shared
from ehrsynth.layout import Records
from ehrsynth.metrics import latent_space, singling_out
from ehrsynth.metrics.bands import Band, bands
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.moments import grouped_moments
from tests.evaluation_toy import bits_only, code_schema, toy_real, toy_records

REAL = toy_real(600, 300)
MEANS = observed_means(REAL.train.values)


def test_the_bands_of_a_table_hold_every_pair_of_columns_once() -> None:
    synthetic = grouped(REAL, toy_records(200, 5))
    moments = grouped_moments(synthetic, MEANS)
    whole = Band.whole(moments)
    expected = list(whole.correlations())
    assert torch.equal(expected[0], next(Band.whole(moments).correlations()))
    width, seen = REAL.layout.width, torch.zeros(REAL.layout.width, REAL.layout.width, dtype=torch.int64)
    for band in bands(synthetic, MEANS, cells=3 * width):
        rows, columns = slice(band.first, band.first + band.gram.shape[1]), slice(band.first, None)
        seen[rows, columns] += 1
        torch.testing.assert_close(band.gram, whole.gram[:, rows, columns], rtol=1e-12, atol=0)
        torch.testing.assert_close(band.squares, whole.squares[:, columns], rtol=1e-12, atol=0)
        for found, matrix in zip(band.correlations(), expected, strict=True):
            torch.testing.assert_close(found, matrix[rows, columns], rtol=0, atol=1e-12)
    assert bool((torch.maximum(seen, seen.T) == 1).all())


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take every table for a wide one, of which three columns fit a band."""
    for module in (grouping, manifold, latent_deviation, latent_space):
        monkeypatch.setattr(module, "WHOLE", 0)
    monkeypatch.setattr(grouping, "bands", lambda groups, means: bands(groups, means, 3 * REAL.layout.width))


def _scored(evaluator: Correlation | RarePairLift, synthetic: Records) -> dict[str, tuple[float, ...]]:
    found = evaluator.fit(toy_real(600, 300), 0)(synthetic, 0)
    return {name: (x.value, *(x.ci or ())) for name, x in found.items() if isinstance(x, Value)}


@pytest.mark.parametrize("evaluator", [Correlation(), RarePairLift(below=0.3)])
def test_scores_of_pairs_are_those_of_the_whole_matrix(
    evaluator: Correlation | RarePairLift, request: pytest.FixtureRequest
) -> None:
    synthetic = toy_records(200, 5)
    expected = _scored(evaluator, synthetic)
    request.getfixturevalue("narrow")
    found = _scored(evaluator, synthetic)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-9), name


def test_the_latent_space_of_few_rows_is_that_of_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    table, other = toy_records(12, 1), toy_records(9, 2)
    by_columns = latent_space.latent_space([table], MEANS)
    monkeypatch.setattr(latent_space, "WHOLE", 0)
    by_rows = latent_space.latent_space([table], MEANS)
    assert isinstance(by_rows, latent_space.RowSpace)
    torch.testing.assert_close(by_rows.spread, by_columns.spread, rtol=1e-6, atol=0)
    for records in (table, other):
        found, expected = (space.scaled().project(records) for space in (by_rows, by_columns))
        torch.testing.assert_close(found.abs(), expected.abs(), rtol=1e-4, atol=1e-4)  # an axis may point either way
    torch.testing.assert_close(by_rows.project(table, other), torch.cat([by_rows.project(t) for t in (table, other)]))


def test_scores_of_whole_records_of_few_rows_are_those_of_the_columns(request: pytest.FixtureRequest) -> None:
    real = replace(REAL, train=toy_records(10, 3))
    synthetic = toy_records(8, 4)
    evaluators = LatentDeviation(k=3), Support()
    expected = [evaluator.fit(real, 0)(synthetic, 0) for evaluator in evaluators]
    request.getfixturevalue("narrow")
    for evaluator, scores in zip(evaluators, expected, strict=True):
        for name, value in evaluator.fit(real, 0)(synthetic, 0).items():
            assert isinstance(value, Value)
            assert value.value == pytest.approx(scores[name].value, rel=1e-6), name  # type: ignore[union-attr]


def test_what_is_large_is_kept_for_the_latest_table_only() -> None:
    shared, one, other = Shared(), toy_records(5, 0), toy_records(5, 1)
    first, again = (grouped_moments([one], MEANS) for _ in range(2))
    assert shared.latest(one, "large", lambda: first) is first
    assert shared.latest(one, "large", lambda: again) is first
    small = shared.once(one, "small", lambda: [3])
    shared.latest(other, "large", lambda: grouped_moments([other], MEANS))
    assert not first.gram.numel(), "its memory is free at once"
    assert shared.latest(one, "large", lambda: again) is again
    assert shared.once(one, "small", lambda: [6]) is small


def test_singling_out_draws_the_same_columns_however_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Levels(REAL.schema).columns(toy_records(30, 1))
    whole = singling_out.random_predicates(table, 50, 3, np.random.default_rng(0))
    monkeypatch.setattr(singling_out, "CELLS", 4 * table.width)
    for found, expected in zip(
        vars(singling_out.random_predicates(table, 50, 3, np.random.default_rng(0))).values(),
        vars(whole).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


class Largest(TorchDispatchMode):
    """Knows how many cells the largest tensor had that any operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **kwargs or {})
        for x in found if isinstance(found, tuple | list) else [found]:
            self.cells = max(self.cells, x.numel() if isinstance(x, torch.Tensor) else 0)
        return found


def test_a_table_of_many_columns_takes_no_matrix_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    width, schema, rng = 300, code_schema(300), np.random.default_rng(0)
    train, synthetic = (bits_only((rng.random((30, width)) < 0.2).astype(int).tolist(), schema) for _ in range(2))
    for module in (grouping, manifold, latent_deviation, latent_space):
        monkeypatch.setattr(module, "WHOLE", 100)
    monkeypatch.setattr(grouping, "bands", lambda groups, means: bands(groups, means, 2000))
    for evaluator in (Correlation(), RarePairLift(below=0.5), LatentDeviation(), Support()):
        with Largest() as largest:
            evaluator.fit(RealData(schema, train, train), 0)(synthetic, 0)
        assert largest.cells < width**2 / 2, evaluator


def test_what_does_not_fit_is_refused_with_its_size_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(required_memory, "free_memory", lambda: 10**9)
    required_memory.require_memory([Correlation(), LatentDeviation()], REAL, 200)
    monkeypatch.setattr(required_memory, "free_memory", lambda: 10_000)
    line = r"memory: LatentDeviation on 600 training and 900 other rows of 18 columns takes 0.0 GB, and 0.0 GB are free"
    with pytest.raises(MachineError, match=line):
        required_memory.require_memory([Prevalence(), LatentDeviation()], REAL, 900)
    monkeypatch.setattr(required_memory, "free_memory", lambda: None)  # a system that does not say
    required_memory.require_memory([LatentDeviation()], REAL, 900)


def test_free_memory_is_the_least_that_the_system_a_container_or_a_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("SYSTEM", "MemTotal: 9 kB\nMemAvailable: 5 kB\n"), ("LIMIT", "4096\n"), ("USED", "1024\n")):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(free_memory, name, tmp_path / name)
    monkeypatch.setattr(free_memory, "OWN", tmp_path / "none")
    assert free_memory.free_memory() == 3072
    (tmp_path / "LIMIT").write_text("max\n")
    assert free_memory.free_memory() == 5 * 1024
    (tmp_path / "SYSTEM").unlink()
    assert free_memory.free_memory() is None
