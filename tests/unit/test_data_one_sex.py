"""Rules for codes of one sex: enough evidence, no exception."""

import numpy as np
import pandas as pd
import pytest

from ehrsynth.constraints import OnlyIf
from ehrsynth.data.one_sex import one_sex_rules
from ehrsynth.schema import Column, Schema

SCHEMA = Schema((Column("sex", "categorical", ("F", "M")), Column("code", "binary", domain="diagnosis")))


def table(women: int, men: int, women_with: int, men_with: int) -> pd.DataFrame:
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
def test_rules(counts: tuple[int, int, int, int], rule: OnlyIf | None) -> None:
    assert one_sex_rules(SCHEMA, table(*counts)) == (() if rule is None else (rule,))


def test_only_codes_and_only_with_a_sex_column() -> None:
    frame = table(100, 100, 50, 0)
    other = Schema((SCHEMA.columns[0], Column("code", "binary", domain="disposition")))
    assert one_sex_rules(other, frame) == ()
    assert one_sex_rules(Schema(SCHEMA.columns[1:]), frame) == ()
