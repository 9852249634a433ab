"""Numbers come back in their own units the same way wherever they are asked for."""

import numpy as np
import pandas as pd
import pytest
import torch

from ehrsynth.data.encoding import Encoder
from ehrsynth.evaluation.columns import Levels
from ehrsynth.evaluation.subgroups import subgroups
from ehrsynth.kinds import span, unscaled
from ehrsynth.layout import Layout
from ehrsynth.models import heads
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("age", "count", bounds=(18, 91), decimals=0),
        Column("bmi", "continuous", bounds=(12.5, 61.3), decimals=1, missing=True),
        Column("constant", "continuous", bounds=(7.25, 7.25), decimals=2),
        Column("unknown", "continuous", bounds=(-1, 1)),
    )
)
FRAME = pd.DataFrame(
    {
        "age": [18, 45, 91, 120],
        "bmi": [np.nan, 22.7, 61.3, -3.1],
        "constant": [7.25, 7.25, 9.5, -4.75],
        "unknown": [-1.0, 0.333333, 1.0, 0.0],
    }
)


def test_every_reader_of_numbers_gives_what_decoding_gives() -> None:
    records = Encoder(SCHEMA).encode(FRAME)
    decoded = Encoder(SCHEMA).decode(records)
    pd.testing.assert_frame_equal(decoded, FRAME)
    for i, column in enumerate(SCHEMA.columns):
        expected = FRAME[column.name].to_numpy(float)
        np.testing.assert_array_equal(unscaled(column, records.values[:, i]), expected)
        np.testing.assert_array_equal(Levels(SCHEMA).raw(records, column.name), expected)
    assert subgroups(SCHEMA, records, ["age"])["age"]["age=45-64"].tolist() == [False, True, False, False]


def test_no_minus_zero_and_a_width_where_all_rows_agree() -> None:
    assert not np.signbit(unscaled(SCHEMA.columns[3], torch.tensor([0.49999999]))).any()
    assert [span(column) for column in SCHEMA.columns[:3]] == [(18, 73), (12.5, pytest.approx(48.8)), (7.25, 1.0)]


def test_likelihoods_of_each_row_under_each_of_several_outputs() -> None:
    layout = Layout.of(SCHEMA)
    rng = torch.Generator().manual_seed(0)
    rows = layout.harden(torch.rand(5, layout.width, generator=rng), rng)
    logits, std = torch.randn(3, layout.width, generator=rng), torch.rand(3, 4, generator=rng) + 0.1
    table = heads.negative_log_likelihood(layout, rows[:, None], logits, std)
    assert table.shape == (5, 3)
    for k in range(3):
        alone = heads.negative_log_likelihood(layout, rows, logits[k].expand(5, -1), std[k])
        torch.testing.assert_close(table[:, k], alone)
