"""The VAE's likelihoods against torch.distributions, and what it generates before and after learning."""

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal

from ehrsynth.layout import Layout, Records
from ehrsynth.models import heads
from ehrsynth.models.heads import SMALLEST_STD
from ehrsynth.models.vae import VAE
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("code", "binary"),
        Column("sex", "categorical", ("F", "M", "X")),
        Column("age", "continuous", bounds=(0, 1)),
        Column("bmi", "continuous", bounds=(0, 1), missing=True),
    )
)  # encoded: code, bmi:missing, sex=F, sex=M, sex=X, age, bmi


@pytest.mark.parametrize("missing", [0.0, 1.0])
def test_likelihood_is_the_product_over_columns(missing: float) -> None:
    model = VAE(schema=SCHEMA, latent_width=2, hidden=[4])
    row = torch.tensor([[1.0, missing, 0.0, 1.0, 0.0, 0.3, 0.6]])
    logits = torch.randn(1, 7, generator=torch.Generator().manual_seed(0))
    half_log_two_pi = Normal(0.0, 1.0).log_prob(torch.tensor(0.0))  # the constant the loss leaves out
    log_p = Bernoulli(logits=logits[0, 0]).log_prob(row[0, 0]) + Bernoulli(logits=logits[0, 1]).log_prob(row[0, 1])
    log_p = log_p + Categorical(logits=logits[0, 2:5]).log_prob(torch.tensor(1))
    log_p = log_p + Normal(logits[0, 5].sigmoid(), model.std[0]).log_prob(row[0, 5]) - half_log_two_pi
    if not missing:
        log_p = log_p + Normal(logits[0, 6].sigmoid(), model.std[1]).log_prob(row[0, 6]) - half_log_two_pi
    torch.testing.assert_close(heads.negative_log_likelihood(model.layout, row, logits, model.std)[0], -log_p)


def test_the_spread_of_values_is_bounded_below() -> None:
    model = VAE(schema=SCHEMA, latent_width=2, hidden=[4])
    model.log_std.data.fill_(-100.0)
    assert (model.std >= SMALLEST_STD).all()


def test_before_training_it_generates_the_marginals() -> None:
    layout = Layout.of(SCHEMA)
    rng = torch.Generator().manual_seed(0)
    chance = torch.tensor([0.1, 0.5, 0.7, 0.2, 0.1, 0.25, 0.75])
    train = Records.of_dense(layout, layout.harden(chance.repeat(2000, 1), rng))
    model = VAE(schema=SCHEMA, latent_width=2, hidden=[64]).eval()
    model.observe(train)
    with torch.no_grad():
        rows = model.sample(4000, rng)
    assert (rows.mean(0) - chance).abs().max() < 0.1


@pytest.mark.parametrize("kl_weight", [0.0, 1.0])
def test_kl_weight_scales_the_kl_term_only(kl_weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = VAE(schema=SCHEMA, latent_width=2, hidden=[4], kl_weight=kl_weight)
    logged: dict[str, float] = {}
    monkeypatch.setattr(
        model, "log_losses", lambda _, **losses: logged.update({k: v.item() for k, v in losses.items()})
    )
    monkeypatch.setattr(model, "step_rng", lambda _: torch.Generator().manual_seed(0))
    batch = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0, 0.3, 0.6]])
    total = model.training_step(batch, 0)
    assert logged["kl"] > 0
    assert total.item() == pytest.approx(logged["reconstruction"] + kl_weight * logged["kl"])
    mean, log_variance = model.encoder(batch).chunk(2, dim=1)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    divergence = torch.distributions.kl_divergence(posterior, Normal(0.0, 1.0)).sum().item()
    assert logged["kl"] == pytest.approx(divergence, rel=1e-5)
