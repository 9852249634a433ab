"""Splits by subject."""

import numpy as np
import pytest

from ehrsynth.data.split import Split
from ehrsynth.errors import OptionError


def test_parts_are_disjoint_complete_and_of_the_right_size() -> None:
    parts = Split(holdout=0.3, validation=0.07).assign(71_518, 0)
    assert {name: len(rows) for name, rows in parts.items()} == {
        "train": 45_057,
        "validation": 5_006,
        "holdout": 21_455,
    }
    together = np.concatenate(list(parts.values()))
    assert np.array_equal(np.sort(together), np.arange(71_518))


def test_the_seed_decides() -> None:
    split = Split()
    assert np.array_equal(split.assign(100, 0)["train"], split.assign(100, 0)["train"])
    assert not np.array_equal(split.assign(100, 0)["holdout"], split.assign(100, 1)["holdout"])


@pytest.mark.parametrize(("holdout", "validation"), [(0.0, 0.1), (1.0, 0.1), (0.3, -0.1), (0.6, 0.4), ("half", 0.1)])
def test_impossible_shares(holdout: float, validation: float) -> None:
    with pytest.raises(OptionError, match="split"):
        Split(holdout=holdout, validation=validation)


def test_an_empty_part() -> None:
    with pytest.raises(OptionError, match="0 validation rows in 5 subjects"):
        Split().assign(5, 0)


def test_a_part_of_one_row() -> None:
    with pytest.raises(OptionError, match=r"1 validation rows in 20 subjects .*; at least two rows are needed"):
        Split().assign(20, 0)
    assert len(Split().assign(30, 0)["validation"]) == 2
