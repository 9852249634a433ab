"""Tables from elsewhere: cells without any level, gaps and numbers that R never has; and tables of one column."""

import numpy as np
import pytest
import torch

from ehrsynth.evaluation.columns import Levels, mixed
from ehrsynth.evaluation.evaluator import RealData, Value
from ehrsynth.evaluation.fairness.representation import Representation
from ehrsynth.evaluation.fidelity.latent_deviation import LatentDeviation
from ehrsynth.evaluation.fidelity.manifold import Support
from ehrsynth.layout import Layout, Records
from ehrsynth.metrics.gower import Gower
from ehrsynth.metrics.inference import nearest_without
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.moments import moments
from ehrsynth.schema import Column, Schema
from tests.evaluation_toy import toy_real, toy_records, toy_schema

AGE = 1  # among the values of the toy tables; the schema allows it no gap


def strange(n: int = 80) -> Records:
    """Records of which some have no sex, some no age, and some an age far out of the range of R."""
    table = toy_records(n, 7)
    bits, values = table.bits.clone(), table.values.clone()
    bits[:20, table.layout.groups["sex"]] = 0
    values[10:30, AGE] = torch.nan
    values[30:40, AGE] = 5.0
    return Records(table.layout, bits, values)


def test_a_cell_without_level_is_a_level_of_its_own() -> None:
    table = strange()
    found = Levels(toy_schema()).level(table, "sex")
    assert (found[:20] == 2).all()
    assert set(found[20:]) == {0, 1}


def test_gower_tells_gaps_and_missing_levels_from_all_others() -> None:
    real, table = toy_records(30, 1), strange()
    names = ["sex", "age", "lab", "c0"]
    found = Gower(mixed(table, names)).distances(mixed(real, names))
    levels = Levels(toy_schema())
    for i in range(len(real)):
        for j in range(len(table)):
            expected = 0.0
            for name in ("sex", "c0"):
                expected += levels.level(real[i : i + 1], name)[0] != levels.level(table[j : j + 1], name)[0]
            for x, y in zip(real.values[i].tolist(), table.values[j].tolist(), strict=True):
                gaps = int(np.isnan(x)) + int(np.isnan(y))
                expected += {0: abs(x - y), 1: 1.0, 2: 0.0}[gaps]
            assert found[i, j] == pytest.approx(expected, abs=1e-5)


def test_a_number_out_of_range_hides_no_nearest_record() -> None:
    real, table = toy_records(40, 2), strange()
    names, levels = toy_schema().names, Levels(toy_schema())
    secrets = levels.scaled(real, ["age"]), levels.scaled(table, ["age"])
    found = nearest_without(mixed(real, names), mixed(table, names), secrets, np.array([False]))[:, 0]
    known = [name for name in names if name != "age"]
    distances = Gower(mixed(table, known)).distances(mixed(real, known))
    chosen = np.take_along_axis(distances, found[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(chosen, distances.min(1), atol=1e-3)
    alike = Records(real.layout, real.bits, real.values.clone())
    alike.values[:, AGE] = 9.0  # equal but for an impossible secret, and last in the table
    pool = Records(real.layout, torch.cat([table.bits, alike.bits]), torch.cat([table.values, alike.values]))
    secrets = levels.scaled(real, ["age"]), levels.scaled(pool, ["age"])
    found = nearest_without(mixed(real, names), mixed(pool, names), secrets, np.array([False]))[:, 0]
    distances = Gower(mixed(pool, known)).distances(mixed(real, known))
    np.testing.assert_allclose(distances[np.arange(len(real)), found], 0, atol=1e-3)


def test_patients_without_a_level_are_missing_from_the_others() -> None:
    schema = Schema((Column("sex", "categorical", levels=("F", "M"), domain="demographics"),))
    layout = Layout.of(schema)

    def table(women: int, men: int, neither: int) -> Records:
        rows = [[1, 0]] * women + [[0, 1]] * men + [[0, 0]] * neither
        return Records(layout, torch.tensor(rows, dtype=torch.uint8), torch.zeros(len(rows), 0))

    real = RealData(schema, table(50, 50, 0), table(25, 25, 0))
    found = Representation().fit(real, 0)(table(40, 40, 20), 0)["fairness/representation"]
    assert isinstance(found, Value)
    assert found.value == pytest.approx(0.2)  # half of 0.1 + 0.1 + 0.2


def test_a_single_column_has_a_covariance_a_support_and_clusters() -> None:
    schema = Schema((Column("age", "continuous", bounds=(0.0, 1.0)),))
    rng = np.random.default_rng(0)

    def table(n: int) -> Records:
        values = torch.from_numpy(rng.random((n, 1), dtype=np.float32))
        return Records(Layout.of(schema), torch.zeros((n, 0), dtype=torch.uint8), values)

    real, synthetic = RealData(schema, table(100), table(50)), table(100)
    mean, covariance = moments(real.train, means=observed_means(real.train.values))
    assert mean.shape == (1,)
    assert float(covariance) == pytest.approx(float(real.train.values.double().var(correction=0)), rel=1e-9)
    for evaluator in (Support(), LatentDeviation(k=3), LatentDeviation(k=3, max_rows=60)):
        found = evaluator.fit(real, 0)(synthetic, 0)
        assert all(isinstance(value, Value) for value in found.values())


def test_a_complete_toy_table_is_cut_as_before() -> None:
    real = toy_real().train
    cut = mixed(real, {"lab", "age", "sex"})
    assert cut.bits.shape == (len(real), 2)
    assert bool((cut.bits[:, 0] == real.bits[:, 13]).all())
    assert not cut.bits[:, 1].any()
    assert bool((cut.levels.sum(1) == 1).all())
