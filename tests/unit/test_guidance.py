"""Guidance: what of labels it keeps, by hand and on a model that exaggerates as much as it is told to."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import ehrsynth
from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.metrics.label_groups import kept_within_groups
from ehrsynth.models.condition import Condition
from ehrsynth.models.independent import IndependentMarginals
from ehrsynth.reporting.figures import guidance_lines
from ehrsynth.schema import Column, Schema
from ehrsynth.study.guidance import GUIDANCE, effect_of_guidance

SCHEMA = Schema((Column("code", "binary"), Column("other", "binary"), Column("sex", "categorical", ("F", "M"))))


class Guided(IndependentMarginals):
    """Women have the first code at 0.6 and men at 0.4, the more apart the more guidance there is."""

    conditionable = ("sex",)  # type: ignore[assignment]
    conditioning = "label"

    def __init__(self, *, schema: Schema, seed: int = 0) -> None:
        super().__init__(schema=schema, seed=seed)
        self.guidance = 0.0

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        rows = super().sample(n, generator, condition)
        women = rows[:, self.layout.places["sex"][0]]
        share = 0.5 + (0.1 + 0.1 * self.guidance) * (2 * women - 1)
        rows[:, 0] = (torch.rand(n, generator=generator) < share).float()
        return rows


def test_error_and_slope_by_hand() -> None:
    real = np.array([[0.6, 0.2], [0.4, 0.2]])
    same, twice = kept_within_groups(real, real), kept_within_groups(real, np.array([[0.7, 0.2], [0.3, 0.2]]))
    assert (same.error, same.slope) == (0, pytest.approx(1))
    assert (twice.error, twice.slope) == (pytest.approx(0.05), pytest.approx(2))
    assert kept_within_groups(real, real * 0 + 0.5).slope == 0
    assert np.isnan(kept_within_groups(real[[1, 1]], real).slope)


def trained() -> tuple[Guided, Records]:
    model, layout, rng = Guided(schema=SCHEMA), Layout.of(SCHEMA), torch.Generator().manual_seed(0)
    model.observe(Records.of_dense(layout, layout.harden(torch.full((4000, 4), 0.5), rng)))
    with torch.inference_mode():
        return model, Records.of_dense(layout, model.sample(20_000, rng))


def test_more_guidance_is_shown_to_say_too_much() -> None:
    model, train = trained()
    model.guidance = 0.5
    effect = effect_of_guidance(model, train, seed=0)
    assert effect is not None
    assert model.guidance == 0.5, "left as it was"
    assert effect["guidance"].tolist() == list(GUIDANCE)
    assert effect["slope"].to_numpy() == pytest.approx([1, 1.5, 2, 3], abs=0.6)
    assert effect["error"][3] > effect["error"][:2].max()
    drawn = guidance_lines(effect)
    assert "sex at 2: error 0." in drawn.alt
    assert drawn.png
    assert effect_of_guidance(IndependentMarginals(schema=SCHEMA), train, 0) is None


@pytest.mark.usefixtures("no_figures")
def test_a_run_with_guidance_reports_what_it_does_and_generate_asks_for_more(matrix: Path, tmp_path: Path) -> None:
    run = ehrsynth.train(
        matrix,
        Guided,
        max_epochs=1,
        runs=tmp_path,
        suite="quick",
        evaluation={"checkpoints": 1, "rows": 50},
        n=50,
        logger="disabled",
    )
    assert [row["guidance"] for row in run.provenance["guidance"]] == list(GUIDANCE)
    options = {"model_class": Guided, "condition": {"sex": "F"}}
    code = Layout.of(Schema.load(run.schema)).names[0]
    means = [ehrsynth.generate(run, 2000, guidance=more, **options)[code].astype(float).mean() for more in (None, 0, 2)]  # type: ignore[arg-type]
    assert means[0] == means[1] == pytest.approx(0.6, abs=0.05)
    assert means[2] == pytest.approx(0.8, abs=0.05)
    with pytest.raises(OptionError, match="guidance=-1: a number, at least 0, was expected"):
        ehrsynth.generate(run, 5, guidance=-1, **options)  # type: ignore[arg-type]
