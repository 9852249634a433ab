"""What sites tell one another of their columns, against counts by hand, and against the plan of all their rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.disclosure import LEAST, shared_bounds
from ehrsynth.errors import OptionError, SchemaError, TableError
from ehrsynth.schema import SUBJECT, Column, Schema
from ehrsynth.seeding import numpy_rng, secret_rng
from ehrsynth.study.federate.agree import Told, agreed
from ehrsynth.study.federate.joined import joined
from ehrsynth.study.federate.sites import sites_of
from ehrsynth.study.watch import NOBODY
from tests.matrices import make


class Rows:
    """A site, as far as what it tells is concerned."""

    def __init__(self, train: pd.DataFrame, *columns: Column) -> None:
        self.train, self.schema = train, Schema(columns)


def code(name: str) -> Column:
    return Column(name, "binary", domain="diagnosis")


def ones(n: int, of: int) -> list[int]:
    return [1] * n + [0] * (of - n)


def told(train: pd.DataFrame, *columns: Column) -> Told:
    return Told.of(Rows(train, *columns), LEAST)  # type: ignore[arg-type]


def test_a_code_is_named_by_ten_patients_or_not_at_all() -> None:
    table = pd.DataFrame({"a": ones(9, 60), "b": ones(10, 60), "c": ones(55, 60)})
    found = told(table, code("a"), code("b"), code("c"))
    assert [column.name for column in found.columns] == ["b", "c"]
    assert found.counts == {("b", 1.0): 10, ("c", 1.0): 60}  # nor are the five told who do not have it


def test_levels_of_few_become_other() -> None:
    """Of 60 rows 4 and 3 have a rare level: they are told as ten others, at the cost of the commonest."""
    table = pd.DataFrame({"ward": ["north"] * 33 + ["south"] * 20 + ["moon"] * 4 + ["sea"] * 3})
    found = told(table, Column("ward", "categorical", ("north", "south", "moon", "sea")))
    assert found.counts == {("ward", "north"): 30, ("ward", "south"): 20, ("ward", "other"): 10}


def test_an_outcome_of_few_is_told_as_ten() -> None:
    table = pd.DataFrame({"died": ones(2, 60)})
    assert told(table, Column("died", "binary", role="outcome")).counts == {("died", 0.0): 50, ("died", 1.0): 10}


def test_ends_of_numbers_are_shared_and_few_gaps_are_not_told() -> None:
    """Of 0..96 the tenth values are 9 and 87, rounded outwards to tens; the three gaps count as values."""
    values = np.r_[np.arange(97.0), [np.nan] * 3]
    found = told(pd.DataFrame({"x": values}), Column("x", "continuous", bounds=(0, 96), missing=True, decimals=0))
    assert sum(found.counts.values()) == 100
    assert {value for _, value in found.counts} == {0.0, 90.0}  # not 96, which one patient has
    assert min(found.counts.values()) == 50


def test_a_number_of_few_is_not_told() -> None:
    values = np.r_[np.arange(19.0), [np.nan] * 41]
    assert not told(pd.DataFrame({"x": values}), Column("x", "continuous", bounds=(0, 18), missing=True)).counts


def test_no_count_is_small_whatever_the_rows() -> None:
    rng = numpy_rng(0)
    for trial in range(200):
        n = int(rng.integers(LEAST, 80))
        table = pd.DataFrame(
            {
                "word": rng.choice(list("abcdef"), n, p=[0.5, 0.2, 0.15, 0.1, 0.04, 0.01]),
                "flag": (rng.random(n) < rng.random()).astype(int),
                "code": (rng.random(n) < rng.random()).astype(int),
                "x": np.where(rng.random(n) < rng.random() / 3, np.nan, rng.normal(size=n).round(1)),
                "often": rng.poisson(rng.random(), n),
            }
        )
        table["word"] = table["word"].where(rng.random(n) > 0.05)
        found = told(
            table,
            Column("word", "categorical", tuple("abcdef"), missing=True),
            Column("flag", "binary"),
            code("code"),
            Column("x", "continuous", bounds=(-9, 9), missing=True),
            Column("often", "count", bounds=(0, 9), domain="diagnosis"),
        )
        small = {key: count for key, count in found.counts.items() if 0 < count < LEAST}
        assert not small, (trial, n, small)


def site(train: pd.DataFrame, *columns: Column) -> Matrix:
    return Rows(train, *columns)  # type: ignore[return-value]


def test_what_two_sites_agree_on() -> None:
    """A code that one site alone can name stays by its count there; ends are the outer ones, decimals the finer."""
    x = Column("x", "continuous", bounds=(0, 1), decimals=1)
    one = pd.DataFrame({"a": ones(30, 100), "b": ones(4, 100), "x": np.arange(100) / 10})
    two = pd.DataFrame({"a": ones(40, 100), "b": ones(20, 100), "c": ones(5, 100), "x": np.arange(100) / 4})
    sites = {
        "one": site(one, code("a"), code("b"), x),
        "two": site(two, code("a"), code("b"), code("c"), Column("x", "continuous", bounds=(0, 1), decimals=2)),
    }
    schema = agreed(sites, Preprocess(min_prevalence=0.0), secret_rng())
    assert sorted(schema.names) == ["a", "b", "x"]
    both = schema.by_name["x"]
    assert both.decimals == 2
    assert both.bounds is not None
    assert both.bounds[1] >= 22.5  # the tenth largest of the second
    assert agreed(sites, Preprocess(min_prevalence=0.2), secret_rng()).names == ["a", "x"]  # 70 of 200, and 20


def test_sites_that_mean_other_things_by_a_column() -> None:
    table = pd.DataFrame({"x": ones(30, 60), "a": ones(30, 60)})
    sites = {
        "one": site(table, code("x"), code("a")),
        "two": site(table, Column("x", "count", bounds=(0, 1)), code("a")),
    }
    with pytest.raises(SchemaError, match=r"site two: column 'x' is count .* at site one binary"):
        agreed(sites, Preprocess(), secret_rng())


def test_nothing_in_common() -> None:
    sites = {"one": site(pd.DataFrame({"a": ones(3, 60)}), code("a"))}
    with pytest.raises(TableError, match="no column is left"):
        agreed(sites, Preprocess(), secret_rng())


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two hospitals that keep everything they know."""
    root, all_ = tmp_path_factory.mktemp("hospitals"), ("preprocess=none",)
    return [
        make(root / name, f"source.n={n}", *all_, seed=k).folder
        for k, (name, n) in enumerate({"a": 500, "b": 300}.items())
    ]


