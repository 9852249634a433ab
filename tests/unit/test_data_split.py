"""Splits by subject: drawn, in strata, by time, or the source's own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.split import BySubject, Given, Split, Stratified, Temporal
from ehrsynth.data.wide import Wide
from ehrsynth.errors import OptionError, TableError
from ehrsynth.seeding import numpy_rng
from tests import matrices


def rows(n: int, *, times: object = None, given: object = None, **cells: object) -> Wide:
    frame = pd.DataFrame(cells, index=range(n))
    specs = {name: ColumnSpec("binary" if frame[name].isin([0, 1]).all() else "categorical") for name in frame}
    specs |= {"code": ColumnSpec("binary", domain="diagnosis")}
    codes = sparse.csr_array((np.arange(n) % 4 == 0).astype(np.uint8)[:, None])
    index_time = None if times is None else pd.Series(pd.to_datetime(pd.Series(times)))
    own = None if given is None else pd.Series(given, dtype=object)
    return Wide(pd.Series(range(n)), specs, frame, codes, ["code"], index_time=index_time, given=own)


def days(n: int) -> list[str]:
    return [str(np.datetime64("2150-01-01") + np.timedelta64(7 * k % n, "D")) for k in range(n)]


@pytest.mark.parametrize(
    ("split", "wide"),
    [
        (BySubject(), rows(101)),
        (Stratified(by=["code", "sex"]), rows(400, sex=["F", "M", None, "F"] * 100)),
        (Temporal(), rows(101, times=days(101))),
        (Temporal(validation="2150-02-01", holdout="2150-03-01"), rows(101, times=days(101))),
        (Given(), rows(101, given=["train", "tuning", "held_out"] * 33 + ["train"] * 2)),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_nobody_is_in_two_parts_and_nobody_is_lost(split: Split, wide: Wide) -> None:
    parts = split.assign(wide)
    assert list(parts) == ["train", "validation", "holdout"]
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(wide)))
    assert all((np.diff(part) > 0).all() for part in parts.values())


def test_sizes() -> None:
    parts = BySubject(holdout=0.3, validation=0.07).assign(rows(71_518))
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 45_057,
        "validation": 5_006,
        "holdout": 21_455,
    }


def test_the_draw_of_a_seed_stays_what_it_was() -> None:
    order = numpy_rng(5, "split").permutation(100)
    parts = BySubject(seed=5).assign(rows(100))
    assert parts["train"].tolist() == sorted(order[:63])
    assert parts["holdout"].tolist() == sorted(order[70:])


@pytest.mark.parametrize("split", [BySubject, lambda **seed: Stratified(by=["code"], **seed)])
def test_the_seed_decides(split: Callable[..., Split]) -> None:
    wide = rows(100)
    assert np.array_equal(split(seed=0).assign(wide)["train"], split(seed=0).assign(wide)["train"])
    assert not np.array_equal(split(seed=0).assign(wide)["holdout"], split(seed=1).assign(wide)["holdout"])


def test_every_stratum_keeps_the_shares() -> None:
    dead = (np.arange(1003) % 13 == 0).astype(int)
    wide = rows(1003, dead=dead, sex=np.where(np.arange(1003) % 3 == 0, "F", "M"))
    parts = Stratified(by=["dead", "sex"], holdout=0.2, validation=0.1).assign(wide)
    stratum = wide.cells["dead"].astype(str) + wide.cells["sex"]
    for name, share in (("train", 0.7), ("validation", 0.1), ("holdout", 0.2)):
        here = stratum.iloc[parts[name]].value_counts()
        assert ((here - share * stratum.value_counts()).abs() <= 1).all()


def test_the_future_is_held_out() -> None:
    wide = rows(100, times=days(100))
    assert wide.index_time is not None
    parts = Temporal(holdout=0.2, validation=0.1).assign(wide)
    train, validation, holdout = (wide.index_time.iloc[part] for part in parts.values())
    assert train.max() < validation.min() <= validation.max() < holdout.min()
    assert (len(train), len(validation), len(holdout)) == (70, 10, 20)
    by_date = Temporal(validation="2150-03-12", holdout="2150-03-22").assign(wide)
    assert all(np.array_equal(by_date[name], parts[name]) for name in parts)


def test_the_sources_own_names() -> None:
    wide = rows(6, given=["a", "a", "b", "b", "holdout", "holdout"])
    parts = Given(names={"a": "train", "b": "validation"}).assign(wide)
    assert [part.tolist() for part in parts.values()] == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(("holdout", "validation"), [(0.0, 0.1), (1.0, 0.1), (0.3, 0), (0.3, -0.1), (0.6, 0.4)])
@pytest.mark.parametrize("make", [BySubject, Temporal, lambda **shares: Stratified(by=["code"], **shares)])
def test_impossible_shares(make: type[BySubject], holdout: float, validation: float) -> None:
    with pytest.raises(OptionError, match="split"):
        make(holdout=holdout, validation=validation)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"holdout": "2150-01-01"}, "two shares or two dates"),
        ({"holdout": "2150-01-01", "validation": "2150-02-01"}, "a date before holdout"),
        ({"holdout": "2150-01-01", "validation": "soon"}, "split.validation=soon: a share or a date"),
    ],
)
def test_impossible_dates(options: dict[str, str], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Temporal(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("split", "wide", "error", "words"),
    [
        (BySubject(), rows(5), OptionError, "0 validation rows in 5 subjects"),
        (BySubject(), rows(20), OptionError, r"1 validation rows in 20 subjects .*; at least two rows"),
        (Temporal(), rows(99), OptionError, "99 of 99 rows have no index time"),
        (Temporal(), rows(50, times=[None, *days(49)]), OptionError, "1 of 50 rows have no index time"),
        (Temporal(validation="2150-01-20", holdout="2190-01-01"), rows(50, times=days(50)), OptionError, "0 holdout"),
        (Given(), rows(99), OptionError, "no split of its own"),
        (Given(), rows(4, given=["train", "x", None, "train"]), TableError, "2 of 4 subjects are in none of the parts"),
        (Stratified(by=["age"]), rows(99), OptionError, "no column 'age'"),
        (Stratified(by=["dead"]), rows(99, dead=0), OptionError, "all 99 rows are alike"),
        (Stratified(by=["dead"]), rows(99, dead=[1, 1] + [0] * 97), OptionError, "stratum dead=1 has 2 rows"),
        (Stratified(by=["x"]), rows(99, x=["secret"] * 2 + ["b"] * 97), OptionError, r"x=\(not told\) has 2 rows"),
    ],
)
def test_rows_that_do_not_fit(split: Split, wide: Wide, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        split.assign(wide)


@pytest.mark.parametrize("split", [BySubject, Temporal, Given, lambda **seed: Stratified(by=["code"], **seed)])
@pytest.mark.parametrize("seed", ["x", 1.5, True, None])
def test_a_seed_that_is_none(split: Callable[..., Split], seed: object) -> None:
    with pytest.raises(OptionError, match=f"split.seed={seed}: a whole number was expected"):
        split(seed=seed)


def test_options_that_do_not_fit() -> None:
    with pytest.raises(OptionError, match="by=dead"):
        Stratified(by="dead")
    with pytest.raises(OptionError, match="'test' is no part"):
        Given(names={"x": "test"})
    assert BySubject().options() == {"split": "BySubject", "holdout": 0.3, "validation": 0.07}
    assert Given().options() == {
        "split": "Given",
        "names": {"train": "train", "tuning": "validation", "held_out": "holdout"},
    }


# --- through prepare ------------------------------------------------------------------------------------------------


def test_the_seed_of_prepare_is_that_of_its_split(tmp_path: Path) -> None:
    options = "source.n=200", "preprocess.impute=marginal"
    one = matrices.make(tmp_path / "one", *options, seed=3)
    other = matrices.make(tmp_path / "other", *options, "split.seed=3")
    assert one.provenance == other.provenance
    assert one.provenance["seed"] == 3
    assert one.fingerprint != matrices.make(tmp_path / "zero", *options).fingerprint


def test_without_a_draw_of_parts_the_seed_still_fills_the_gaps(tmp_path: Path) -> None:
    options = "source.n=200", "preprocess.impute=marginal", "split=temporal"
    one, other = (matrices.make(tmp_path / str(seed), *options, f"split.seed={seed}").train for seed in (1, 2))
    assert one["subject_id"].equals(other["subject_id"])
    differ = [name for name in one if not one[name].equals(other[name])]
    assert differ == ["bmi", "systolic", "diastolic"]
