"""The hard case of the simulated hospital keeps the promises of its docstring, and prepare finds what was planted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrsynth.constraints import AtMost
from ehrsynth.data.hard_case import GAPS, LIMITS, OUTCOMES, RULES, SENSITIVE, conditional_means, draw
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.demo_hard import DemoHard
from ehrsynth.data.sources.flat import Flat
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError
from tests import matrices

N = 9_000


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return draw(N, 0)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return matrices.make(tmp_path_factory.mktemp("hard") / "matrix", "source=demo_hard")


def test_numbers_have_heavy_tails(table: pd.DataFrame) -> None:
    for name in ("alt", "troponin", "charges", "ferritin"):
        cells = table[name].dropna()
        assert cells.quantile(0.999) > 20 * cells.median()
    logs = np.log(table["white_cells"][table["white_cells"] > 1])
    assert abs(logs.skew()) < 0.2


def test_laboratories_report_their_limits(table: pd.DataFrame) -> None:
    for name, (least, most) in LIMITS.items():
        assert table[name].min() >= least
        assert table[name].max() <= most
    for name, value, share in (("crp", 5, 0.08), ("troponin", 0.01, 0.3), ("bilirubin_direct", 0.1, 0.2)):
        assert (table[name].dropna() == value).mean() > share
    assert (table["crp"] == 350).sum() > 50
    for name, value, share in (
        ("age", 90, 0.02),
        ("urine", 0, 0.02),
        ("saturation", 100, 0.2),
        ("heart_rate", 0, 0.005),
    ):
        assert (table[name].dropna() == value).mean() > share


def test_digits_are_those_that_people_write(table: pd.DataFrame) -> None:
    assert (table["systolic"] % 10 == 0).mean() > 0.5
    assert (table["systolic"] % 2 == 0).all()
    assert (table["respiratory_rate"] % 4 == 0).mean() > 0.7
    assert (table["urine"].dropna() % 50 == 0).mean() > 0.55
    assert table["weight"].mod(0.5).round(6).isin((0, 0.5)).mean() > 0.7
    tenths = (table["temperature"] * 10).round(6) % 1 == 0
    assert 0.4 < tenths.mean() < 0.75


def test_rules_hold_without_exception(table: pd.DataFrame) -> None:
    for small, large in RULES:
        assert not (table[small] > table[large]).any()
    parts = table["bilirubin_direct"] + table["bilirubin_indirect"]
    assert ((parts - table["bilirubin_total"]).dropna().abs() < 1e-9).all()
    assert not (table["died"] & table["readmitted"]).any()


def test_panels_are_missing_together_and_the_less_ill_have_fewer(table: pd.DataFrame) -> None:
    points = table["physiology_score"]
    for name, (columns, _, slope) in GAPS.items():
        gaps = table[list(columns)].isna()
        gap = gaps.iloc[:, 0]
        assert gaps.eq(gap, axis=0).all(axis=None), name
        assert 0.05 < gap.mean() < 0.5
        assert np.sign(points[gap].mean() - points[~gap].mean()) == np.sign(slope), name
    assert sum(table[columns[0]].isna().mean() > 0.3 for columns, _, _ in GAPS.values()) >= 6


def test_levels_and_outcomes_are_rare_where_they_shall_be(table: pd.DataFrame) -> None:
    assert 0.003 < table["race"].value_counts(normalize=True).min() < 0.008
    assert 0.003 < table["diagnosis"].value_counts(normalize=True).min() < 0.008
    died, dialysis, readmitted = (table[name].mean() for name in OUTCOMES)
    assert 0.3 < died < 0.5
    assert 0.015 < dialysis < 0.03
    assert 0.1 < readmitted < 0.2


def test_outcomes_follow_the_values_and_not_in_a_straight_line(table: pd.DataFrame) -> None:
    hot, cold, well = (table["died"][part].mean() for part in _by(table["temperature"], (38.2, 35.5)))
    assert min(hot, cold) > well + 0.08
    both = (table["potassium"] > 5.2) & (table["creatinine"] > 2.5)
    one = (table["potassium"] > 5.2) ^ (table["creatinine"] > 2.5)
    assert table["dialysis"][both].mean() > 10 * table["dialysis"][one].mean()


def _by(cells: pd.Series, ends: tuple[float, float]) -> tuple[pd.Series, pd.Series, pd.Series]:
    high, low = ends
    return cells > high, cells < low, (cells - 37).abs() < 0.3


def test_true_conditional_means_are_those_of_a_large_sample() -> None:
    given = {"sex": "F", "age": (60, 80), "diagnosis": "sepsis"}
    means = conditional_means(["died", "lactate", "creatinine"], given, rows=300)
    many = draw(50_000, 7)
    kept = many[(many["sex"] == "F") & many["age"].between(60, 80) & (many["diagnosis"] == "sepsis")]
    for name, found in means.iterrows():
        error = np.hypot(found["error"], kept[str(name)].sem())
        assert abs(found["mean"] - kept[str(name)].mean()) < 4.5 * error
    assert means.loc["died", "rows"] >= 300
    assert means.loc["lactate", "rows"] < means.loc["died", "rows"], "some have no lactate"


def test_a_seed_is_a_table_and_another_one_fresh_patients() -> None:
    pd.testing.assert_frame_equal(draw(200, 0), draw(200, 0))
    assert not draw(200, 0).equals(draw(200, 1))


def test_prepare_makes_a_matrix_and_finds_every_planted_order(matrix: Matrix) -> None:
    assert list(matrix.schema.names) == list(draw(1, 0))
    assert {column.name for column in matrix.schema.outcomes} == set(OUTCOMES)
    assert len(matrix.train) + len(matrix.validation) + len(matrix.holdout) == N
    found = {(rule.column, rule.than) for rule in matrix.constraints if isinstance(rule, AtMost)}
    assert set(RULES) <= found
    assert found - set(RULES) <= {("days_ventilated", "days_followed")}, "which two of the others imply"


def test_flat_reads_the_table_that_it_writes(tmp_path: Path) -> None:
    made = DemoHard(n=500, write_raw=tmp_path / "raw.csv.gz")
    read = Flat(path=tmp_path / "raw.csv.gz", subject="subject_id", outcomes=OUTCOMES, sensitive=SENSITIVE)
    for table in ("table_rows", "table_columns", "events"):
        one, other = (_table(source, table) for source in (made, read))
        pd.testing.assert_frame_equal(one, other, check_dtype=False)


def _table(source: Source, name: str) -> pd.DataFrame:
    with Store(threads=1) as store:
        source.read(store)
        return store.frame(f"SELECT * FROM {name}")


@pytest.mark.parametrize("options", [{"n": 99}, {"seed": 1.5}])
def test_it_refuses_too_few_patients_and_a_seed_that_is_no_whole_number(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=rf"source\.{next(iter(options))}="):
        DemoHard(**options)  # type: ignore[arg-type]
