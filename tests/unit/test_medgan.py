"""medGAN and its family: sizes of the papers' networks, losses by hand, phases, and who is trained when."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical

from ehrsynth.constraints import Rules
from ehrsynth.constraints.rules import Implies
from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.adversarial import beside_batch_mean, clamp_weights
from ehrsynth.models.autoencoder import pretraining, reconstruction_loss
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.models.corgan import ConvAutoencoder, CorGAN
from ehrsynth.models.dpgan import DPGAN
from ehrsynth.models.medbgan import MedBGAN
from ehrsynth.models.medgan import Generator, MedGAN
from ehrsynth.models.medwgan import MedWGAN
from ehrsynth.models.wgan_gp import WGANGP
from ehrsynth.sampling import sample_records
from ehrsynth.schema import Column, Schema
from tests.training import fit

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

SCHEMA = Schema(
    (
        Column("a", "binary"),
        Column("b", "binary"),
        Column("sex", "categorical", ("F", "M")),
        Column("age", "continuous", bounds=(0, 1), missing=True),
    )
)  # encoded: a, b, age:missing, sex=F, sex=M, age
SMALL: dict[str, Any] = {
    "noise_width": 6,
    "latent_width": 6,
    "hidden": [6],
    "discriminator": [8],
    "pretrain_epochs": 1,
    "pretrain_batch": 8,
}
FAMILY = (MedGAN, MedBGAN, MedWGAN, DPGAN, CorGAN)
FEW: dict[type[SyntheticModel], dict[str, Any]] = {
    CorGAN: {"n_critic": 2, "n_critic_burst": 2}
}  # its bursts take their time


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def codes(n: int) -> Schema:
    return Schema(tuple(Column(f"c{i}", "binary") for i in range(n)))


def table(n: int = 32, seed: int = 0) -> Records:
    layout = Layout.of(SCHEMA)
    rng = torch.Generator().manual_seed(seed)
    return Records.of_dense(layout, layout.harden(torch.rand(n, layout.width, generator=rng), rng))


def filled(records: Records, batch: int = 16) -> tuple[Tensor, ...]:
    return records.dense().nan_to_num(0.5).split(batch)


def test_parameter_counts_of_the_code_on_mimic() -> None:
    model = MedGAN(schema=codes(1071))
    assert count(model.autoencoder) == 1071 * 128 + 128 + 128 * 1071 + 1071
    assert count(model.generator) == 3 * (128 * 128 + 2 * 128)  # no biases, scale and shift of BatchNorm
    assert count(model.discriminator) == 2 * 1071 * 256 + 256 + 256 * 128 + 128 + 128 + 1


def test_each_row_is_seen_beside_the_mean_of_the_batch() -> None:
    rows = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    assert beside_batch_mean(rows).tolist() == [[0, 1, 0.5, 1], [1, 1, 0.5, 1]]
    seen = {cls.__name__: cls(schema=SCHEMA, **SMALL).discriminator[0].in_features for cls in FAMILY}
    assert seen == {"MedGAN": 12, "MedBGAN": 12, "MedWGAN": 12, "DPGAN": 6, "CorGAN": 6}


def test_shortcuts_are_where_the_width_is_kept() -> None:
    noise = torch.randn(5, 4)
    for widths, expected in (([4, 4], noise), ([3, 3], torch.zeros(5, 3))):
        generator = Generator(4, widths, 0)
        for weights in generator.parameters():
            nn.init.zeros_(weights)  # a layer alone gives nothing
        torch.testing.assert_close(generator(noise, torch.zeros(5, 0)), expected)


@pytest.mark.parametrize("logit", [-30.0, -1.0, 0.5, 30.0])
def test_losses_are_those_of_the_papers(logit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, real, fake = torch.Generator(), torch.ones(2, 6), torch.zeros(2, 6)
    d = torch.tensor(logit, dtype=torch.float64).sigmoid()

    def scores(rows: Tensor) -> Tensor:  # D(real) = 1 - d, D(fake) = d
        return torch.full((2, 1), -logit if rows.any() else logit, dtype=torch.float64)

    wanted = {
        MedGAN: (-2 * (1 - d).log(), -d.log()),
        MedBGAN: (-2 * (1 - d).log(), 0.5 * (d.log() - (1 - d).log()) ** 2),
        MedWGAN: (torch.tensor(2 * logit), torch.tensor(-logit)),
    }
    for cls, (of_discriminator, of_generator) in wanted.items():
        more = {"penalty": 0.0} if cls is MedWGAN else {}
        model = cls(schema=SCHEMA, **SMALL, **more)
        monkeypatch.setattr(model, "judged", scores)
        assert model.discriminator_loss(real, fake, rng).item() == pytest.approx(of_discriminator.item(), rel=1e-4)
        assert model.generator_loss(fake).item() == pytest.approx(of_generator.item(), rel=1e-4)


def test_the_penalty_is_added_to_the_gap() -> None:
    rng, real, fake = torch.Generator().manual_seed(0), torch.rand(4, 6), torch.rand(4, 6)
    model = MedWGAN(schema=SCHEMA, **SMALL, penalty=7.0)
    model.discriminator = nn.Linear(12, 1)  # the slope of the sum of scores is that of the row plus that of the mean
    weights = model.discriminator.weight[0]
    slope = (weights[:6] + weights[6:]).norm().item()
    gap = (model.judged(fake).mean() - model.judged(real).mean()).item()
    assert model.discriminator_loss(real, fake, rng).item() == pytest.approx(gap + 7 * (slope - 1) ** 2, rel=1e-4)


def test_reconstruction_is_the_cross_entropy_of_what_was_observed() -> None:
    layout = Layout.of(SCHEMA)
    rows = torch.tensor([[1, 0, 0, 0, 1, 0.3], [0, 1, 1, 1, 0, 0.9]])
    logits = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2)
    for i in range(2):
        log_p = Bernoulli(logits=logits[i, :3]).log_prob(rows[i, :3]).sum()
        log_p = log_p + Categorical(logits=logits[i, 3:5]).log_prob(rows[i, 3:5].argmax())
        if not rows[i, 2]:
            chance = logits[i, 5].sigmoid()
            log_p = log_p + rows[i, 5] * chance.log() + (1 - rows[i, 5]) * (1 - chance).log()
        expected[i] = -log_p
    torch.testing.assert_close(reconstruction_loss(layout, rows, logits), expected)


@pytest.mark.parametrize(("epochs", "first"), [(1100, 100), (10, 5), (1, 0), (-1, 100), (None, 100)])
def test_the_autoencoder_takes_at_most_half_of_the_epochs(epochs: int | None, first: int) -> None:
    assert pretraining(100, epochs) == first


class Changed(pl.Callback):
    """Note after each epoch which networks have changed."""

    def __init__(self, model: MedGAN) -> None:
        self.networks = {
            "encoder": model.autoencoder.get_submodule("encoder"),
            "decoder": model.autoencoder.get_submodule("decoder"),
            "generator": model.generator,
            "discriminator": model.discriminator,
        }
        self.before, self.epochs = self._now(), list[set[str]]()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        now = self._now()
        self.epochs.append({name for name in now if not now[name].equal(self.before[name])})
        self.before = now

    def _now(self) -> dict[str, Tensor]:
        return {
            name: torch.cat([w.detach().flatten() for w in net.parameters()]) for name, net in self.networks.items()
        }


@pytest.mark.parametrize("cls", FAMILY)
def test_the_autoencoder_is_trained_first_and_its_decoder_goes_on_with_the_generator(cls: type[MedGAN]) -> None:
    model = cls(schema=SCHEMA, **SMALL, **FEW.get(cls, {}))
    fit(model, filled(table()), 3, callbacks=[changed := Changed(model)])
    learned = {"generator", "decoder", "discriminator"}
    assert changed.epochs == [{"encoder", "decoder"}, learned, learned]


def test_a_decoder_without_a_learning_rate_stays_as_it_was_pretrained() -> None:
    model = MedGAN(schema=SCHEMA, **SMALL, lr_decoder=0.0)
    fit(model, filled(table()), 2, callbacks=[changed := Changed(model)])
    assert changed.epochs[1] == {"generator", "discriminator"}


def test_weights_are_clamped_after_every_update() -> None:
    layer = nn.Linear(3, 3)
    before = layer.weight.detach().clone()
    clamp_weights(layer, 0.2)
    torch.testing.assert_close(layer.weight.detach(), before.clamp(-0.2, 0.2))
    for cls, bound in ((CorGAN, 0.01), (MedWGAN, 0.02)):
        model = cls(schema=SCHEMA, **SMALL, **FEW.get(cls, {}), clamp=bound, penalty=0.0)
        fit(model, filled(table()), 2)
        assert max(weights.abs().max().item() for weights in model.discriminator.parameters()) == pytest.approx(bound)


def test_a_single_row_is_the_users_to_mend() -> None:
    with pytest.raises(OptionError, match=r"^data.batch_size=1: at least 2 rows"):
        fit(MedGAN(schema=SCHEMA, **SMALL), filled(table(3), 1), 1)


@pytest.mark.parametrize(
    ("cls", "option", "value", "wanted"),
    [
        (MedGAN, "hidden", [], "a list of whole numbers above zero"),
        (MedBGAN, "discriminator", 8, "a list of whole numbers above zero"),
        (DPGAN, "pretrain_epochs", -1, "a whole number, at least 0"),
        (MedGAN, "pretrain_batch", 0, "a whole number, at least 1"),
        (MedGAN, "lr_generator", 0, "a finite number above zero"),
        (MedGAN, "momentum", 1.0, "less than 1"),
        (MedWGAN, "clamp", -0.1, "a finite number, at least 0"),
        (CorGAN, "n_critic_burst", 0, "a whole number, at least 1"),
        (MedWGAN, "decoding", "prevalence", "one of threshold, bernoulli"),
        (WGANGP, "n_critic", 0, "a whole number, at least 1"),
        (WGANGP, "learning_rate", None, "a finite number above zero"),
    ],
)
def test_an_option_that_cannot_work_is_named(
    cls: type[SyntheticModel], option: str, value: object, wanted: str
) -> None:
    with pytest.raises(OptionError) as error:
        cls(schema=SCHEMA, **{option: value})
    assert str(error.value).startswith(f"model.{option}={value}: {wanted}")


# --- CorGAN ----------------------------------------------------------------------------------------------------------


def test_the_convolutions_are_the_published_ones_at_their_width() -> None:
    autoencoder = ConvAutoencoder(1071, 128)
    down = [layer for layer in autoencoder.encoder if isinstance(layer, nn.Conv1d)]
    up = [layer for layer in autoencoder.decoder if isinstance(layer, nn.ConvTranspose1d)]
    assert [(layer.kernel_size[0], layer.stride[0]) for layer in down] == [
        (5, 2),
        (5, 2),
        (5, 3),
        (5, 3),
        (5, 3),
        (8, 1),
    ]
    assert [(layer.kernel_size[0], layer.stride[0]) for layer in up] == [(5, 1), (5, 4), (7, 4), (7, 3), (7, 2), (3, 2)]
    assert [layer.out_channels for layer in down] == [4, 8, 16, 32, 64, 128]
    assert autoencoder.padded == 1071  # nothing is padded, nothing is cropped
    norms = [
        sum(isinstance(layer, nn.BatchNorm1d) for layer in part) for part in (autoencoder.encoder, autoencoder.decoder)
    ]
    assert norms == [4, 4]


@pytest.mark.parametrize(
    ("columns", "padded"), [(1, 536), (536, 536), (537, 1071), (1071, 1071), (1782, 2141), (2000, 2141), (7001, 7491)]
)
def test_every_width_has_its_convolutions(columns: int, padded: int) -> None:
    autoencoder = ConvAutoencoder(columns, 32)
    assert autoencoder.padded == padded
    rows = torch.rand(2, columns, requires_grad=True)
    latent = autoencoder.encoder.eval()(nn.functional.pad(rows, (0, padded - columns)).unsqueeze(1))
    assert latent.shape == (2, 32, 1)
    assert autoencoder(rows).shape == rows.shape
    (slope,) = torch.autograd.grad(latent.sum(), rows)
    seen = min(columns, 488 * ((padded - 1) // 535) + 1)  # the published strides end before the last of 1,071 columns
    assert (slope[0] != 0).nonzero().max() + 1 == seen
    assert (slope[0, :seen] != 0).float().mean() > 0.99


def test_bursts_of_the_critic(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CorGAN(schema=SCHEMA, **SMALL, n_critic_burst=9)
    trainer = fit(model, filled(table()), 2)
    monkeypatch.setattr(CorGAN, "pretraining", trainer.current_epoch)  # as if the autoencoder were done just now
    assert [model.turns(batch) for batch in (0, 24, 25, 499, 500, 501)] == [9, 9, 5, 5, 9, 5]


# --- all of them -----------------------------------------------------------------------------------------------------


def made(cls: type[SyntheticModel], **more: Any) -> SyntheticModel:
    small = {"noise_width": 6, "hidden": [8]} if cls is WGANGP else SMALL | FEW.get(cls, {})
    return cls(schema=SCHEMA, **small, **more)


@pytest.mark.parametrize("cls", [*FAMILY, WGANGP])
def test_told_columns_can_be_asked_for(cls: type[SyntheticModel]) -> None:
    model = made(cls, condition=["sex", "a"], decoding="bernoulli")
    train = table()
    model.observe(train)
    fit(model, filled(train), 2)
    assert set(model.conditionable) == {"sex", "a"}
    condition = Condition.of(train, ["sex"])
    with torch.inference_mode():
        rows = model.eval().sample(32, torch.Generator().manual_seed(0), condition)
    assert condition.met_by(rows).all()


@pytest.mark.parametrize("cls", [*FAMILY, WGANGP])
def test_broken_rules_cost_the_generator(cls: type[SyntheticModel]) -> None:
    weights = []
    for weight in (0.0, 1000.0):
        model = made(cls)
        model.rules, model.rules_weight = Rules((Implies("a", "b"),), SCHEMA), weight
        fit(model, filled(table()), 2)
        weights.append(torch.cat([w.detach().flatten() for w in model.parameters()]))
    assert not weights[0].equal(weights[1])


@pytest.mark.parametrize(
    ("cls", "more"),
    [(MedGAN, {"lr_generator": 3e-3, "lr_decoder": 3e-3}), (WGANGP, {"learning_rate": 2e-3, "penalty": 1.0})],
)
def test_it_learns_that_two_codes_go_together(cls: type[SyntheticModel], more: dict[str, Any]) -> None:
    schema = codes(3)
    rows = (torch.rand(512, 3, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    rows[:, 1] = rows[:, 0]  # the third is independent
    small = {"noise_width": 8, "hidden": [32, 32], "n_critic": 2}
    if cls is MedGAN:
        small |= {"latent_width": 8, "discriminator": [32, 32], "pretrain_epochs": 4, "n_critic": 1}
    model = cls(schema=schema, **small, decoding="bernoulli", **more)
    fit(model, rows.split(64), 24)
    found = sample_records(model, 2000, seed=0).dense()
    agree = (found[:, 0] == found[:, 1]).float().mean()
    assert agree > 0.6  # by chance 0.52
    assert (found[:, 0] == found[:, 2]).float().mean() < agree - 0.1
