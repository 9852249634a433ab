"""Every preprocessing step is fitted on training rows only, and counted."""

import tracemalloc
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ehrsynth.data.encoding import Encoder
from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.plan import Prepared
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.wide import Wide
from ehrsynth.errors import OptionError, TableError

as_they_are = partial(Preprocess, min_count=1, min_aside=1, bounds="exact")  # of ten rows, hardly anything is shared

SPECS = {
    "bmi": ColumnSpec("continuous", plausible=(10, 60)),
    "lab": ColumnSpec("continuous"),
    "ward": ColumnSpec("categorical"),
    "common": ColumnSpec("binary", domain="diagnosis"),
    "rare": ColumnSpec("binary", domain="diagnosis"),
    "dead": ColumnSpec("binary", "outcome"),
}


def wide_of(frame: pd.DataFrame, specs: Mapping[str, ColumnSpec], codes: Iterable[str] = ()) -> Wide:
    """Return the rows with ``codes`` sparse and the others dense."""
    names = list(codes)
    ones = sparse.csr_array(frame[names].to_numpy(np.uint8))
    cells = frame[[name for name in specs if name not in names]]
    return Wide(frame["subject_id"], specs, cells, ones, names)


def tables() -> dict[str, pd.DataFrame]:
    train = pd.DataFrame(
        {
            "subject_id": range(10),
            "bmi": [20.5, 30.25, 950, 5, *[25.0] * 5, np.nan],
            "lab": [1.0, 2.0, 3.0, *[np.nan] * 7],
            "ward": ["A", "B", *["A"] * 8],
            "common": [1, 0] * 5,
            "rare": [1, *[0] * 9],
            "dead": [0, 1] * 5,
        }
    )
    other = train.iloc[:3].assign(subject_id=[20, 21, 22], bmi=[100.0, 15.0, np.nan], ward=["C", "A", "B"], rare=1)
    return {"train": train, "validation": other.copy(), "holdout": other.assign(subject_id=[30, 31, 32])}


def parts(given: Mapping[str, pd.DataFrame] | None = None, sparse_codes: bool = True) -> dict[str, Wide]:
    codes = ("common", "rare") if sparse_codes else ()
    return {name: wide_of(table, SPECS, codes) for name, table in (given or tables()).items()}


def details(prepared: Prepared) -> dict[str, dict[str, int]]:
    return {step["step"].split(":")[0]: step["detail"] for step in prepared.steps}


def frames(prepared: Prepared) -> dict[str, pd.DataFrame]:
    return {name: part.frame() for name, part in prepared.parts.items()}


def test_clipping() -> None:
    prepared = Preprocess(outliers="clip", min_prevalence=0.2, min_count=1).apply(parts())
    bmi = prepared.plan.schema.by_name["bmi"]
    assert bmi.bounds == (10, 60)
    assert bmi.decimals == 2
    assert bmi.missing
    assert frames(prepared)["train"]["bmi"].tolist()[:4] == [20.5, 30.25, 60, 10]
    assert frames(prepared)["holdout"]["bmi"].tolist()[:2] == [60, 15]
    assert details(prepared)["outliers"] == {"bmi": 4}


def test_dropping_records() -> None:
    prepared = as_they_are(outliers="drop").apply(parts())
    assert prepared.plan.schema.by_name["bmi"].bounds == (20.5, 30.25)
    assert {name: len(part) for name, part in prepared.parts.items()} == {"train": 8, "validation": 2, "holdout": 2}
    holdout = frames(prepared)["holdout"]
    assert holdout["bmi"].iloc[0] == 15  # outside the training bounds, and kept as it is
    assert holdout["common"].tolist() == [0, 1]  # of the same rows


def test_outliers_become_missing_or_stay() -> None:
    missing, kept = (as_they_are(outliers=choice).apply(parts()) for choice in ("missing", "keep"))  # type: ignore[arg-type]
    assert frames(missing)["train"]["bmi"].isna().sum() == 3
    assert missing.plan.schema.by_name["bmi"].bounds == (20.5, 30.25)
    assert frames(kept)["train"]["bmi"].max() == 950
    assert details(missing)["outliers"] == details(kept)["outliers"] == {"bmi": 4}


