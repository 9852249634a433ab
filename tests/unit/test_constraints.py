"""Rules: zero exactly where records keep them, in every room that asks; and their files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from ehrsynth.constraints import (
    AtMost,
    Constraint,
    Exclusive,
    Implies,
    OneHot,
    OnlyIf,
    Range,
    Rules,
    from_dict,
    load,
    save,
)
from ehrsynth.data.encoding import Encoder
from ehrsynth.errors import FileError, SchemaError
from ehrsynth.evaluation.evaluator import RealData, Value
from ehrsynth.evaluation.validity.constraints import ConstraintViolation
from ehrsynth.layout import Layout
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("dx_185", "binary", domain="diagnosis", label="Prostate cancer"),
        Column("dx_401", "binary", domain="diagnosis"),
        Column("dx_401.1", "binary", domain="diagnosis"),
        Column("sex", "categorical", ("F", "M"), missing=True),
        Column("systolic", "count", bounds=(70, 210), missing=True),
        Column("diastolic", "count", bounds=(30, 130)),
        Column("bmi", "continuous", bounds=(12.5, 12.5)),
    )
)
LAYOUT = Layout.of(SCHEMA)
RULES: tuple[Constraint, ...] = (
    OnlyIf("dx_185", "sex=M"),
    Implies("dx_401.1", "dx_401"),
    Exclusive(("dx_185", "dx_401", "dx_401.1")),
    OneHot("sex"),
    Range("systolic", 80, 200),
    Range("diastolic", high=120),
    Range("bmi", low=12.5),
    AtMost("diastolic", "systolic"),
)
FITTED = tuple(rule.bound_to(SCHEMA) for rule in RULES)
COMPILED = Rules(FITTED, SCHEMA)


def encoded(**cells: Any) -> Tensor:
    """Return records in which what is not said breaks nothing."""
    n = max(len(values) for values in cells.values())
    plain = {"dx_185": 0, "dx_401": 0, "dx_401.1": 0, "sex": "F", "systolic": 120, "diastolic": 80, "bmi": 12.5}
    frame = pd.DataFrame({name: cells.get(name, [value] * n) for name, value in plain.items()})
    return Encoder(SCHEMA).encode(frame, "zero").dense()


@pytest.mark.parametrize(
    ("rule", "cells", "broken", "concerned"),
    [
        (0, {"dx_185": [0, 1, 0, 1, 1], "sex": ["F", "F", "M", "M", None]}, [0, 1, 0, 0, 1], [0, 1, 0, 1, 1]),
        (1, {"dx_401": [0, 1, 0, 1], "dx_401.1": [0, 0, 1, 1]}, [0, 0, 1, 0], [0, 0, 1, 1]),
        (2, {"dx_185": [0, 1, 1, 1], "dx_401": [0, 0, 1, 1], "dx_401.1": [0, 0, 0, 1]}, [0, 0, 1, 1], [0, 1, 1, 1]),
        (3, {"sex": ["F", None, "other"]}, [0, 0, 1], [1, 1, 1]),
        (4, {"systolic": [79, 80, 200, 201, np.nan]}, [1, 0, 0, 1, 0], [1, 1, 1, 1, 0]),
        (5, {"diastolic": [-400, 120, 121]}, [0, 0, 1], [1, 1, 1]),
        (6, {"bmi": [12.5, 12.4, 900.0]}, [0, 1, 0], [1, 1, 1]),
        (7, {"diastolic": [80, 80, 81, 300], "systolic": [81, 80, 80, np.nan]}, [0, 0, 1, 0], [1, 1, 1, 0]),
    ],
)
def test_zero_exactly_for_records_that_keep_it(
    rule: int, cells: dict[str, list[Any]], broken: list[int], concerned: list[int]
) -> None:
    x = encoded(**cells)
    compiled = FITTED[rule].compile(SCHEMA, LAYOUT)
    violation = compiled.violation(x)
    assert violation.ge(0).all()
    assert violation.gt(0).int().tolist() == broken
    assert compiled.support(x).int().tolist() == concerned


def test_every_number_on_the_edge_is_inside() -> None:
    schema = Schema((Column("a", "continuous", bounds=(0.1, 777.7)), Column("b", "continuous", bounds=(-3, 9000))))
    numbers = np.round(np.linspace(0.1, 777.7, 5000), 1)
    x = Encoder(schema).encode(pd.DataFrame({"a": numbers, "b": numbers})).dense()
    layout = Layout.of(schema)
    assert AtMost("a", "b").compile(schema, layout).violation(x).max() == 0
    assert AtMost("b", "a").compile(schema, layout).violation(x).max() == 0
    for end in numbers[::500]:
        above = Range("a", high=float(end)).compile(schema, layout).violation(x) > 0
        assert above.numpy().tolist() == (numbers > end).tolist()


def test_a_penalty_has_finite_gradients_that_lead_to_valid_records() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, LAYOUT.width, generator=generator, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)

    def penalty() -> Tensor:
        x = LAYOUT.activate(logits)
        return COMPILED.violation(x).sum(1).mean()

    before = penalty().item()
    for _ in range(200):
        optimizer.zero_grad()
        loss = penalty()
        loss.backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        optimizer.step()
    assert penalty().item() < 0.02 * before
    hard = LAYOUT.harden(LAYOUT.activate(logits.detach()))
    assert COMPILED.violation(hard).max() < 0.05


def test_rules_judge_one_record_by_each_rule_in_turn() -> None:
    x = encoded(dx_185=[0, 1, 1], sex=["F", "F", "M"], bmi=[12.5, 12.5, 3.0])
    assert (COMPILED.violation(x) > 0).int().tolist() == [[0] * 8, [1] + [0] * 7, [0] * 6 + [1, 0]]
    assert COMPILED.support(x).int()[:, :4].tolist() == [[0, 0, 0, 1], [1, 0, 1, 1], [1, 0, 1, 1]]
    assert COMPILED.describe() == [rule.describe() for rule in RULES]
    none = Rules((), SCHEMA)
    assert none.violation(x).sum(1).tolist() == [0, 0, 0]  # as a penalty where no rule was declared
    assert none.support(x).shape == (3, 0)


def test_a_missing_number_breaks_nothing_and_leaves_gradients_finite() -> None:
    x = encoded(systolic=[np.nan, 300.0]).requires_grad_()
    FITTED[4].compile(SCHEMA, LAYOUT).violation(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_the_validity_score_judges_by_every_rule() -> None:
    real = Encoder(SCHEMA).encode(
        pd.DataFrame({"dx_185": [0, 0], "dx_401": 0, "dx_401.1": 0, "sex": "F"}).assign(
            systolic=120, diastolic=80, bmi=12.5
        )
    )
    bad = pd.DataFrame(
        {
            "dx_185": [1, 0, 0, 0, 0],
            "dx_401": [0, 0, 0, 0, 0],
            "dx_401.1": [0, 1, 0, 0, 0],
            "sex": ["F", "F", "unknown", "F", "F"],
            "systolic": [120, 120, 120, 70, 120],
            "diastolic": [80, 80, 80, 75, 80],
            "bmi": 12.5,
        }
    )
    scorer = ConstraintViolation().fit(RealData(SCHEMA, real, real, FITTED), 0)
    found = scorer(Encoder(SCHEMA).encode(bad, "zero"), 0)["validity/constraint_violation"]
    assert isinstance(found, Value)
    assert found.value == 0.8
    parts = {name: part.value for (_, name), part in found.parts.items() if isinstance(part, Value)}
    assert parts == {
        "dx_185 only if sex=M": 0.2,
        "dx_401.1 implies dx_401": 0.2,
        "at most one of dx_185, dx_401, dx_401.1": 0,
        "exactly one level of sex": 0.2,
        "systolic from 80 to 200": 0.2,
        "diastolic at most 120": 0,
        "bmi at least 12.5": 0,
        "diastolic at most systolic": 0.2,
    }


def test_words_can_be_those_of_the_labels() -> None:
    assert RULES[0].describe({"dx_185": "Prostate cancer", "sex=M": "a man"}.__getitem__) == (
        "Prostate cancer only if a man"
    )


def test_the_file_is_an_exact_inverse(tmp_path: Path) -> None:
    path = tmp_path / "constraints.json"
    save(path, FITTED)
    assert load(path, SCHEMA) == FITTED
    save(path, RULES)
    assert load(path, SCHEMA) == FITTED
    assert json.loads(path.read_text())["constraints"][4] == {
        "rule": "range",
        "column": "systolic",
        "low": 80,
        "high": 200,
    }


def test_a_schema_with_other_bounds_changes_the_scale_and_not_the_rule(tmp_path: Path) -> None:
    save(tmp_path / "constraints.json", FITTED)
    wider = Schema(tuple(Column("diastolic", "count", bounds=(0, 500)) if c.name == "diastolic" else c
                         for c in SCHEMA.columns))  # fmt: skip
    rule = load(tmp_path / "constraints.json", wider)[5]
    frame = pd.DataFrame({"dx_185": 0, "dx_401": 0, "dx_401.1": 0, "sex": "F", "systolic": 130}, index=range(2))
    x = Encoder(wider).encode(frame.assign(diastolic=[120, 121], bmi=12.5)).dense()
    assert (rule.compile(wider, Layout.of(wider)).violation(x) > 0).tolist() == [False, True]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ([], "rule: a list found, one of only_if, implies, exclusive, range, at_most, one_hot"),
        ({"column": "a"}, "rule: None found"),
        ({"rule": "onlyif"}, "rule: 'onlyif' found"),
        ({"rule": "only_if", "column": "dx_185"}, "rule only_if: no 'given'; it has column, given"),
        ({"rule": "one_hot", "group": "sex", "levels": 3}, "rule one_hot: unknown key 'levels'"),
        ({"rule": "only_if", "column": 185, "given": "sex=M"}, "column: the name of a column was expected"),
        ({"rule": "exclusive", "columns": ["dx_185"]}, "columns: a list of two or more columns"),
        ({"rule": "exclusive", "columns": ["dx_185", "dx_185"]}, "none twice"),
        ({"rule": "exclusive", "columns": ["dx_185", ["dx_174"]]}, "columns: a list of two or more columns"),
        ({"rule": "range", "column": "bmi"}, "low, high or both"),
        ({"rule": "range", "column": "bmi", "low": 3, "high": 2}, "low is above high"),
        ({"rule": "range", "column": "bmi", "low": "3"}, "low: a number"),
        ({"rule": "range", "column": "bmi", "low": True}, "low: a number"),
        ({"rule": "range", "column": "bmi", "low": 1, "bounds": [2, 1]}, r"bounds: \[low, high\]"),
        ({"rule": "range", "column": "sex", "low": 1}, "no number column 'sex'"),
        ({"rule": "only_if", "column": "dx_185", "given": "sex"}, "no 0/1 column 'sex'"),
        ({"rule": "one_hot", "group": "bmi"}, "no categorical column 'bmi'"),
        ({"rule": "at_most", "column": "bmi", "than": "weight"}, "no number column 'weight'"),
    ],
)
def test_a_fault_names_file_and_entry(tmp_path: Path, entry: Any, words: str) -> None:
    path = tmp_path / "constraints.json"
    good = RULES[0].to_dict()
    path.write_text(json.dumps({"version": 1, "constraints": [good, entry]}))
    with pytest.raises(SchemaError, match=rf"constraints\.json: constraint 2: .*{words}"):
        load(path, SCHEMA)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "constraints.json").write_text('{"version": 1}')
    with pytest.raises(FileError, match="constraints"):
        load(tmp_path / "constraints.json", SCHEMA)


@pytest.mark.parametrize("rule", RULES)
def test_plain_data_round_trip(rule: Constraint) -> None:
    assert from_dict(rule.to_dict()) == rule
    assert from_dict(json.loads(json.dumps(rule.bound_to(SCHEMA).to_dict()))) == rule.bound_to(SCHEMA)


def test_a_limit_that_is_no_number_of_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "constraints.json"
    path.write_text('{"version": 1, "constraints": [{"rule": "range", "column": "bmi", "low": NaN}]}')
    with pytest.raises(FileError, match="found 'NaN'; finite numbers were expected"):
        load(path, SCHEMA)
