"""Packed records score as unpacked ones do, to the last bit."""

from dataclasses import replace

import pytest

from ehrsynth.evaluation.anchors import independent
from ehrsynth.study.evaluate import load_suite
from tests.evaluation_toy import toy_real, toy_records


@pytest.mark.parametrize("name", ["quick", "full"])
def test_a_suite_gives_the_same_scores(name: str) -> None:
    real, synthetic = toy_real(200, 100), toy_records(150, 7)
    packed = replace(real, train=real.train.packed(), holdout=real.holdout.packed())
    assert packed.fingerprint == real.fingerprint
    loose = load_suite(name).fit(real, 0).score(synthetic)
    tight = load_suite(name).fit(packed, 0).score(synthetic.packed())
    assert {score.reason for score in loose if score.status == "failed"} == {
        score.reason for score in tight if score.status == "failed"
    }
    for one, other in zip(loose, tight, strict=True):
        assert replace(one, seconds=0) == replace(other, seconds=0)


def test_independent_columns_are_the_same() -> None:
    records = toy_records(150, 0)
    assert independent(records, 3).digest() == independent(records.packed(), 3).digest()
