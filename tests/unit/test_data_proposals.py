"""Rules found in training rows: enough evidence, no exception; and the file people edit."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

from ehrsynth.constraints import AtMost, Constraint, Exclusive, Implies, OneHot, OnlyIf, Range
from ehrsynth.data.encoding import fit_numbers
from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.hospital import conditions
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.proposals.check import checked
from ehrsynth.data.proposals.file import read_rules, write_rules
from ehrsynth.data.proposals.propose import contradicted, propose
from ehrsynth.data.wide import Wide
from ehrsynth.errors import FileError, OptionError, SchemaError
from ehrsynth.schema import Column, Schema
from tests import matrices


def wide(specs: dict[str, ColumnSpec], frame: pd.DataFrame, dense: tuple[str, ...] = ()) -> Wide:
    codes = [name for name, spec in specs.items() if spec.kind == "binary" and name not in dense]
    cells = frame[[name for name in specs if name not in codes]]
    ones = sparse.csr_array(frame[codes].to_numpy(np.uint8))
    return Wide(pd.Series(range(len(frame))), specs, cells, ones, codes)


def schema_of(specs: dict[str, ColumnSpec], frame: pd.DataFrame) -> Schema:
    columns = []
    for name, spec in specs.items():
        bounds = (0.0, 0.0) if spec.kind in ("continuous", "count") else None
        missing = bool(frame[name].isna().any())
        column = Column(name, spec.kind, spec.levels, bounds, missing, spec.role, spec.domain, spec.label)
        columns.append(fit_numbers(column, frame[name]) if column.numeric else column)
    return Schema(tuple(columns))


def proposed(specs: dict[str, ColumnSpec], frame: pd.DataFrame, **more: Any) -> set[Constraint]:
    found = propose(schema_of(specs, frame), wide(specs, frame, **more))
    return {rule for rule in found if not isinstance(rule, OneHot)}


SEX = ColumnSpec("categorical", levels=("F", "M"))
CODE = ColumnSpec("binary", domain="diagnosis")


def two_sexes(women: int, men: int, women_with: int, men_with: int) -> pd.DataFrame:
    code = np.concatenate([np.arange(women) < women_with, np.arange(men) < men_with]).astype(np.int8)
    return pd.DataFrame({"sex": ["F"] * women + ["M"] * men, "code": code})


@pytest.mark.parametrize(
    ("counts", "rule"),
    [
        ((100, 100, 20, 0), OnlyIf("code", "sex=F")),
        ((100, 100, 0, 20), OnlyIf("code", "sex=M")),
        ((100, 100, 19, 0), None),  # too few positives
        ((100, 100, 60, 1), None),  # an exception
        ((160, 40, 40, 0), None),  # 8 men expected under independence, 10 are needed
        ((160, 40, 55, 0), OnlyIf("code", "sex=F")),
        ((100, 100, 0, 0), None),
    ],
)
@pytest.mark.parametrize("dense", [(), ("code",)])
def test_codes_of_one_sex(counts: tuple[int, int, int, int], rule: OnlyIf | None, dense: tuple[str, ...]) -> None:
    found = proposed({"sex": SEX, "code": CODE}, two_sexes(*counts), dense=dense)
    assert found == (set() if rule is None else {rule})


def test_a_code_of_unknown_sex_is_an_exception() -> None:
    frame = two_sexes(100, 100, 50, 0)
    frame.loc[0, "sex"] = None
    assert proposed({"sex": SEX, "code": CODE}, frame) == set()


def test_only_codes_and_only_with_a_column_of_sex() -> None:
    frame = two_sexes(100, 100, 50, 0)
    assert proposed({"sex": SEX, "code": ColumnSpec("binary", domain="disposition")}, frame) == set()
    assert proposed({"code": CODE}, frame) == set()
    renamed = frame.rename(columns={"sex": "gender"})
    assert proposed({"gender": SEX, "code": CODE}, renamed) == {OnlyIf("code", "gender=F")}


def test_a_declared_sex_needs_no_support_but_no_exception_either() -> None:
    specs = {"sex": SEX, "code": CODE, "other": CODE}
    frame = two_sexes(100, 100, 3, 0).assign(other=two_sexes(100, 100, 3, 1)["code"])
    female = ColumnSpec("binary", domain="diagnosis", sex="F")
    declared = {"sex": SEX, "code": female, "other": female}
    assert proposed(specs, frame) == set()
    assert proposed(declared, frame) == {OnlyIf("code", "sex=F")}
    assert contradicted(schema_of(declared, frame), wide(declared, frame)) == 1
    words = {"sex": ColumnSpec("categorical", levels=("Female", "Male")), "code": female}
    spelled = frame.assign(sex=frame["sex"].map({"F": "Female", "M": "Male"}))
    assert proposed(words, spelled) == {OnlyIf("code", "sex=Female")}
    too_rare = Schema(schema_of(specs, frame).columns[:2])  # the column went, and its rule with it
    assert OnlyIf("other", "sex=F") not in propose(too_rare, wide(declared, frame))


def test_a_code_implies_the_nearest_one_above_it() -> None:
    rng = np.random.default_rng(0)
    deep = (rng.random(400) < 0.1).astype(int)
    middle, top = deep | (rng.random(400) < 0.1), deep | (rng.random(400) < 0.5)
    frame = pd.DataFrame({"dx_401.11": deep, "dx_401.1": middle, "dx_401": middle | top, "px_401": 1, "dx_401.2": deep})
    specs = dict.fromkeys(frame.columns, CODE) | {"px_401": ColumnSpec("binary", domain="procedure")}
    assert proposed(specs, frame) == {
        Implies("dx_401.11", "dx_401.1"),
        Implies("dx_401.1", "dx_401"),
        Implies("dx_401.2", "dx_401"),
    }
    frame.loc[np.flatnonzero(middle)[0], "dx_401"] = 0  # an exception
    assert Implies("dx_401.1", "dx_401") not in proposed(specs, frame)


def test_companions_need_large_numbers_and_lift() -> None:
    n = np.arange(4000)
    frame = pd.DataFrame({"a": n < 100, "b": n < 300, "c": n < 99, "common": n < 2000}).astype(int)
    specs = dict.fromkeys(frame.columns, CODE)
    assert proposed(specs, frame) == {Implies("a", "b")}  # c is too small, common implied by chance too easily
    frame.loc[0, "b"] = 0
    assert proposed(specs, frame) == set()


def test_exclusions_are_more_than_chance() -> None:
    n = np.arange(1000)
    frame = pd.DataFrame({"a": n < 100, "b": (n >= 100) & (n < 300), "c": n >= 950}).astype(int)
    specs = dict.fromkeys(frame.columns, CODE)  # expected together: a and b 20, a and c 5, b and c 10
    assert proposed(specs, frame) == {Exclusive(("a", "b")), Exclusive(("b", "c"))}
    frame.loc[100, "a"] = 1
    assert proposed(specs, frame) == {Exclusive(("b", "c"))}


def test_codes_of_different_sexes_need_no_exclusion() -> None:
    frame = two_sexes(200, 200, 100, 0).assign(other=two_sexes(200, 200, 0, 100)["code"])
    specs = {"sex": SEX, "code": CODE, "other": CODE}
    assert proposed(specs, frame) == {OnlyIf("code", "sex=F"), OnlyIf("other", "sex=M")}


def test_an_exclusion_is_told_once_for_a_code_and_those_below_it() -> None:
    n = np.arange(1000)
    frame = pd.DataFrame({"250": n < 300, "250.1": n < 200, "250.11": n < 150, "b": n >= 700}).astype(int)
    found = proposed(dict.fromkeys(frame.columns, CODE), frame)
    assert {rule for rule in found if isinstance(rule, Exclusive)} == {Exclusive(("250", "b"))}


def test_companions_equal_a_plain_count_over_all_pairs() -> None:
    rng = np.random.default_rng(1)
    table = (rng.random((600, 300)) < rng.uniform(0.02, 0.4, 300)).astype(int)  # more codes than a block
    table[:, 299] = table[:, 0] & (rng.random(600) < 0.8)
    table[table[:, 1] == 1, 298] = 0
    frame = pd.DataFrame(table, columns=[f"c{i}" for i in range(300)])
    found = proposed(dict.fromkeys(frame.columns, CODE), frame)
    together = table.T @ table
    support, least = table.sum(0), np.log(300 * 299 / 2 / 0.01)
    never = {
        (i, j) for i in range(300) for j in range(i) if not together[i, j] and support[i] * support[j] / 600 >= least
    }
    assert {(int(r.columns[1][1:]), int(r.columns[0][1:])) for r in found if isinstance(r, Exclusive)} == never
    assert (298, 1) in never


def test_numbers_and_levels() -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(50, 90, 400)
    frame = pd.DataFrame(
        {
            "diastolic": low,
            "systolic": (low + rng.integers(0, 60, 400)).astype(float),
            "bmi": rng.uniform(15, 40, 400).round(1),
            "age": low - 1,
            "race": rng.choice(["a", "b"], 400),
        }
    )
    frame.loc[:9, "systolic"] = np.nan
    specs = {
        "diastolic": ColumnSpec("count", domain="vital", plausible=(30, 160)),
        "systolic": ColumnSpec("count", domain="vital"),
        "bmi": ColumnSpec("continuous", domain="vital", plausible=(10, 60)),  # below both pressures, by its range alone
        "age": ColumnSpec("count", domain="demographics"),
        "race": ColumnSpec("categorical", levels=("a", "b")),
    }
    schema = schema_of(specs, frame)
    expected = (Range("diastolic", 30, 160), Range("bmi", 10, 60), AtMost("diastolic", "systolic"), OneHot("race"))
    assert propose(schema, wide(specs, frame)) == tuple(rule.bound_to(schema) for rule in expected)
    assert [found.support for found in checked(expected, schema, wide(specs, frame))] == [400, 400, 390, 400]
    frame.loc[20, "systolic"] = frame.loc[20, "diastolic"] - 1
    frame.loc[20, "bmi"] = 61
    assert propose(schema_of(specs, frame), wide(specs, frame)) == (
        Range("diastolic", 30, 160).bound_to(schema),
        OneHot("race"),
    )


# --- the file -------------------------------------------------------------------------------------------------------

SPECS = {
    "sex": ColumnSpec("categorical", label="Sex", levels=("F", "M")),
    "code": ColumnSpec("binary", domain="diagnosis", label="Prostate cancer"),
    "bmi": ColumnSpec("continuous", domain="vital", plausible=(10, 60)),
}
FRAME = two_sexes(100, 100, 0, 40).assign(bmi=np.linspace(15, 40, 200))
SCHEMA = schema_of(SPECS, FRAME)
TRAIN = wide(SPECS, FRAME)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rules = propose(SCHEMA, TRAIN)
    holdout = FRAME.assign(bmi=[61.0] * 30 + [20.0] * 170, code=[1] + [0] * 199)
    write_rules(tmp_path / "constraints.yaml", rules, SCHEMA, TRAIN, wide(SPECS, holdout))
    return tmp_path / "constraints.yaml"


def test_people_can_read_it(path: Path) -> None:
    assert yaml.safe_load(path.read_text()) == {
        "version": 1,
        "constraints": [
            {
                "rule": "only_if",
                "column": "code",
                "given": "sex=M",
                "words": "Prostate cancer only if Sex is M",
                "support": 40,
                "holdout_exceptions": "fewer than 20",
            },
            {
                "rule": "range",
                "column": "bmi",
                "low": 10,
                "high": 60,
                "words": "bmi from 10 to 60",
                "support": 200,
                "holdout_exceptions": 30,
            },
            {
                "rule": "one_hot",
                "group": "sex",
                "words": "exactly one level of Sex",
                "support": 200,
                "holdout_exceptions": 0,
            },
        ],
    }


def test_reading_is_the_inverse(path: Path) -> None:
    assert read_rules(path, SCHEMA, TRAIN) == propose(SCHEMA, TRAIN)


def edited(path: Path, change: dict[str, Any], place: int = 1) -> Path:
    content = yaml.safe_load(path.read_text())
    entry = content["constraints"][place] | change
    content["constraints"][place] = {key: value for key, value in entry.items() if value is not None}
    path.write_text(yaml.safe_dump(content))
    return path


def test_an_edited_rule_counts_unless_training_rows_break_it(path: Path) -> None:
    assert read_rules(edited(path, {"low": 15}), SCHEMA, TRAIN)[1] == Range("bmi", 15, 60).bound_to(SCHEMA)
    with pytest.raises(OptionError, match=r"constraints\.yaml: constraint 2: 'bmi from 20 to 60': 40 of 200 training"):
        read_rules(edited(path, {"low": 20}), SCHEMA, TRAIN)
    with pytest.raises(OptionError, match="fewer than 20 of 200 training rows break it; correct it, or add allow_exc"):
        read_rules(edited(path, {"low": 16}), SCHEMA, TRAIN)
    allowed = read_rules(edited(path, {"low": 20, "allow_exceptions": True}), SCHEMA, TRAIN)
    assert allowed[1] == Range("bmi", 20, 60).bound_to(SCHEMA)
    write_rules(path, allowed, SCHEMA, TRAIN, TRAIN)
    assert yaml.safe_load(path.read_text())["constraints"][1]["train_exceptions"] == 40
    assert read_rules(path, SCHEMA, TRAIN) == allowed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rule": "ranges"}, "rule: 'ranges' found"),
        ({"low": "ten"}, "low: a number was expected"),
        ({"column": "weight"}, "no number column 'weight'"),
        ({"note": "from the guideline"}, "unknown key 'note'"),
        ({"allow_exceptions": "yes please"}, "allow_exceptions: true or false"),
    ],
)
def test_a_fault_names_file_and_entry(path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=rf"constraints\.yaml: constraint 2: .*{words}"):
        read_rules(edited(path, change), SCHEMA, TRAIN)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("constraints: [", "not readable as YAML, line 1"),
        ("constraints: [{low: 2020-13-45}]", "not readable as YAML"),
        ("- rule: one_hot", "no 'constraints' in it"),
        ("", "no 'constraints' in it"),
        ("constraints: []", "version None is unknown"),
        ("version: 1\nconstraints: {}", "no 'constraints' in it"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "rules.yaml").write_text(text)
    with pytest.raises(FileError, match=rf"rules\.yaml: {words}"):
        read_rules(tmp_path / "rules.yaml", SCHEMA, TRAIN)


def test_no_rules_is_an_answer_too(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("version: 1\nconstraints: []")
    assert read_rules(tmp_path / "rules.yaml", SCHEMA, TRAIN) == ()
    (tmp_path / "rules.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(FileError, match="not readable as YAML"):
        read_rules(tmp_path / "rules.yaml", SCHEMA, TRAIN)
    with pytest.raises(FileError, match="no such file"):
        read_rules(tmp_path / "absent.yaml", SCHEMA, TRAIN)


# --- through prepare ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return matrices.make(tmp_path_factory.mktemp("proposals") / "demo", "source.n=600")


def test_prepare_proposes_rules_that_plain_pandas_finds_kept(prepared: Matrix) -> None:
    train = prepared.train
    sexes = conditions().set_index("icd9")["sex"]
    kinds = {type(rule) for rule in prepared.constraints}
    assert {OnlyIf, Range, OneHot} <= kinds
    for rule in prepared.constraints:
        if isinstance(rule, OnlyIf):
            assert rule.given == f"sex={sexes[rule.column.removeprefix('dx_')]}"
            assert train.loc[train[rule.column] == 1, "sex"].eq(rule.given[-1]).all()
            assert train[rule.column].sum() >= 20
        elif isinstance(rule, Range):
            assert train[rule.column].dropna().between(rule.low, rule.high).all()
    told = yaml.safe_load((prepared.folder / "constraints.yaml").read_text())["constraints"]
    assert [entry["words"] for entry in told if entry["rule"] == "one_hot"] == [
        "exactly one level of Sex",
        "exactly one level of Race",
    ]
    assert all(entry["support"] >= 20 for entry in told)
    by_column = {entry.get("column"): entry for entry in told}
    column, entry = next((c, e) for c, e in by_column.items() if e["rule"] == "only_if")
    assert entry["support"] == train[column].sum()
    step = prepared.provenance["steps"][-1]
    assert step["step"] == "constraints: propose"
    assert step["detail"] == {"rules": len(prepared.constraints)}


def test_prepare_with_an_edited_file(prepared: Matrix, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("version: 1\nconstraints:\n- {rule: range, column: age, low: 0, high: 91}\n")
    matrix = matrices.make(tmp_path / "out", "source.n=600", f"constraints={path}")
    assert matrix.constraints == (Range("age", 0, 91).bound_to(matrix.schema),)
    assert "constraints" in matrix.provenance["inputs"]
    assert matrices.make(tmp_path / "out", "source.n=600", f"constraints={path}").fingerprint == matrix.fingerprint
    path.write_text("version: 1\nconstraints:\n- {rule: range, column: age, low: 0, high: 90}\n")
    with pytest.raises(OptionError, match="a matrix made with another inputs is there"):
        matrices.make(tmp_path / "out", "source.n=600", f"constraints={path}")
    path.write_text("version: 1\nconstraints:\n- {rule: range, column: age, low: 40}\n")
    with pytest.raises(OptionError, match=r"mine\.yaml: constraint 1: 'age at least 40': .* training rows break it"):
        matrices.make(tmp_path / "other", "source.n=600", f"constraints={path}")
    assert not (tmp_path / "other").exists()


def test_prepare_without_rules_or_with_what_is_no_file(tmp_path: Path) -> None:
    assert matrices.make(tmp_path / "out", "source.n=200", "constraints=none").constraints == ()
    with pytest.raises(OptionError, match=r"constraints=all: propose, none or a \.yaml file was expected"):
        matrices.make(tmp_path / "other", "source.n=200", "constraints=all")
    with pytest.raises(FileError, match=r"absent\.yaml: no such file"):
        matrices.make(tmp_path / "other", "source.n=200", f"constraints={tmp_path}/absent.yaml")
