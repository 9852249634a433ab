"""The latent diffusion's phases, its latent vectors, and what it learns of planted structure, labels and rules."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from ehrsynth.constraints import Rules
from ehrsynth.constraints.rules import OnlyIf
from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.tabsyn import SIGMA_DATA, TabSyn, _falling_after
from ehrsynth.schema import Column, Schema
from tests.planted import LAYOUT, SCHEMA, planted, rng
from tests.training import fit

SMALL = {"latent_width": 4, "hidden": [32], "denoiser_width": 32, "learning_rate": 3e-3, "steps": 8}
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def fitted(rows: Tensor, epochs: int, rules: Rules | None = None, **options: object) -> TabSyn:
    model = TabSyn(schema=SCHEMA, **{**SMALL, **options})  # type: ignore[arg-type]
    model.observe(Records.of_dense(LAYOUT, rows))
    if rules is not None:
        model.rules, model.rules_weight = rules, 20.0
    fit(model, rows.split(256), epochs)
    return model.eval()


def attached(schema: Schema, **options: float) -> TabSyn:
    """A model in the first of six epochs."""
    model = TabSyn(schema=schema, **{**SMALL, **options}).eval()  # type: ignore[arg-type]
    model._trainer = SimpleNamespace(max_epochs=6, current_epoch=0)  # type: ignore[assignment]
    return model


def drawn(model: TabSyn, n: int = 2000, condition: Condition | None = None) -> Tensor:
    with torch.inference_mode():
        return model.sample(n, rng(7), condition)


@pytest.fixture(scope="module")
def told() -> TabSyn:
    """A model of what is planted that is told the sex."""
    return fitted(planted(), 60, condition=["sex"], beta_max=0.1, beta_min=0.05, posterior_draws=True)


def test_it_learns_what_is_planted(told: TabSyn) -> None:
    rows, found = planted(), drawn(told)
    assert (found[:, 0] == found[:, 1]).float().mean() > 0.9
    assert (found[:, :6].mean(0) - rows[:, :6].mean(0)).abs().max() < 0.1
    has = found[:, 0] == 1
    assert (found[has, 6].median() - 0.8).abs() < 0.06
    assert (found[~has, 6].median() - 0.2).abs() < 0.06


def test_labels_are_met_and_guidance_moves_what_goes_with_them(told: TabSyn, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = torch.zeros(1, LAYOUT.width)
    asked[0, 3] = 1
    condition = Condition.of(Records.of_dense(LAYOUT, asked), ["sex"])
    women = drawn(told, condition=condition)
    assert (women[:, 3] == 1).all()
    share = 0.3 * 0.8 / (0.3 * 0.8 + 0.7 * 0.1)  # who has the code among them
    assert abs(women[:, 0].mean() - share) < 0.15
    monkeypatch.setattr(told, "guidance", 2.0)
    assert drawn(told, condition=condition)[:, 0].mean() > women[:, 0].mean()


def test_the_diffusion_sees_latent_vectors_of_the_spread_it_is_made_for(told: TabSyn) -> None:
    with torch.no_grad():
        mean, log_variance = told.encoder(told._ranked(planted())).chunk(2, dim=1)
        latent = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=rng())
        center, spread = told._location()
        scaled = SIGMA_DATA * (latent - center) / spread
    torch.testing.assert_close(scaled.std(0), torch.full((4,), SIGMA_DATA), rtol=0.1, atol=0.0)
    assert scaled.mean(0).abs().max() < 0.1


def test_the_diffusion_leaves_the_autoencoder_as_the_first_phase_made_it() -> None:
    rows, weights = planted(256), []

    class Keep(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            assert isinstance(pl_module, TabSyn)
            parts = (pl_module.encoder[0].weight, pl_module.decoder[0].weight, pl_module.denoiser.stem.weight)
            weights.append([part.detach().clone() for part in parts])

    model = TabSyn(schema=SCHEMA, autoencoder_share=0.5, **SMALL)  # type: ignore[arg-type]
    fit(model, rows.split(64), 4, callbacks=[Keep()])
    changes = [[not a.equal(b) for a, b in zip(*pair, strict=True)] for pair in pairwise(weights)]
    assert changes == [[True, True, False], [False, False, True], [False, False, True]]
    assert model.diffuses


def test_a_training_cut_off_in_the_first_phase_draws_from_the_moments() -> None:
    rows = planted()
    model = fitted(rows, 1, beta_max=0.3, beta_min=0.3)  # the only epoch is the autoencoder's
    assert not model.diffuses
    assert (drawn(model)[:, :6].mean(0) - rows[:, :6].mean(0)).abs().max() < 0.2


def test_the_weight_of_the_kl_term_falls_by_the_same_factor_each_epoch() -> None:
    model = attached(SCHEMA, autoencoder_share=0.5, beta_max=0.1, beta_min=0.001)
    found = []
    for epoch in range(3):
        model._trainer.current_epoch = epoch  # type: ignore[union-attr]
        found.append(model.beta)
    assert found == pytest.approx([0.1, 0.01, 0.001])


def test_the_rate_falls_in_the_second_phase_only() -> None:
    assert [_falling_after(40, 100, step) for step in (0, 39, 40, 70, 100, 101)] == [1, 1, 1, 0.5, 0, 0]


def test_a_training_without_a_number_of_epochs_is_refused() -> None:
    with pytest.raises(OptionError, match=r"trainer\.max_epochs: TabSyn has two phases"):
        fitted(planted(256), -1)


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("beta_min", 0.5, "at most model.beta_max=0.01"),
        ("steps", 1, "a whole number, at least 2"),
        ("autoencoder_share", 1.5, "a share below one"),
    ],
)
def test_options_that_cannot_work(option: str, value: float, wanted: str) -> None:
    with pytest.raises(OptionError, match=rf"model\.{option}={value}: {wanted}"):
        TabSyn(schema=SCHEMA, **{**SMALL, option: value})  # type: ignore[arg-type]


def test_the_penalty_for_broken_rules_reaches_both_phases() -> None:
    rows = planted(512)
    rows[:, 1] = (torch.rand(512, generator=rng()) < 0.5).float()
    rule = Rules((OnlyIf("other", "sex=F"),), SCHEMA)  # which half of the rows break
    shares = [rule.violation(drawn(fitted(rows, 20, rules))).mean() for rules in (None, rule)]
    assert shares[1] < 0.5 * shares[0]


@pytest.mark.parametrize("columns", [SCHEMA.columns[:1], SCHEMA.columns[2:3], SCHEMA.columns[3:4], SCHEMA.columns[4:]])
def test_tables_of_one_column(columns: tuple[Column, ...]) -> None:
    schema = Schema(columns)
    model = attached(schema)
    with torch.no_grad():
        rows = model.sample(50, rng())
    losses = model._autoencoding(rows, model.labels.of(rows), rng(), 0) | model._denoising(rows, rows[:, :0], rng())
    assert rows.shape == (50, Layout.of(schema).width)
    assert all(loss.isfinite() for loss in losses.values())


def test_two_thousand_columns_are_no_more_than_two_thousand_weights_a_unit() -> None:
    model = attached(Schema(tuple(Column(f"c{i}", "binary") for i in range(2000))))
    assert sum(weights.numel() for weights in model.parameters()) < 150_000
    rows = (torch.rand(32, 2000, generator=rng()) < 0.005).float()
    assert model._autoencoding(rows, rows[:, :0], rng(), 0)["reconstruction"].isfinite()
