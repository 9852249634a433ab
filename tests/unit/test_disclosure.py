"""What may leave: bounds of numbers that point at nobody, and levels that ten rows share."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data.disclosed import as_other, disclosed, undisclosed
from ehrsynth.data.inference import infer_schema
from ehrsynth.disclosure import LEAST, shared_bounds
from ehrsynth.errors import TableError


def bounds(values: Sequence[float]) -> tuple[float, float]:
    numbers, rows = np.unique(np.asarray(values, float), return_counts=True)
    return shared_bounds(pd.Series(rows, index=numbers))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([*range(100), 987654.5], (0, 100)),  # of 9 and 91, the tenth from either end
        ([*np.arange(0, 10, 0.1), -5e9], (0, 9)),
        ([*range(1000, 101000, 1000)], (10000, 100000)),
        ([*[0] * 50, *[1] * 50], (0, 1)),
        ([*[18.5] * 10, *range(19, 99)], (18.5, 90)),  # nobody lies beyond the one, nine beyond the other
        ([25.5] * 10, (25.5, 25.5)),  # shared by ten
        ([25.5] * 9, (20, 30)),  # not so: around the median, to its first digit
        ([25.5], (20, 30)),
        ([30], (30, 40)),
        ([0, 0, 0], (0, 1)),
        ([-3.21, -2.5, -8], (-4, -3)),
        (range(19), (9, 10)),
        ([0.3, 0.1, 0.2] * 10, (0.1, 0.3)),  # although 0.3 / 0.1 is below three
    ],
)
def test_bounds_that_ten_rows_share(values: Sequence[float], expected: tuple[float, float]) -> None:
    assert bounds(values) == pytest.approx(expected, abs=1e-12)


def test_bounds_hold_all_but_nine_rows_at_either_end() -> None:
    rng = np.random.default_rng(0)
    for n in (20, 21, 57, 4000):
        for values in (rng.normal(0, 1, n), rng.lognormal(3, 2, n), rng.integers(-5, 5, n).astype(float)):
            low, high = bounds(values)
            assert max((values < low).sum(), (values > high).sum()) < LEAST
            inner = np.sort(values)[LEAST - 1 : 1 - LEAST]
            assert low <= inner[0] <= inner[-1] <= high
            assert np.ptp(inner) == 0 or high - low <= 1.7 * np.ptp(inner)


def table() -> pd.DataFrame:
    words = ["A"] * 40 + ["B"] * 10 + ["C"] * 9 + ["Smith"]
    return pd.DataFrame({"ward": words, "age": [*range(20, 79), 987654], "gap": [0, 1, None] * 20})


def test_an_inferred_schema_tells_nothing_of_few_rows() -> None:
    train = table()
    schema = disclosed(infer_schema(train, "train"), train, "train", 10)
    assert schema.by_name["ward"].levels == ("A", "B", "other")
    assert schema.by_name["age"].bounds == (20, 70)
    assert schema.by_name["gap"].levels == ("0", "1")  # nobody's words
    rare = undisclosed(train, schema.columns)
    assert rare == {"ward": {"C", "Smith"}}
    other = pd.DataFrame({"ward": ["Smith", "Jones", None, "A"]})
    assert as_other(other, rare)["ward"].fillna("gap").tolist() == ["other", "Jones", "gap", "A"]
    assert disclosed(infer_schema(train, "train"), train, "train", 1).by_name["ward"].levels == ("A", "B", "C", "Smith")


def test_an_outcome_whose_levels_are_all_rare() -> None:
    train = pd.DataFrame({"fate": ["home", "died"] * 9, "x": range(18)})
    with pytest.raises(TableError, match=r"train: column 'fate': a constant outcome once .* min_level=1 keeps them"):
        disclosed(infer_schema(train, "train", outcomes=["fate"]), train, "train", 10)