def test_the_plan_of_sums_is_near_that_of_all_rows(hospitals: list[Path], tmp_path: Path) -> None:
    """Codes are lost that ten have together, and no site alone; none is there that all rows would not have."""
    matrix = joined(hospitals, Preprocess(), tmp_path, NOBODY)
    a, b = map(Matrix.open, hospitals)
    for name in filter(lambda name: _is_code(a, b, name), {*a.schema.names, *b.schema.names}):
        counts = [int(m.train[name].sum()) if name in m.schema.by_name else 0 for m in (a, b)]
        assert (name in matrix.schema.by_name) == (max(counts) >= LEAST)
    assert matrix.provenance["rows"]["train"] == len(a.train) + len(b.train)
    assert not set(matrix.train[SUBJECT]) & set(matrix.holdout[SUBJECT])


def _is_code(a: Matrix, b: Matrix, name: str) -> bool:
    column = a.schema.by_name.get(name) or b.schema.by_name[name]
    return column.kind == "binary" and column.domain == "diagnosis"


def test_rows_stay_with_their_site(hospitals: list[Path], tmp_path: Path) -> None:
    matrix = joined(hospitals, Preprocess(), tmp_path, NOBODY)
    sites = sites_of(matrix, None)
    assert [site.name for site in sites] == ["a", "b"]
    for site, folder in zip(sites, hospitals, strict=True):
        own = Matrix.open(folder)
        assert list(site.matrix.train[SUBJECT].str.removeprefix(f"{site.name}:")) == list(
            own.train[SUBJECT].astype(str)
        )
        assert len(site.matrix.records("holdout")) == len(own.holdout)
        shared = next(name for name in matrix.schema.names if _is_code(own, own, name))
        assert list(site.matrix.train[shared]) == list(own.train[shared])
    assert sites[0].matrix.fingerprint != sites[1].matrix.fingerprint


def test_levels_of_few_patients_are_no_sites(hospitals: list[Path]) -> None:
    matrix, told = Matrix.open(hospitals[0]), list[str]()
    counts = {part: getattr(matrix, part)["race"].value_counts() for part in matrix.parts}
    enough = [
        name
        for name in sorted(counts["train"].index)
        if counts["train"][name] >= LEAST and min(counts[part].get(name, 0) for part in ("validation", "holdout")) >= 2
    ]
    sites = sites_of(matrix, "race", told.append)
    assert [site.name for site in sites] == enough
    assert [site.number for site in sites] == list(range(1, len(enough) + 1))
    assert [site.patients for site in sites] == [counts["train"][name] for name in enough]
    few = [name for name in sorted(counts["train"].index) if name not in enough]
    assert few
    assert told == [f"left out, too few patients (10 to train on, 2 to judge by): sites {', '.join(few)}"]


def test_the_columns_tell_no_value_of_few(hospitals: list[Path], tmp_path: Path) -> None:
    """Levels are shared by ten patients of a site; ends of numbers are the outer ones of those that sites may tell."""
    matrix = joined(hospitals, Preprocess(), tmp_path, NOBODY)
    own = [Matrix.open(folder).train for folder in hospitals]
    for column in matrix.schema.columns:
        if column.bounds is not None:
            ends = [shared_bounds(table[column.name].value_counts().sort_index()) for table in own]
            assert column.bounds == (min(low for low, _ in ends), max(high for _, high in ends))
        for level in column.levels:
            assert level == "other" or max((table[column.name] == level).sum() for table in own) >= LEAST


def test_no_file_but_the_rows_names_a_patient(hospitals: list[Path], tmp_path: Path) -> None:
    folder = joined(hospitals, Preprocess(), tmp_path, NOBODY).folder
    said = "".join(file.read_text() for file in folder.iterdir() if file.suffix != ".parquet")
    assert not [subject for subject in pd.read_parquet(folder / "train.parquet")[SUBJECT] if subject in said]


def test_folders_of_one_name(hospitals: list[Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="another name"):
        joined([hospitals[0], hospitals[0]], None, tmp_path, NOBODY)
    with pytest.raises(SchemaError, match=r"site b: other columns than site a has: .* more; align=true"):
        joined(hospitals, None, tmp_path, NOBODY)
