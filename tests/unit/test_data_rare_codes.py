"""Rare codes by demographic group: counted by hand, told only where ten share, brought back as often as they were."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.plan import RareCode
from ehrsynth.data.rare_codes import Rare, _likelier, by_group, demographic_groups, group_of, read_rare, save_rare
from ehrsynth.data.wide import Wide
from ehrsynth.errors import FileError
from ehrsynth.files import write_json
from ehrsynth.schema import Column, Schema

N = 2_000
SCHEMA = Schema(
    (
        Column("sex", "categorical", ("F", "M"), domain="demographics"),
        Column("age", "count", bounds=(18, 90), domain="demographics", missing=True),
        Column("bmi", "continuous", bounds=(10, 60), domain="vital"),
    )
)


def rows() -> tuple[Wide, Wide]:
    """Return training rows with one code of women and one of the old, and the same in the schema, some of them gone."""
    rng = np.random.default_rng(0)
    sex, age = rng.choice(["F", "M"], N), rng.integers(18, 91, N).astype(float)
    age[::50] = np.nan
    codes = np.stack([(sex == "F") & (rng.random(N) < 0.04), (age > 70) & (rng.random(N) < 0.05)], 1)
    cells = pd.DataFrame({"sex": sex, "age": age, "bmi": 25.0})
    specs = {name: ColumnSpec("binary", domain="diagnosis") for name in ("women", "old")}
    raw = Wide(pd.Series(np.arange(N)), specs, cells, sparse.csr_array(codes.astype(np.uint8)), ["women", "old"])
    kept = np.arange(N)[::-1][: N - 100]
    return raw, raw[kept].only({})


def test_codes_of_a_flat_table_lie_among_its_cells() -> None:
    raw, _ = rows()
    old = raw.codes[:, [1]].toarray().ravel()
    flat = Wide(raw.subjects, raw.specs, raw.cells.assign(old=old), raw.codes[:, [0]], ["women"])
    for names in (["women", "old"], ["old", "women"], ["old"], ["women"]):
        assert (flat.having(names).toarray() == raw.having(names).toarray()).all()


def test_a_code_follows_its_group_and_stays_as_frequent() -> None:
    raw, train = rows()
    train = Wide(train.subjects, {}, raw.cells.iloc[train.subjects.to_numpy()], train.codes, [])
    groups = demographic_groups(SCHEMA, train)
    assert list(groups) == ["sex", "age"]
    assert groups["sex"] == ["F", "M"]
    assert len(groups["age"]) == 3
    having = raw.codes[train.subjects.to_numpy()].toarray()
    codes = [
        RareCode(Column(name, "binary", domain="diagnosis"), having[:, i].mean())
        for i, name in enumerate(("women", "old"))
    ]
    women, old = by_group(codes, raw, train, groups)
    chances = women.chances(train.cells, groups)
    assert chances.mean() == pytest.approx(women.code.prevalence, rel=1e-3)
    assert chances[train.cells["sex"] == "M"].max() == 0  # expected were dozens
    assert np.corrcoef(chances, having[:, 0])[0, 1] > 0.1
    of_age = pd.Series(old.chances(train.cells, groups)).groupby(group_of(train.cells["age"], groups["age"])).mean()
    assert of_age.iloc[3] > 5 * of_age.iloc[0]
    assert (old.chances(train.cells) == old.code.prevalence).all()  # independent of everything, unless asked


def test_counts_of_one_to_nine_patients_are_told_together() -> None:
    sizes = np.array([100.0, 100.0, 100.0, 100.0])
    counts = np.array([40.0, 12.0, 3.0, 0.0])  # 3 alone would be told: 12 joins it
    found = _likelier(counts, sizes, 55 / 400)
    assert found[1] == found[2] == pytest.approx((7.5 + 1) / (13.75 + 1))
    assert found[0] == pytest.approx(41 / 14.75)
    assert found[3] == 0
    assert _likelier(np.array([3.0, 0.0]), np.array([200.0, 200.0]), 3 / 400)[1] == pytest.approx(
        1 / 2.5
    )  # may be chance


def test_a_level_that_nobody_knows_and_a_gap_are_groups_of_their_own() -> None:
    assert group_of(pd.Series(["M", None, "X", "F"]), ["F", "M"]).tolist() == [1, 2, 2, 0]
    assert group_of(pd.Series([10.0, 40.0, np.nan, 99.0]), [40.0, 60.0]).tolist() == [0, 1, 3, 2]


def test_the_file_round_trips_and_names_what_is_wrong(tmp_path: Path) -> None:
    rare = Rare(RareCode(Column("x", "binary", domain="diagnosis"), 0.01), 1.1, {"sex": [2.0, 0.0, 1.0]})
    save_rare(tmp_path / "low_prevalence.json", [rare], {"sex": ["F", "M"]})
    assert read_rare(tmp_path) == ((rare,), {"sex": ["F", "M"]})
    entry = {"column": {"name": "x", "kind": "binary"}, "prevalence": 0.1, "likelier": {"sex": [1.0]}}
    for content in ({"codes": [entry]}, {"codes": [entry], "groups": {"sex": ["F", "M"]}}):
        write_json(tmp_path / "low_prevalence.json", content)
        with pytest.raises(FileError, match=r"low_prevalence\.json: not a list of columns"):
            read_rare(tmp_path)
