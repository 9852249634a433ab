"""Work done once: shared between evaluators, and kept for other processes by the hash of the data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ehrsynth.evaluation import memory
from ehrsynth.evaluation.memory import Arrays, Memory, Shared
from tests.evaluation_toy import toy_real, toy_records


class Counted:
    """A computation that knows how often it ran."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Arrays:
        self.times += 1
        return {"x": np.arange(3) + self.times}


def test_shared_work_is_done_once_for_each_table_and_key() -> None:
    shared, compute, table = Shared(), Counted(), toy_records(5, 0)
    assert shared.once(table, "a", compute) is shared.once(table, "a", compute)
    shared.once(table, "b", compute)
    shared.once(toy_records(5, 0), "a", compute)  # an equal table is another one
    assert compute.times == 3


def test_what_is_recalled_is_kept_by_key_and_data(tmp_path: Path) -> None:
    compute = Counted()
    for folder in (None, tmp_path):
        for _ in range(2):
            Memory("data", folder).cached({"work": "w", "seed": 0}, compute)
    assert compute.times == 3  # twice without a folder, once with it
    np.testing.assert_array_equal(Memory("data", tmp_path).cached({"seed": 0, "work": "w"}, compute)["x"], [3, 4, 5])
    Memory("other data", tmp_path).cached({"work": "w", "seed": 0}, compute)
    Memory("data", tmp_path).cached({"work": "w", "seed": 1}, compute)
    assert compute.times == 5


def test_a_single_array_is_kept_like_several(tmp_path: Path) -> None:
    compute = Counted()
    for _ in range(2):
        found = Memory("data", tmp_path).array({"work": "w"}, lambda: compute()["x"])
        np.testing.assert_array_equal(found, [1, 2, 3])
    assert compute.times == 1


def test_nothing_outlives_the_code_that_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = Counted()
    Memory("data", tmp_path).cached({"work": "w"}, compute)
    monkeypatch.setattr(memory, "code_hash", lambda: "changed")
    Memory("data", tmp_path).cached({"work": "w"}, compute)
    assert compute.times == 2


def test_work_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> Arrays:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Memory("data", tmp_path).cached({"work": "w"}, fail)
    assert not list(tmp_path.iterdir())


def test_the_fingerprint_changes_with_any_cell_and_with_the_schema() -> None:
    real = toy_real(20, 10)
    assert real.fingerprint == toy_real(20, 10).fingerprint
    bits = real.holdout.bits.clone()
    bits[3, 2] ^= 1
    assert replace(real, holdout=replace(real.holdout, bits=bits)).fingerprint != real.fingerprint
    renamed = replace(real.schema, columns=(*real.schema.columns[:-1], replace(real.schema.columns[-1], label="x")))
    assert replace(real, schema=renamed).fingerprint != real.fingerprint
