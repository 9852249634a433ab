"""Find the codes that only one sex has, as rules that synthetic records must keep."""

import pandas as pd

from ehrsynth.constraints import OnlyIf
from ehrsynth.schema import Schema

SEX = "sex"
LEAST_POSITIVES = 20
LEAST_EXPECTED = 10.0


def one_sex_rules(schema: Schema, train: pd.DataFrame) -> tuple[OnlyIf, ...]:
    """Return a rule per code that is seen in one sex only, and often enough for that to be no accident.

    A code counts if at least ``LEAST_POSITIVES`` training rows have it, all of one sex, while ``LEAST_EXPECTED`` or
    more of the others would have it if sex and code were independent.

    Args:
        schema: the columns; without a categorical one named ``sex`` there are no rules.
        train: training rows.
    """
    column = schema.by_name.get(SEX)
    if column is None or column.kind != "categorical":
        return ()
    codes = [c.name for c in schema.columns if c.is_code]
    positives = train[codes].groupby(train[SEX]).sum()
    share = train[SEX].value_counts(normalize=True)
    rules = []
    for code in codes:
        total, sex = int(train[code].sum()), str(positives[code].idxmax())  # the total counts unknown sex too
        alone = positives.at[sex, code] == total
        if alone and total >= LEAST_POSITIVES and total * (1 - share[sex]) >= LEAST_EXPECTED:
            rules.append(OnlyIf(code, f"{SEX}={sex}"))
    return tuple(rules)