def test_columns_are_left_out_by_training_rows() -> None:
    for sparse_codes in (True, False):
        prepared = as_they_are(min_prevalence=0.2).apply(parts(sparse_codes=sparse_codes))
        assert prepared.plan.schema.names == ["bmi", "ward", "common", "dead"]
        assert list(frames(prepared)["train"]) == ["subject_id", "bmi", "ward", "common", "dead"]
        assert details(prepared)["columns mostly missing"] == {"lab": 7}
        assert details(prepared)["rare codes"] == {"codes of too few training rows": 1}
        (code,) = prepared.plan.rare
        assert (code.column.name, code.column.domain, code.prevalence) == ("rare", "diagnosis", 0.1)
        assert [step["columns"] for step in prepared.steps] == [6, 5, 4, 4, 4]


def test_a_code_that_no_training_row_has_is_counted_but_not_kept_aside() -> None:
    given = tables()
    given["train"]["rare"] = 0
    prepared = as_they_are().apply(parts(given))
    assert prepared.plan.rare == ()
    assert details(prepared)["rare codes"] == {"codes that no training row has": 1}
    assert "rare" not in prepared.plan.schema.by_name
    assert "rare" in as_they_are(min_count=0, min_prevalence=0).apply(parts(given)).plan.schema.by_name


@pytest.mark.parametrize(("min_count", "kept"), [(1, True), (2, False)])
def test_min_count(min_count: int, kept: bool) -> None:
    prepared = as_they_are(min_count=min_count).apply(parts())
    assert ("rare" in prepared.plan.schema.by_name) == kept


def test_levels_that_training_never_shows() -> None:
    prepared = as_they_are(min_level=1).apply(parts())
    assert prepared.plan.schema.by_name["ward"].levels == ("A", "B")  # there are no others, and no code for them
    assert frames(prepared)["holdout"]["ward"].tolist() == ["A", "B"]
    assert details(prepared)["levels that training rarely or never has"] == {"ward": 2}
    assert details(prepared)["rows with gaps that training never has"] == {"validation": 1, "holdout": 1}


def test_where_training_has_gaps_a_level_that_it_never_shows_is_one() -> None:
    given = tables()
    given["train"].loc[9, "ward"] = None
    prepared = as_they_are(min_level=1).apply(parts(given))
    assert prepared.plan.schema.by_name["ward"].levels == ("A", "B")
    assert frames(prepared)["holdout"]["ward"].fillna("").tolist() == ["", "A", "B"]


@pytest.mark.parametrize(
    ("least", "levels", "others"), [(2, ("A", "other"), 5), (9, ("A", "other"), 5), (10, ("other",), 16)]
)
def test_rare_levels_become_other(least: int, levels: tuple[str, ...], others: int) -> None:
    prepared = as_they_are(min_level=least).apply(parts())
    assert prepared.plan.schema.by_name["ward"].levels == levels
    assert details(prepared)["levels that training rarely or never has"] == {"ward": others}
    assert "B" not in set(frames(prepared)["train"]["ward"])


def test_declared_levels_stay_however_rare_and_those_of_an_outcome_do_not() -> None:
    given = {name: table.assign(dead=["no", "yes", *["no"] * 8][: len(table)]) for name, table in tables().items()}
    specs = SPECS | {
        "ward": ColumnSpec("categorical", levels=("A", "B", "C")),
        "dead": ColumnSpec("categorical", "outcome"),
    }
    rows = {name: wide_of(table, specs) for name, table in given.items()}
    schema = as_they_are(min_level=9).apply(rows).plan.schema
    assert schema.by_name["ward"].levels == ("A", "B", "C")
    assert schema.by_name["dead"].levels == ("no", "other")
    with pytest.raises(TableError, match=r"'dead': a constant outcome once levels of fewer than 10 .*min_level=1"):
        as_they_are().apply(rows)


def test_numbers_that_share_a_relation_are_filled_in_order() -> None:
    pairs = pd.DataFrame({"systolic": [100.0, 150, 200, 250] * 50, "diastolic": [90.0, 140, 190, 240] * 50})
    pairs.loc[:99, ["systolic", "diastolic"]] = np.nan  # both from one row
    pairs.loc[100:119, "systolic"] = np.nan  # drawn again until it is above the other
    frame = pairs.assign(subject_id=range(200))
    specs = {name: ColumnSpec("continuous") for name in ("systolic", "diastolic")}
    given = {name: wide_of(frame, specs) for name in ("train", "validation", "holdout")}
    prepared = as_they_are(impute="marginal", max_missing=1, relations=["diastolic < systolic"]).apply(given)
    assert details(prepared)["gaps filled"] == {"systolic": 360, "diastolic": 300}
    train = frames(prepared)["train"]
    assert ((train["systolic"] - train["diastolic"])[:100] == 10).all()
    assert (train["systolic"] > train["diastolic"]).all()
    assert train["diastolic"].tolist()[100:] == frame["diastolic"].tolist()[100:]


