"""Which checkpoint is handed over, and what a model finds held-out patients to be."""

import math

import pandas as pd
import pytest
import torch

from ehrsynth.evaluation.ranking import Profile
from ehrsynth.layout import Layout, Records
from ehrsynth.models.chow_liu import ChowLiu
from ehrsynth.models.tally import Tally
from ehrsynth.models.vae import VAE
from ehrsynth.schema import Column, Schema
from ehrsynth.study.chosen import chosen_checkpoint
from ehrsynth.study.likelihood import held_out_likelihood, in_words

CHECKPOINTS = pd.DataFrame({"fidelity/apd": [0.1, 0.3]}, index=pd.Index([2, 4], name="epoch"))
PROFILE = Profile("education", "", {"fidelity/apd": 1.0}, "")


def test_scores_choose_unless_a_model_knows_better_or_saw_a_cohort_only() -> None:
    def chosen(model: type, cohort: dict[str, int]) -> tuple[int, str]:
        found = chosen_checkpoint(CHECKPOINTS, {"fidelity/apd": "lower"}, PROFILE, model, cohort)
        assert f"of epoch {found.epoch}" in found.told
        return found.epoch, found.why

    assert chosen(VAE, {}) == (2, "chosen for education")
    assert chosen(Tally, {}) == (4, "the last, which has the weights under which validation rows were likeliest")
    assert chosen(VAE, {"sex": 1}) == (4, "the last, for it saw a cohort only")


def test_likelihood_of_held_out_records_and_of_a_present_code() -> None:
    schema = Schema((Column("a", "binary", domain="diagnosis"), Column("sex", "categorical", ("F", "M"))))
    layout = Layout.of(schema)
    rows = torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]).repeat(500, 1)
    records = Records.of_dense(layout, rows)
    model = ChowLiu(schema=schema).eval()
    model.observe(records)
    found = held_out_likelihood(model, records, 0)
    assert found is not None
    entropy = math.log(2) + 0.5 * math.log(2)  # sex, and the code among women
    assert found["nats_per_record"] == pytest.approx(entropy, abs=0.01)
    assert found["nats_per_code"] == pytest.approx(4 * entropy, abs=0.05)
    assert "nats a held-out record" in in_words(found)
    assert held_out_likelihood(VAE(schema=schema).eval(), records, 0) is None
