"""Who belongs to which subgroup."""

import pytest
import torch

from ehrsynth.evaluation.evaluator import NotApplicableError
from ehrsynth.evaluation.subgroups import protected, subgroups
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Column, Schema
from tests.evaluation_toy import code_schema, toy_records, toy_schema

SCHEMA = Schema(
    (
        Column("smoker", "binary", role="sensitive"),
        Column("race", "categorical", levels=("A", "B"), missing=True, role="sensitive"),
        Column("Age", "count", bounds=(0.0, 100.0), missing=True),
        Column("bmi", "continuous", bounds=(10.0, 60.0)),
        Column("gender", "binary"),
    )
)


def records(ages: list[float], bmi: list[float]) -> Records:
    n = len(ages)
    layout = Layout.of(SCHEMA)  # smoker, gender, Age:missing, race=A, race=B, race:missing | Age, bmi
    bits = torch.zeros(n, 6, dtype=torch.uint8)
    bits[0, 0] = 1
    bits[:, 3] = 1
    bits[-1, 3:6] = torch.tensor([0, 0, 1], dtype=torch.uint8)
    return Records(layout, bits, torch.tensor([ages, bmi], dtype=torch.float32).T / torch.tensor([100.0, 50.0]))


def test_sensitive_columns_and_age_are_protected_or_else_demographics() -> None:
    assert protected(SCHEMA) == ["smoker", "race", "Age"]
    assert protected(toy_schema()) == ["sex", "age"]
    assert protected(Schema((Column("gender", "binary"), Column("bmi", "binary")))) == ["gender"]


def test_every_record_is_in_one_subgroup_of_each_attribute() -> None:
    for labels in subgroups(toy_schema(), toy_records(200, 0)).values():
        assert (torch.stack(list(labels.values())).sum(0) == 1).all()
    rows = records([0, 17, 18, 44, 45, 64, 65, 79, 80, 100, torch.nan], list(range(11)))
    for labels in subgroups(SCHEMA, rows, ["smoker", "race", "Age", "bmi", "gender"]).values():
        assert (torch.stack(list(labels.values())).sum(0) == 1).all()


def test_labels_by_hand() -> None:
    rows = records([0, 17, 18, 44, 45, 64, 65, 79, 80, 100, torch.nan], list(range(11)))
    found = subgroups(SCHEMA, rows, ["smoker", "race", "Age", "bmi"], reference=rows[:5])
    sizes = {label: int(mask.sum()) for labels in found.values() for label, mask in labels.items()}
    assert sizes == {
        "smoker=1": 1,
        "smoker=0": 10,
        "race=A": 10,
        "race=B": 0,
        "race=missing": 1,
        **{f"Age={band}": 2 for band in ("0-17", "18-44", "45-64", "65-79", "80+")},
        "Age=missing": 1,
        "bmi=q1": 2,  # the quartiles of 0 to 4 are 1, 2, 3
        "bmi=q2": 1,
        "bmi=q3": 1,
        "bmi=q4": 7,
    }


def test_a_table_without_protected_columns_or_with_another_name_has_no_subgroups() -> None:
    schema = code_schema(2)
    rows = Records(Layout.of(schema), torch.zeros(3, 2, dtype=torch.uint8), torch.zeros(3, 0))
    with pytest.raises(NotApplicableError, match="no sensitive or demographic column"):
        subgroups(schema, rows)
    with pytest.raises(NotApplicableError, match="no column 'region'"):
        subgroups(schema, rows, ["region"])