def test_a_record_that_no_draw_brings_into_order_is_dropped() -> None:
    given = pressures(systolic=[120, 130, 140, 60, np.nan], diastolic=[80, 85, 90, np.nan, np.nan])
    prepared = as_they_are(impute="marginal", relations=["diastolic < systolic"]).apply(given)
    assert frames(prepared)["train"]["subject_id"].tolist() == [0, 1, 2, 4]
    assert details(prepared)["relations, gaps filled"] == {"diastolic < systolic": 3}


def test_gaps_that_training_never_shows() -> None:
    given = tables()
    given["holdout"].loc[0, "ward"] = None
    prepared = as_they_are().apply(parts(given))
    assert frames(prepared)["holdout"]["subject_id"].tolist() == [31, 32]
    assert details(prepared)["rows with gaps that training never has"] == {"holdout": 1}
    assert not prepared.plan.schema.by_name["ward"].missing


def pressures(**systolic_and_diastolic: list[float]) -> dict[str, Wide]:
    frame = pd.DataFrame({"subject_id": range(5), **systolic_and_diastolic})
    specs = {name: ColumnSpec("continuous") for name in systolic_and_diastolic}
    return {name: wide_of(frame, specs) for name in ("train", "validation", "holdout")}


def test_relations() -> None:
    given = pressures(systolic=[120, 80, 90, np.nan, 100], diastolic=[80, 120, 90, 70, np.nan])
    strict = as_they_are(relations=["diastolic < systolic"]).apply(given)
    assert frames(strict)["train"]["subject_id"].tolist() == [0, 3, 4]  # a gap contradicts nothing
    assert details(strict)["relations"] == {"diastolic < systolic": 6}
    loose = as_they_are(relations=["systolic>=diastolic"]).apply(given)
    assert frames(loose)["train"]["subject_id"].tolist() == [0, 2, 3, 4]
    emptied = as_they_are(relations=["diastolic < systolic"], outliers="missing", max_missing=0.9).apply(given)
    assert frames(emptied)["train"]["systolic"].tolist()[0] == 120
    assert frames(emptied)["train"].loc[[1, 2], ["systolic", "diastolic"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("relation", "words"),
    [("bmi < height", "'height' is no such column"), ("bmi < ward", "'ward' is a categorical column")],
)
def test_relations_of_other_columns(relation: str, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        as_they_are(relations=[relation]).apply(parts())


def test_marginal_imputation_draws_training_values() -> None:
    given = tables()
    given["holdout"].loc[0, "ward"] = None
    given["holdout"]["bmi"] = [np.nan, 59.0, 58.0]
    imputing = as_they_are(impute="marginal", max_missing=0.8, min_level=1)
    prepared = imputing.apply(parts(given), seed=3)
    assert not any(column.missing for column in prepared.plan.schema.columns)
    train, holdout = frames(prepared)["train"], frames(prepared)["holdout"]
    assert len(holdout) == 3
    assert holdout["bmi"].iloc[0] in {20.5, 30.25, 60, 10, 25}
    assert set(train["lab"]) <= {1, 2, 3}
    assert train["lab"].tolist()[:3] == [1, 2, 3]
    assert details(prepared)["gaps filled"] == {"bmi": 3, "lab": 7, "ward": 1}
    pd.testing.assert_frame_equal(frames(imputing.apply(parts(given), seed=3))["train"], train)
    assert not frames(imputing.apply(parts(given), seed=4))["train"].equals(train)


def test_marginal_imputation_keeps_the_marginal() -> None:
    frame = pd.DataFrame({"subject_id": range(4000), "x": [0.0, 0.0, 0.0, 1.0, np.nan, np.nan, np.nan, np.nan] * 500})
    wide = wide_of(frame, {"x": ColumnSpec("continuous")})
    prepared = as_they_are(impute="marginal").apply(dict.fromkeys(("train", "validation", "holdout"), wide))
    assert frames(prepared)["train"]["x"].mean() == pytest.approx(0.25, abs=0.02)


def test_nothing_is_fitted_on_other_rows() -> None:
    given = tables()
    before = as_they_are().apply(parts(given)).plan.schema
    given["holdout"]["bmi"] = [59.123, 12.0, 13.0]
    given["validation"]["common"] = 0
    assert as_they_are().apply(parts(given)).plan.schema == before


def test_the_given_rows_stay_as_they_are() -> None:
    given = parts()
    for choice in ("clip", "drop", "missing"):
        as_they_are(outliers=choice, impute="marginal", max_missing=0.9).apply(given)  # type: ignore[arg-type]
    for name, table in tables().items():
        pd.testing.assert_frame_equal(given[name].frame()[list(SPECS)], table[list(SPECS)], check_dtype=False)


def test_a_constant_outcome() -> None:
    given = tables()
    given["train"]["dead"] = 0
    with pytest.raises(TableError, match="'dead': a constant outcome"):
        as_they_are().apply(parts(given))


def test_an_outcome_that_is_mostly_missing() -> None:
    given = tables()
    given["train"]["dead"] = [0, 1, *[np.nan] * 8]
    with pytest.raises(TableError, match="'dead': an outcome that is missing in 8 of 10 rows"):
        as_they_are().apply(parts(given))


def test_a_column_without_any_training_value_is_left_out() -> None:
    given = tables()
    given["train"]["lab"] = np.nan
    given["train"]["ward"] = None
    prepared = as_they_are(max_missing=1, impute="marginal").apply(parts(given))
    assert details(prepared)["columns mostly missing"] == {"lab": 10, "ward": 10}


def test_a_constant_column_is_kept_and_encoded() -> None:
    given = {name: table.assign(bmi=25.0, common=1) for name, table in tables().items()}
    prepared = as_they_are().apply(parts(given))
    assert prepared.plan.schema.by_name["bmi"].bounds == (25, 25)
    encoder, train = Encoder(prepared.plan.schema), frames(prepared)["train"]
    decoded = encoder.decode(encoder.encode(prepared.plan.schema.validate(train, "train")))
    pd.testing.assert_frame_equal(decoded, train[prepared.plan.schema.names].reset_index(drop=True))


def test_no_rows_left() -> None:
    given = tables()
    given["holdout"]["bmi"] = 1000.0
    with pytest.raises(TableError, match="holdout, after preprocessing: the number of rows is 0"):
        as_they_are(outliers="drop").apply(parts(given))


def test_no_column_left() -> None:
    given = {name: table.assign(lab=np.nan) for name, table in tables().items()}
    only = {name: part.only({"lab": SPECS["lab"]}) for name, part in parts(given).items()}
    with pytest.raises(TableError, match="no column is left"):
        as_they_are().apply(only)


@pytest.mark.parametrize(
    "option",
    [
        {"min_level": 0},
        {"min_aside": 0},
        {"bounds": "rounded"},
        {"outliers": "ignore"},
        {"impute": "mean"},
        {"relations": ["a before b"]},
        {"relations": "a < b"},
        {"max_missing": 2},
        {"max_missing": "half"},
        {"min_prevalence": -1},
        {"min_count": -1},
    ],
)
def test_impossible_options(option: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"preprocess.{next(iter(option))}"):
        Preprocess(**option)  # type: ignore[arg-type]


def test_codes_are_never_dense() -> None:
    """40,000 x 2,000 cells would take 80 MB a part as bytes; the codes that are there take 2 MB."""
    n, m = 40_000, 2_000
    rng = np.random.default_rng(0)
    flat = np.unique(rng.integers(0, n * m, 400_000))
    codes = sparse.csr_array((np.ones(len(flat), np.uint8), (flat // m, flat % m)), shape=(n, m))
    names = [f"dx_{i}" for i in range(m)]
    specs = {"age": ColumnSpec("count")} | {name: ColumnSpec("binary", domain="diagnosis") for name in names}
    wide = Wide(pd.Series(range(n)), specs, pd.DataFrame({"age": rng.integers(0, 90, n)}), codes, names)
    given = {
        name: wide[np.flatnonzero(np.arange(n) % 3 == k)] for k, name in enumerate(("train", "validation", "holdout"))
    }
    tracemalloc.start()
    try:
        prepared = Preprocess(min_count=60, min_aside=1).apply(given)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
    assert 0 < len(prepared.plan.rare) < m
    kept = prepared.parts["train"]
    assert sum(len(chunk) for chunk in kept.chunks(10_000)) == len(kept)
    left = [name for name in names if name not in {code.column.name for code in prepared.plan.rare}]
    assert list(kept.code_names) == left
    assert kept.codes.sum(axis=0, dtype=int).min() >= 60


def of_numbers(lab: Iterable[float], code: Iterable[int] | None = None, n: int = 60) -> dict[str, Wide]:
    """Return parts of ``n`` rows with a number that no range is declared for, and a code."""
    frame = pd.DataFrame({"subject_id": range(n), "lab": list(lab), "code": [1] * n if code is None else list(code)})
    specs = {"lab": ColumnSpec("continuous"), "code": ColumnSpec("count", domain="medication")}
    return {name: wide_of(frame, specs) for name in ("train", "validation", "holdout")}


def test_bounds_are_those_that_ten_rows_share_and_clip_what_lies_beyond() -> None:
    given = of_numbers([*range(59), 987654.321])
    prepared = Preprocess().apply(given)
    lab = prepared.plan.schema.by_name["lab"]
    assert (lab.bounds, lab.decimals) == ((0, 50), 0)  # the decimals of one row do not count either
    assert details(prepared)["numbers clipped to shared bounds"] == {"lab": 3 * 9}
    for part in frames(prepared).values():
        assert (part["lab"].min(), part["lab"].max()) == (0, 50)
    exact = Preprocess(bounds="exact").apply(given)
    assert exact.plan.schema.by_name["lab"].bounds == (0, 987654.321)
    assert "numbers clipped to shared bounds" not in details(exact)


@pytest.mark.parametrize(("outliers", "expected"), [("clip", (0, 1000)), ("missing", (0, 1000)), ("keep", (0, 50))])
def test_a_declared_range_is_the_bounds_unless_outliers_are_kept(outliers: Any, expected: tuple[float, float]) -> None:
    given = of_numbers([*range(59), 987654.321])
    specs = {"lab": ColumnSpec("continuous", plausible=(0, 1000)), "code": given["train"].specs["code"]}
    fitted = Preprocess(outliers=outliers).fit(replace(given["train"], specs=specs)).schema.by_name["lab"]
    assert fitted.bounds == expected
    open_end = {**specs, "lab": ColumnSpec("continuous", plausible=(-5, np.inf))}
    assert Preprocess().fit(replace(given["train"], specs=open_end)).schema.by_name["lab"].bounds == (-5, 50)


def test_filling_gaps_does_not_make_one_row_look_like_ten() -> None:
    lab = [*[5.0] * 15, 987654.321, *[np.nan] * 44]
    plan = Preprocess(impute="marginal", max_missing=1).fit(of_numbers(lab)["train"], seed=0)
    low, high = plan.schema.by_name["lab"].bounds or (0, 0)
    assert (low, high) == (5, 5)


@pytest.mark.parametrize(("rows", "kept"), [(10, True), (9, False)])
def test_codes_that_are_counted_need_as_many_rows(rows: int, kept: bool) -> None:
    given = of_numbers(range(60), [3] * rows + [0] * (60 - rows))
    more = {name: part.beside(wide_of(part.frame()[["subject_id"]].assign(dx=1), {"dx": SPECS["common"]}, ["dx"]))
            for name, part in given.items()}  # fmt: skip
    prepared = Preprocess().apply(more)
    assert ("code" in prepared.plan.schema.by_name) == kept
    assert prepared.plan.rare == ()
    assert details(prepared)["rare codes"] == ({} if kept else {"codes of too few training rows": 1})


def test_codes_of_fewer_rows_are_not_kept_aside_by_name() -> None:
    counts = {"nine": 9, "ten": 10, "many": 40}
    frame = pd.DataFrame({"subject_id": range(60), **{name: [1] * n + [0] * (60 - n) for name, n in counts.items()}})
    wide = wide_of(frame, dict.fromkeys(counts, SPECS["common"]), counts)
    plan = Preprocess(min_count=20).fit(wide)
    assert [code.column.name for code in plan.rare] == ["ten"]
    assert plan.few == 2
    assert [code.column.name for code in Preprocess(min_count=20, min_aside=1).fit(wide).rare] == ["nine", "ten"]


def test_codes_that_are_all_too_rare_are_not_lost_in_silence() -> None:
    with pytest.raises(TableError, match=r"none of 2 codes is left; preprocess.min_count=10 .* of the 10 rows"):
        Preprocess().fit(parts()["train"])
