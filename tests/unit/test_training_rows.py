"""Which training rows a model sees, and how often."""

import pandas as pd
import pytest
import torch

from ehrsynth.data.encoding import Encoder
from ehrsynth.data.training_rows import TrainingRows
from ehrsynth.errors import OptionError
from ehrsynth.layout import Records
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("250.0", "binary", domain="diagnosis"),
        Column("sex", "categorical", ("F", "M")),
        Column("race", "categorical", ("a", "b"), missing=True),
        Column("row", "count", bounds=(0, 9)),
    )
)
FRAME = pd.DataFrame(
    {
        "250.0": [1, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        "sex": list("FFFFFFFMMM"),
        "race": ["a", None, "b", *"aaaaaaa"],
        "row": range(10),
    }
)


@pytest.fixture(scope="module")
def train() -> Records:
    return Encoder(SCHEMA).encode(FRAME)


def seen(train: Records, seed: int = 0, **options: object) -> list[int]:
    rows = TrainingRows(**options).chosen(train, SCHEMA, seed)  # type: ignore[arg-type]
    return [round(9 * value) for value in rows.values[:, 0].tolist()]


def test_nothing_is_done_by_default(train: Records) -> None:
    assert TrainingRows().chosen(train, SCHEMA, 0) is train


def test_rows_with_a_code_or_a_level_come_more_often_and_factors_multiply(train: Records) -> None:
    assert seen(train, oversample={"250.0": 3}) == [0, 0, 0, *range(1, 9), 9, 9, 9]
    assert seen(train, oversample={"250": {"0": 3}}) == seen(
        train, oversample={"250.0": 3}
    )  # as the command line nests
    both = seen(train, oversample={"250.0": 3, "sex": {"M": 2}})
    assert [both.count(row) for row in range(10)] == [3, 1, 1, 1, 1, 1, 1, 2, 2, 6]
    assert seen(train, oversample={"race.missing": 2}).count(1) == 2
    assert seen(train, oversample={"250.0.0": 0}) == [0, 9]


def test_a_fraction_is_a_chance_from_the_seed(train: Records) -> None:
    many = train[torch.zeros(4_000, dtype=torch.long)]
    rows = TrainingRows(oversample={"250.0": 2.25}).chosen(many, SCHEMA, 1)
    assert len(rows) / 4_000 == pytest.approx(2.25, abs=4 * (0.25 * 0.75 / 4_000) ** 0.5)
    assert len(TrainingRows(oversample={"250.0": 2.25}).chosen(many, SCHEMA, 1)) == len(rows)
    assert len(TrainingRows(oversample={"250.0": 2.25}).chosen(many, SCHEMA, 2)) != len(rows)


def test_subgroups_become_equally_many_and_none_loses_a_row(train: Records) -> None:
    rows = TrainingRows(reweight=["sex"]).chosen(train, SCHEMA, 0)
    women = int(rows.bits[:, 1].sum())
    assert women == 7
    assert len(rows) - women in range(6, 10)  # 3 men, each 7 / 3 times
    assert set(seen(train, reweight=["sex", "race"])) == set(range(10))


def test_a_model_may_see_a_cohort_only(train: Records) -> None:
    assert seen(train, only={"250.0": 1}) == [0, 9]
    assert seen(train, only={"sex": "F", "race": "a"}) == [0, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"oversample": {"x": 2}}, "rows.oversample.x: no binary or categorical column of the schema"),
        ({"oversample": {"row": 2}}, "rows.oversample.row: no binary or categorical column of the schema"),
        ({"oversample": {"250.0": "many"}}, "rows.oversample.250.0=many: a factor, zero or above, was expected"),
        ({"oversample": {"sex": 2}}, "rows.oversample.sex=None: one of F, M was expected"),
        ({"oversample": {"race.c": 2}}, "rows.oversample.race=c: one of a, b, missing was expected"),
        ({"reweight": "sex"}, "rows.reweight=sex: a list of columns was expected"),
        ({"only": {"250.0": 2}}, "rows.only.250.0=2: 0 or 1 was expected"),
        ({"only": {"race": "b"}}, "rows: 1 training rows are left; two or more were expected"),
    ],
)
def test_what_cannot_be_done_is_named(train: Records, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as error:
        seen(train, **options)
    assert str(error.value) == message
