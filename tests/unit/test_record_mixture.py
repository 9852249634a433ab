"""A record mixture takes whole columns from near rows; it copies nobody, and the privacy metrics find it."""

import torch

from ehrsynth.bits import unpack
from ehrsynth.layout import Layout, Records
from ehrsynth.models.record_mixture import RecordMixture
from ehrsynth.sampling import sample_records
from ehrsynth.schema import Column, Schema
from tests.unit.test_planted_leaks import CODES, alarms, code_schema, patients, real


def made(records: Records, schema: Schema, **options: int) -> RecordMixture:
    model = RecordMixture(schema=schema, **options).eval()
    model.observe(records)
    return model


def test_a_record_has_each_column_of_a_neighbour_whole() -> None:
    schema = Schema(
        (
            Column("sex", "categorical", ("F", "M")),
            *(Column(f"code{i}", "binary") for i in range(8)),
            Column("bmi", "continuous", bounds=(0, 1), missing=True),
        )
    )  # encoded: code0 ... code7, bmi:missing, sex=F, sex=M, bmi
    left, right = torch.zeros(3, 12), torch.ones(3, 12)
    left[:, 10], right[:, 10] = 1, 0
    left[:, 11], right[:, 8] = torch.tensor([0.1, 0.2, 0.3]), 1.0
    left[:, 0] = torch.tensor([0.0, 1.0, 0.0])
    train = Records.of_dense(Layout.of(schema), torch.cat([left, right]))
    found = sample_records(made(train, schema, neighbours=3), 400, seed=0)
    bits = unpack(found.bits)
    of_left = bits[:, 10] == 1
    assert 100 < of_left.sum() < 300
    assert (bits[~of_left] == train.bits[3]).all(), "the other side is never mixed in"
    assert found.values[~of_left].isnan().all()
    assert set(found.values[of_left].flatten().tolist()) == set(train.values[:3].flatten().tolist())
    pairs = torch.cat([bits[of_left][:, :1], found.values[of_left]], dim=1).unique(dim=0)
    assert len(pairs) == 6, "both codes beside all three values"


def test_one_neighbour_is_a_copy() -> None:
    found = sample_records(made(real().train, code_schema(CODES), neighbours=1), 200, seed=0)
    assert {bytes(row) for row in unpack(found.bits).numpy()} <= {bytes(row) for row in real().train.bits.numpy()}


def test_the_privacy_metrics_find_it() -> None:
    found = alarms(sample_records(made(real().train, code_schema(CODES)), 800, seed=0))
    assert {"privacy/membership_auc", "privacy/dcr_share"} <= found
    assert not {"privacy/membership_auc", "privacy/dcr_share"} & alarms(patients(800, 3))
