"""A schema by noisy counts: what it is without noise, what it hides with it, and that its ledger says so."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

from ehrsynth.accounting import Gaussian, Unlikely, ZeroConcentrated, epsilon_of, rho_within
from ehrsynth.data.cleaning import OTHER
from ehrsynth.data.noisy_schema import CODES, NoisySchema, _ends, _magnitude, noisy_schema, require_unchosen
from ehrsynth.data.public_matrix import brought_under
from ehrsynth.errors import OptionError
from ehrsynth.ledger import Ledger, Look
from ehrsynth.schema import SUBJECT, Column, Schema

N = 2000
SCHEMA = Schema(
    (
        Column("rare", "binary", domain="diagnosis"),
        Column("common", "binary", domain="diagnosis"),
        Column("alone", "binary", domain="diagnosis"),
        Column("died", "binary", role="outcome"),
        Column("site", "categorical", ("a", "b", "only one patient")),
        Column("payer", "categorical", ("x", "y"), missing=True),
        Column("age", "count", bounds=(18, 90)),
        Column("change", "continuous", bounds=(-7.5, 4), decimals=5, missing=True),
    )
)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Any:
    rng, at = np.random.default_rng(0), np.arange(N)
    rows = pd.DataFrame(
        {
            SUBJECT: at,
            "rare": (at < 40).astype(int),
            "common": (at % 2).astype(int),
            "alone": (at == 7).astype(int),
            "died": (at == 8).astype(int),
            "site": np.where(at == 9, "only one patient", np.where(at % 3 > 0, "a", "b")),
            "payer": np.where(at % 4 > 0, "x", None),
            "age": rng.integers(18, 91, N),
            "change": np.where(at % 5 > 0, rng.uniform(-7.5, 4, N), np.nan),
        }
    )
    folder = tmp_path_factory.mktemp("matrix")
    rows.to_parquet(folder / "train.parquet", row_group_size=700, index=False)
    return SimpleNamespace(schema=SCHEMA, folder=folder, provenance={"rows": {"train": N}})


def told(matrix: Any, noise: float, seed: int = 0) -> NoisySchema:
    return noisy_schema(matrix, noise, 1e-5, torch.Generator().manual_seed(seed))


def test_without_noise_it_is_what_more_than_one_patient_has(matrix: Any) -> None:
    found = told(matrix, 1e-9).schema
    assert found.names == ["died", "site", "payer", "age", "change", "common", "rare"]
    assert found.by_name["site"].levels == ("a", "b")
    assert found.by_name["payer"].levels == ("x",)
    assert found.by_name["payer"].missing
    assert not found.by_name["age"].missing
    age, change = (found.by_name[name] for name in ("age", "change"))
    assert (age.bounds, change.missing, change.decimals) == ((18.0, 91.0), True, 1)  # to a range of 112 / 64
    assert change.bounds == pytest.approx((-7.5, 4), abs=12 / 64)


def test_with_noise_rare_names_are_not_told_and_frequent_ones_are(matrix: Any) -> None:
    for seed in range(20):
        found = told(matrix, 8.0, seed)
        names = found.schema.names
        assert "common" in names
        assert "alone" not in names
        assert "rare" not in names
        assert "died" in names, "an outcome is of the recipe"
        assert "only one patient" not in found.schema.by_name["site"].levels
        age = found.schema.by_name["age"].bounds
        assert age is not None
        assert 15 <= age[0] <= 25
        assert 80 <= age[1] <= 95


def test_the_threshold_and_its_noise_are_those_of_the_ledger(matrix: Any) -> None:
    looks = told(matrix, 5.0).looks
    public, counts, alone, ends = looks
    assert public.mechanism == "public"
    assert counts.mechanism == Gaussian(5.0, sensitivity=(CODES + 2 + 2) ** 0.5)
    assert ends.mechanism == Gaussian(5.0, sensitivity=2**0.5)
    assert alone.mechanism == Unlikely(1e-5)
    least = 1 + 5 * 6 * norm.isf(1e-5 / (CODES + 2))
    assert f"above {least:.1f} patients" in counts.why
    ledger = Ledger(1e-4, looks)
    assert Ledger.from_dict(ledger.to_dict()) == ledger
    alone_spent = epsilon_of([Gaussian(5.0, 2)], 9e-5)
    assert ledger.total.pld == pytest.approx(alone_spent.pld, rel=1e-3)
    assert epsilon_of([Gaussian(5.0), Unlikely(1e-4)], 1e-4).value == float("inf")


def test_one_patient_of_many_codes_adds_to_few(tmp_path: Path) -> None:
    schema = Schema(tuple(Column(f"c{i:03}", "binary", domain="d") for i in range(100)))
    rows = pd.DataFrame(np.ones((3, 100), int), columns=schema.names).assign(**{SUBJECT: range(3)})
    rows.to_parquet(tmp_path / "train.parquet", index=False)
    seen: Any = SimpleNamespace(schema=schema, folder=tmp_path, provenance={"rows": {"train": 3}})
    kept = told(seen, 1e-9).schema  # more than one patient, of three that tell a third of their codes each
    assert 0 < len(kept.columns) < 60


def test_magnitudes_and_ends() -> None:
    numbers = pd.Series([-100.0, -64.0, -0.0001, 0.0, 63.9, 64.0, np.nan, 1e12])
    places = _magnitude(numbers)
    for value, place in zip(numbers[:6], places[:6], strict=True):
        low, high = _ends(np.eye(83)[place], 0.5)
        assert low - 2.0**-10 <= value <= high, value  # less counts as zero
        assert high - low <= max(abs(value), 2.0**-10)
    assert places[6] == 83
    assert places[7] == 82


def test_rows_arebrought_under_what_was_told() -> None:
    rows = pd.DataFrame({"age": [5.0, np.nan, 200.0], "site": ["a", "z", None]})
    assert brought_under(Column("age", "count", bounds=(18, 90)), rows).tolist() == [18, 54, 90]
    assert brought_under(Column("site", "categorical", ("a", OTHER)), rows).tolist() == ["a", OTHER, OTHER]
    assert brought_under(Column("site", "categorical", ("a",)), rows).tolist() == ["a", "a", "a"]
    gaps = brought_under(Column("site", "categorical", ("a",), missing=True), rows)
    assert gaps.isna().tolist() == [False, True, True]


@pytest.mark.parametrize(
    "option", ["min_count=10", "min_level=3", "max_missing=0.5", "bounds=shared", "impute=marginal"]
)
def test_columns_that_were_chosen_without_noise_are_refused(option: str) -> None:
    name, value = option.split("=")
    plain = {"min_count": 1, "min_prevalence": 0, "min_level": 1, "max_missing": 1, "bounds": "exact", "impute": "none"}
    require_unchosen(SimpleNamespace(provenance={"preprocess": plain}))  # type: ignore[arg-type]
    asked = {**plain, name: value if value.isalpha() else float(value)}
    with pytest.raises(OptionError, match=rf"preprocess.{name}=.*preprocess=none"):
        require_unchosen(SimpleNamespace(provenance={"preprocess": asked}))  # type: ignore[arg-type]


def test_what_is_left_after_a_schema_is_less() -> None:
    before = [Gaussian(5.0, 2), Unlikely(1e-5)]
    rho = rho_within(3.0, 1e-4, before)
    assert 0 < rho < rho_within(3.0, 1e-4)
    assert epsilon_of([*before, ZeroConcentrated(rho)], 1e-4).rdp == pytest.approx(3.0, rel=1e-4)
    with pytest.raises(OptionError, match="nothing is left of it"):
        rho_within(0.1, 1e-4, before)
    assert Look("x", Unlikely(1e-5)).to_dict()["mechanism"] == "unlikely"
