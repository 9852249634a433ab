"""What is learned from training rows is JSON, comes from counts that add up, and is all that applying it looks at."""

import json
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data.cleaning import Relation, without_contradictions, without_outliers
from ehrsynth.data.plan import PLAN, Plan
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.statistics import Statistics
from ehrsynth.data.wide import Wide
from ehrsynth.errors import FileError, OptionError, TableError
from ehrsynth.files import read_json, write_json
from tests import matrices
from tests.unit.test_data_preprocess import SPECS, parts, pressures, tables, wide_of

RELATIONS = ["lab < bmi"]


def many(n: int = 90) -> dict[str, Wide]:
    """Return three parts with outliers, gaps, contradictions, rare and absent codes, and rare words."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "subject_id": range(n),
            "bmi": np.where(rng.random(n) < 0.2, np.nan, rng.uniform(5, 70, n).round(2)),
            "lab": np.where(rng.random(n) < 0.3, np.nan, rng.integers(0, 40, n)),
            "ward": rng.choice(["A", "B", "C", None], n, p=[0.6, 0.25, 0.05, 0.1]),
            "common": rng.integers(0, 2, n),
            "rare": (np.arange(n) == 1).astype(int),
            "dead": rng.integers(0, 2, n),
        }
    )
    wide = wide_of(frame, SPECS, ("common", "rare"))
    return {
        name: wide[np.arange(n)[np.arange(n) % 3 == k]] for k, name in enumerate(("train", "validation", "holdout"))
    }


def counted(rows: Wide, preprocess: Preprocess) -> Statistics:
    """Return what a site would count of its rows."""
    relations = [Relation.read(words) for words in preprocess.relations]
    rows, _ = without_outliers(rows, {"bmi": (10, 60)}, preprocess.outliers)
    rows, _ = without_contradictions(rows, relations, preprocess.outliers)
    return Statistics.of(rows, ("lab", "bmi"))


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(min_count=2, min_level=3),
        Preprocess(outliers="drop", relations=RELATIONS, min_count=1, min_level=1, max_missing=0.1),
        Preprocess(outliers="missing", relations=RELATIONS, min_prevalence=0.5),
    ],
    ids=["clip", "drop", "missing"],
)
@pytest.mark.parametrize("sites", [2, 5])
def test_counts_of_sites_add_up_to_the_plan_of_all_rows(preprocess: Preprocess, sites: int) -> None:
    train = many()["train"]
    share = np.array_split(np.arange(len(train)), sites)
    added = reduce(add, (counted(train[rows], preprocess) for rows in share))
    whole = counted(train, preprocess)
    assert added.rows == whole.rows
    assert added.together == whole.together
    assert {name: dict(counts) for name, counts in added.values.items()} == {
        name: dict(counts) for name, counts in whole.values.items()
    }
    assert dict(added.codes) == dict(whole.codes)
    assert preprocess.plan(SPECS, added, added) == preprocess.fit(train)


def test_what_is_counted() -> None:
    counts = Statistics.of(parts()["train"], ("bmi", "lab"))
    assert counts.rows == 10
    assert dict(counts.values["lab"]) == {1.0: 1, 2.0: 1, 3.0: 1}
    assert dict(counts.values["ward"]) == {"A": 9, "B": 1}
    assert (counts.gaps("lab"), counts.gaps("ward"), counts.gaps("common")) == (7, 0, 0)
    assert (counts.ones("common"), counts.ones("rare"), counts.ones("dead")) == (5, 1, 5)
    assert counts.ones("a code of another site") == 0
    assert counts.joint(["bmi"]) == 9
    assert counts.joint(["bmi", "lab"]) == 3
    assert Statistics.of(parts(sparse_codes=False)["train"]).ones("rare") == 1


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(min_count=2, min_level=3),
        Preprocess(outliers="drop", relations=RELATIONS, impute="marginal", min_count=1, min_level=1, max_missing=0.9),
    ],
    ids=["gaps stay", "gaps are filled"],
)
def test_a_plan_survives_its_file(tmp_path: Path, preprocess: Preprocess) -> None:
    given = many()
    plan = preprocess.fit(given["train"], seed=4)
    plan.save(tmp_path / PLAN)
    again = Plan.load(tmp_path / PLAN)
    assert again == plan
    once, twice = plan.apply(given, seed=4), again.apply(given, seed=4)
    assert once.steps == twice.steps == preprocess.apply(given, seed=4).steps
    for part in given:
        pd.testing.assert_frame_equal(once.parts[part].frame(), twice.parts[part].frame())


def test_applying_looks_at_nothing_but_plan_and_rows() -> None:
    given = many()
    plan = Preprocess(outliers="drop", relations=RELATIONS, min_count=2, min_level=3).fit(given["train"])
    together = plan.apply(given)
    for part, rows in given.items():
        alone = plan.apply({part: rows})
        pd.testing.assert_frame_equal(alone.parts[part].frame(), together.parts[part].frame())
    some = np.arange(5)
    pd.testing.assert_frame_equal(
        plan.apply({"new": given["holdout"][some]}).parts["new"].frame(),
        together.parts["holdout"].frame().loc[lambda table: table["subject_id"].isin(given["holdout"][some].subjects)],
    )


def test_gaps_are_filled_from_training_rows_which_are_not_in_the_plan() -> None:
    given = many()
    plan = Preprocess(impute="marginal", max_missing=0.9).fit(given["train"], seed=1)
    with pytest.raises(OptionError, match="impute=marginal: gaps are filled with values of training rows"):
        plan.apply({"holdout": given["holdout"]}, seed=1)
    two = plan.apply({"train": given["train"], "holdout": given["holdout"]}, seed=1)
    pd.testing.assert_frame_equal(two.parts["holdout"].frame(), plan.apply(given, seed=1).parts["holdout"].frame())


def test_columns_of_a_relation_are_filled_together_if_some_row_has_both() -> None:
    some = {"systolic": [120.0, np.nan, 110, 100, 90], "diastolic": [80.0, 70, np.nan, 60, 50]}
    imputing = Preprocess(impute="marginal", relations=["diastolic < systolic"], max_missing=0.9)
    assert imputing.fit(pressures(**some)["train"]).together == (("systolic", "diastolic"),)
    never = {"systolic": [120.0, np.nan, 110, np.nan, np.nan], "diastolic": [np.nan, 70.0, np.nan, 60, 50]}
    assert imputing.fit(pressures(**never)["train"]).together == ()


def test_a_plan_names_no_code_that_only_other_rows_have(tmp_path: Path) -> None:
    train = tables()["train"].assign(unseen=0)
    specs = SPECS | {"unseen": SPECS["rare"]}
    Preprocess(min_count=2, min_aside=1).fit(wide_of(train, specs, ("common", "rare", "unseen"))).save(tmp_path / PLAN)
    assert [code.column.name for code in Plan.load(tmp_path / PLAN).rare] == ["rare"]
    assert "unseen" not in (tmp_path / PLAN).read_text()


def test_rows_without_a_column_of_the_plan() -> None:
    given = parts()
    plan = Preprocess(min_count=1).fit(given["train"])
    less = given["holdout"].only({name: spec for name, spec in SPECS.items() if name != "common"})
    with pytest.raises(TableError, match="holdout: no column 'common', which the plan asks for"):
        plan.apply({"holdout": less})


def test_a_file_that_is_no_plan(tmp_path: Path) -> None:
    path = tmp_path / PLAN
    with pytest.raises(FileError, match=r"plan\.json: no such file"):
        Plan.load(path)
    Preprocess(min_count=1).fit(parts()["train"]).save(path)
    good = read_json(path)
    for change in ({"version": 2}, {"plausible": {"bmi": 3}}, {"rare": [1]}, {"more": 1}, {"together": None}):
        write_json(path, good | change)
        with pytest.raises(FileError, match=r"plan\.json: not a plan of this program"):
            Plan.load(path)
    write_json(path, {name: value for name, value in good.items() if name != "schema"})
    with pytest.raises(FileError, match=r"plan\.json: no 'schema' in it"):
        Plan.load(path)


def test_the_matrix_folder_keeps_the_plan(tmp_path: Path) -> None:
    matrix = matrices.make(tmp_path / "demo", "source.n=400", "preprocess.min_count=4")
    plan = Plan.load(matrix.folder / PLAN)
    assert plan.schema == matrix.schema
    codes = json.loads((matrix.folder / "low_prevalence.json").read_text())["codes"]
    assert [code.column.name for code in plan.rare] == [code["column"]["name"] for code in codes]
