"""Other records among generated ones."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from ehrsynth.errors import OptionError
from ehrsynth.seeding import derive
from ehrsynth.study.blend import interleaved, outside


def chunks(sizes: list[int]) -> list[pd.DataFrame]:
    starts = np.cumsum([0, *sizes[:-1]])
    return [pd.DataFrame({"x": np.arange(start, start + size)}) for start, size in zip(starts, sizes, strict=True)]


def test_every_row_is_there_once_whatever_the_chunks_and_the_generated_ones_keep_their_order() -> None:
    others = pd.DataFrame({"x": -np.arange(1, 41)})
    whole = pd.concat(interleaved(chunks([60]), others, 100, 3), ignore_index=True)["x"]
    assert sorted(whole) == [*range(-40, 0), *range(60)]
    assert whole[whole >= 0].tolist() == list(range(60))
    assert whole[whole < 0].tolist() != others["x"].tolist()  # no order of patients survives
    for sizes in ([1] * 60, [7, 50, 3], [59, 1]):
        assert pd.concat(interleaved(chunks(sizes), others, 100, 3), ignore_index=True)["x"].equals(whole)


def test_places_are_spread_evenly() -> None:
    others = pd.DataFrame({"x": np.full(500, -1)})
    first = [
        (pd.concat(interleaved(chunks([500]), others, 1000, seed))["x"].head(500) < 0).mean() for seed in range(40)
    ]
    assert abs(np.mean(first) - 0.5) < 4 * (0.25 / 1000) ** 0.5 / 40**0.5 * 2


def test_who_belongs_to_a_cohort_is_left_out_and_no_more_is_drawn_than_needed() -> None:
    asked = []

    def draw(seed: int) -> Iterator[pd.DataFrame]:
        asked.append(seed)
        yield pd.DataFrame({"E10": [0, 1, 0], "sex": ["F", "F", "M"]})

    rows = pd.concat(outside(draw, {"E10": 1, "sex": "F"}, 5, 7))
    assert len(rows) == 5
    assert rows["E10"].sum() == 0
    assert asked == [7, derive(7, "outside", 1), derive(7, "outside", 2)]
    with pytest.raises(OptionError, match="merge: only 0 of 100 records are outside the cohort of that run"):
        list(outside(lambda seed: [pd.DataFrame({"E10": [1, 1]})], {"E10": 1}, 2, 7))
