"""Other records among generated ones."""

import numpy as np
import pandas as pd

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

    def drawn() -> object:
        for part in range(9):
            asked.append(part)
            yield pd.DataFrame({"E10": [0, 1, 0], "sex": ["F", "F", "M"]})

    rows = pd.concat(outside(drawn(), {"E10": 1, "sex": "F"}, 5))  # type: ignore[arg-type]
    assert len(rows) == 5
    assert rows["E10"].sum() == 0
    assert asked == [0, 1, 2]
