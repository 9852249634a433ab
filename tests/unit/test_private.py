"""DP-SGD against gradients of one record at a time; and what happens when a part of it is broken on purpose."""

import copy
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ehrsynth.data.private_module import PoissonBatches
from ehrsynth.errors import TrainingError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.ehrdiff import EHRDiff
from ehrsynth.models.ehrdiff_tuned import EHRDiffTuned
from ehrsynth.models.emr_wgan import EMRWGAN
from ehrsynth.models.masked_diffusion import MaskedDiffusion
from ehrsynth.models.noisy_looks import NoisyLooks
from ehrsynth.models.private import PrivateGradients
from ehrsynth.models.tabddpm import TabDDPM
from ehrsynth.models.tally import Tally
from ehrsynth.models.vae import VAE
from ehrsynth.models.wgan_gp import WGANGP
from ehrsynth.schema import Column, Schema
from ehrsynth.seeding import torch_rng
from tests.broken_privacy import ClippingOff, NoiseOff, SensitivityHalved
from tests.training import quiet_trainer

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(120)]
SCHEMA = Schema(
    (
        *(Column(f"code{i}", "binary", domain="diagnosis") for i in range(5)),
        Column("sex", "categorical", ("F", "M")),
        Column("age", "count", bounds=(18, 90)),
        Column("bmi", "continuous", bounds=(10, 60), missing=True),
    )
)
CODES = Schema(SCHEMA.columns[:5])


class CriticAlone(WGANGP):
    """Takes the private steps and nothing after them."""

    def after_private_step(self, batch_idx: int, expected: int) -> None:
        pass


class EMRCriticAlone(EMRWGAN):
    def after_private_step(self, batch_idx: int, expected: int) -> None:
        pass


class OfBounds(TabDDPM):
    """Knows of numbers no more than their bounds."""


SIZES: dict[type[SyntheticModel], dict[str, Any]] = {
    VAE: {"latent_width": 3, "hidden": [6]},
    EHRDiff: {"widths": [6, 6], "time_width": 4, "warmup_steps": 0},
    MaskedDiffusion: {"width": 6, "depth": 1, "number_width": 4, "number_depth": 1, "warmup_steps": 0},
    Tally: {"width": 6, "ranges": 4, "warmup_steps": 0},
    EHRDiffTuned: {"width": 6, "depth": 1, "context": 4, "warmup_steps": 0},
    TabDDPM: {"widths": [6, 6], "stem_width": 4, "timesteps": 5},
    OfBounds: {"widths": [6], "stem_width": 4, "timesteps": 5, "numbers": "min_max"},
    CriticAlone: {"noise_width": 3, "hidden": [6, 6], "n_critic": 2},
    EMRCriticAlone: {"noise_width": 3, "width": 6, "depth": 2, "ema_decay": 0.5},
}
each = pytest.mark.parametrize("kind", SIZES)


def size_of(kind: type[SyntheticModel]) -> dict[str, Any]:
    """Return the options of a kind, or of what it is derived from or is tried by."""
    related = (sizes for known, sizes in SIZES.items() if issubclass(kind, known) or issubclass(known, kind))
    return SIZES[kind] if kind in SIZES else next(related)


NORM = 0.3


def rows(n: int = 24, schema: Schema = SCHEMA) -> Tensor:
    layout, rng = Layout.of(schema), torch.Generator().manual_seed(0)
    return layout.harden(torch.rand(n, layout.width, generator=rng) * 0.8, rng)


def made(kind: type[SyntheticModel], schema: Schema = SCHEMA) -> SyntheticModel:
    """Return a model none of whose weights are zero, so that gradients reach all of them."""
    model = kind(schema=schema, seed=0, **size_of(kind))
    rng = torch.Generator().manual_seed(3)
    for weights in model.parameters():
        weights.data += 0.1 * torch.randn(weights.shape, generator=rng)
    return model


def train(
    kind: type[SyntheticModel],
    batches: Sequence[Tensor],
    noise: float,
    *,
    norm: float = NORM,
    schema: Schema = SCHEMA,
    draws: int = 2,
    strategy: type[PrivateGradients] = PrivateGradients,
    epochs: int = 1,
    batch_size: float | None = None,
    most: int | None = None,
) -> tuple[SyntheticModel, dict[str, Tensor], int]:
    """Return a model after a private training, its weights before, and the steps it took."""
    model = made(kind, schema)
    before = copy.deepcopy(model.state_dict())
    private = strategy(
        torch.device("cpu"),
        noise=lambda steps: noise,
        max_grad_norm=norm,
        batch=batch_size or float(max(len(batches[0]), 1)),
        draws=draws,
        generator=torch.Generator().manual_seed(5),
        most=most,
    )
    trainer = quiet_trainer(epochs, strategy=private, callbacks=[Step()])
    trainer.fit(model, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return model, before, trainer.global_step


class Step(pl.Callback):
    """Takes plain steps of rate one, so that weights tell the gradients that were descended."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        optimizer = trainer.strategy.optimizers[trainer.strategy.place]

        @torch.no_grad()
        def plain() -> None:
            for weights in optimizer.params:
                weights -= weights.grad

        optimizer.original_optimizer.step = plain


def moved(model: SyntheticModel, before: dict[str, Tensor]) -> Tensor:
    """Return by how much each trained weight moved: the negative gradient, for steps are plain ones of rate one."""
    private = {id(weights) for weights in private_weights(model)}
    return torch.cat([(before[n] - w.detach()).flatten() for n, w in model.named_parameters() if id(w) in private])


def private_weights(model: SyntheticModel) -> list[Tensor]:
    """Return the weights that learn from records, in the order of the model."""
    private = {id(weights) for module in model.record_modules() for weights in module.parameters()}
    return [weights for weights in model.parameters() if id(weights) in private]


def one_by_one(
    kind: type[SyntheticModel], batch: Tensor, norm: float, schema: Schema = SCHEMA, draws: int = 2
) -> Tensor:
    """Return the sum of clipped gradients of records, each by a backward pass of its own; divided by their number."""
    model = made(kind, schema)
    weights = private_weights(model)
    total = torch.zeros(sum(w.numel() for w in weights))
    for i in range(len(batch)):
        model.zero_grad()
        model.record_losses(batch, first_step(model), draws)[i].backward()
        found = torch.cat([w.grad.flatten() for w in weights])
        total += found * (norm / (found.norm() + 1e-6)).clamp(max=1)
    return total / len(batch)


def first_step(model: SyntheticModel) -> torch.Generator:
    """Return the stream of the first step of a training."""
    return torch_rng(model.seed, "train", 0, 0, 0)


@each
@pytest.mark.parametrize("schema", [SCHEMA, CODES], ids=["mixed", "codes"])
@pytest.mark.parametrize("draws", [1, 3])
def test_records_are_clipped_as_one_by_one(kind: type[SyntheticModel], schema: Schema, draws: int) -> None:
    batch = rows(schema=schema)
    model, before, _ = train(kind, [batch], 0.0, schema=schema, draws=draws)
    wanted = one_by_one(kind, batch, NORM, schema, draws)
    assert 0 < wanted.norm() <= NORM
    torch.testing.assert_close(moved(model, before), wanted, rtol=1e-3, atol=1e-6)


@each
def test_what_clips_none_is_the_plain_gradient(kind: type[SyntheticModel]) -> None:
    batch = rows()
    model, before, _ = train(kind, [batch], 0.0, norm=1e6)
    plain = made(kind)
    plain.record_losses(batch, first_step(plain), 2).mean().backward()
    wanted = torch.cat([w.grad.flatten() for w in private_weights(plain)])
    torch.testing.assert_close(moved(model, before), wanted, rtol=1e-3, atol=1e-6)


@each
def test_no_other_record_has_a_part_in_a_loss(kind: type[SyntheticModel]) -> None:
    model, batch = made(kind), rows()
    for place in range(len(batch)):
        others = 1 - batch
        others[place] = batch[place]
        one, two = (model.record_losses(table, first_step(model), 2)[place] for table in (batch, others))
        torch.testing.assert_close(one, two)


def sum_told(kind: type[SyntheticModel], batch: Tensor, noise: float, **more: Any) -> Tensor:
    """Return the noisy sum of clipped gradients that one step tells of a batch that was expected to be of 24."""
    model, before, _ = train(kind, [batch], noise, batch_size=24.0, **more)
    return moved(model, before) * 24


def faults(kind: type[SyntheticModel], **more: Any) -> set[str]:
    """Return which promises of a step are broken, as far as they can be measured."""
    found, batch = set(), rows()
    whole = sum_told(kind, batch, 2.0, **more)
    other = torch.cat([1 - batch[:1], batch[1:]])  # one record out, another in, and all draws as they were
    if (whole - sum_told(kind, other, 2.0, **more)).norm() > 2 * NORM * 1.001:
        found.add("a record changes the sum by more than the norm")
    of_nobody = sum_told(kind, batch[:0], 2.0, **more)
    if abs(of_nobody.std() / (2.0 * NORM) - 1) > 0.15:
        found.add("the noise is not that of the multiplier and the norm")
    return found


@each
def test_a_step_keeps_its_promises(kind: type[SyntheticModel]) -> None:
    assert not faults(kind)


@pytest.mark.parametrize(
    ("strategy", "fault"), [(NoiseOff, "noise"), (ClippingOff, "record"), (SensitivityHalved, "noise")]
)
def test_a_broken_step_is_found_out(strategy: type[PrivateGradients], fault: str) -> None:
    (found,) = faults(VAE, strategy=strategy)
    assert fault in found


class PastItsModules(VAE):
    """Uses the weights of its last layer directly, as a forward pass does that goes around the hooks."""

    def record_losses(self, batch: Tensor, generator: torch.Generator, draws: int) -> Tensor:
        mean, _ = self.encoder(batch).chunk(2, dim=1)
        hidden, last = self.decoder[:-1](mean), self.decoder[-1]
        (log_std,) = self._log_std
        logits = nn.functional.linear(hidden, last.weight, last.bias)
        return logits.sum(1) + log_std(logits[:, self.layout.values].detach()).sum(1)


class NotAllOfIt(VAE):
    def record_modules(self) -> Any:
        return [self.encoder]


class InParts(VAE):
    """Is shown a batch in parts, and draws the same for each."""

    def record_losses(self, batch: Tensor, generator: torch.Generator, draws: int) -> Tensor:
        return super().record_losses(batch, first_step(self), draws)

    def private_parts(self, batch: Tensor) -> Sequence[Tensor]:
        return batch.split(9)


def test_a_batch_in_parts_tells_what_its_parts_do() -> None:
    batch = rows()
    model, before, _ = train(InParts, [batch], 0.0)
    wanted = sum(len(part) * one_by_one(InParts, part, NORM) for part in batch.split(9)) / len(batch)
    torch.testing.assert_close(moved(model, before), wanted, rtol=1e-3, atol=1e-6)


def test_parts_of_a_batch_are_all_of_it_and_no_longer_than_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrsynth.models.tally.CELLS", 60)
    batch, model = rows(50), made(Tally)
    parts = list(model.private_parts(batch))
    assert len(parts) > 3
    assert sorted(torch.cat(parts).tolist()) == sorted(batch.tolist())
    lengths = [(model.variables.of(part)[0] != model.variables.no_news).sum(1) + 1 for part in parts]
    assert all(len(part) == 1 or len(part) * int(part.max()) <= 60 for part in lengths)
    assert all(one.max() <= other.min() for one, other in pairwise(lengths))


def test_weights_that_nobody_clips_are_refused() -> None:
    train(VAE, [rows()], 1.0)
    with pytest.raises(TrainingError, match="used past record_modules"):
        train(PastItsModules, [rows(), rows()], 1.0)
    with pytest.raises(TrainingError, match="not all of its weights are in record_modules"):
        train(NotAllOfIt, [rows()], 1.0)


@each
def test_noise_without_end_learns_nothing(kind: type[SyntheticModel]) -> None:
    batch = rows()
    one, nobody = sum_told(kind, batch, 1e6), sum_told(kind, batch[:0], 1e6)
    assert (one - nobody).norm() < 1e-5 * nobody.norm()
    quiet = sum_told(kind, batch, 0.0)
    assert torch.nn.functional.cosine_similarity(one, quiet, dim=0).abs() < 0.5


@each
def test_a_tiny_norm_moves_weights_by_no_more_than_noise(kind: type[SyntheticModel]) -> None:
    batch, norm = rows(), 1e-3
    told, noise = sum_told(kind, batch, 1.0, norm=norm), sum_told(kind, batch[:0], 1.0, norm=norm)
    assert (told - noise).norm() <= len(batch) * norm
    assert noise.std() == pytest.approx(norm, rel=0.15)


@pytest.mark.parametrize("schema", [SCHEMA, CODES], ids=["mixed", "codes"])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (EHRDiffTuned, {}),
        (TabDDPM, {"marginal_bias": True}),
        (OfBounds, {"marginal_bias": True}),
        (EMRWGAN, {"marginal_bias": True}),
    ],
)
def test_without_noise_the_start_is_that_of_the_rows(
    kind: type[SyntheticModel], more: dict[str, Any], schema: Schema
) -> None:
    batch = rows(3000, schema)
    for bit, _ in Layout.of(schema).missing_bits():
        batch[:, bit] = 0  # what is filled in counts for noisy means
    records = Records.of_dense(Layout.of(schema), batch)
    size = size_of(kind)
    told, plain = (kind(schema=schema, seed=0, **{**size, **more}) for _ in range(2))
    noisy = NoisyLooks(records, 0.0, told.noisy_looks, torch.Generator().manual_seed(0))
    told.observe_noisily(noisy)
    plain.observe(records)
    assert len(noisy.looks) == told.noisy_looks
    untouched, found = kind(schema=schema, seed=0, **size).state_dict(), told.state_dict()
    assert any(not torch.equal(untouched[name], value) for name, value in found.items())
    by_design = "columns.pools", "average.module.heads.bias"  # noise hides the rare; a plain average starts as it may
    for name, value in plain.state_dict().items():
        if value.numel() and name not in by_design:
            assert float((found[name] - value).abs().double().mean()) < 0.01, name


def test_empty_batches_and_the_end_of_the_budget() -> None:
    batches = [rows()[:0], rows(), rows()[:0], rows()]
    _, _, steps = train(VAE, batches, 1.0, epochs=3, most=7)
    assert steps == 7
    _, _, steps = train(VAE, batches, 1.0, epochs=1)
    assert steps == 4


@pytest.mark.parametrize("kind", [VAE, Tally, WGANGP, EMRWGAN])
def test_a_private_training_goes_on_from_its_checkpoint(kind: type[SyntheticModel], tmp_path: Path) -> None:
    path, batches = tmp_path / "first.ckpt", [rows(), rows()[:0]]

    def trained(resume: Path | None = None) -> tuple[SyntheticModel, int]:
        model = kind(schema=SCHEMA, seed=0, **size_of(kind))
        private = PrivateGradients(
            torch.device("cpu"),
            noise=lambda steps: 0.0,
            max_grad_norm=NORM,
            batch=24.0,
            draws=1,
            generator=torch.Generator().manual_seed(5),
        )
        trainer = quiet_trainer(3, strategy=private, callbacks=[] if resume else [SavesTheFirst(path)])
        trainer.fit(model, DataLoader(batches, batch_size=None), ckpt_path=resume, weights_only=True)  # type: ignore[arg-type]
        assert not any(hasattr(weights, "grad_sample") for weights in model.parameters()), "hooks are left"
        return model, trainer.global_step

    whole, _ = trained()
    resumed, steps = trained(path)
    assert steps == 6
    for one, other in zip(resumed.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other)


class SavesTheFirst(pl.Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


def test_batches_are_coins() -> None:
    records = Records.of_dense(Layout.of(CODES), rows(500, CODES))
    batches = PoissonBatches(records, 0.02, 300, torch.Generator().manual_seed(0))
    sizes = torch.tensor([len(batch) for batch in batches]).double()
    assert len(batches) == len(sizes) == 300
    assert sizes.mean() == pytest.approx(10, abs=0.6)
    assert sizes.var() == pytest.approx(500 * 0.02 * 0.98, rel=0.3)
    rare = PoissonBatches(records, 1e-4, 50, torch.Generator().manual_seed(0))
    assert min(len(batch) for batch in rare) == 0


def test_a_critic_keeps_its_norms_and_the_generator_learns_from_it_uncounted() -> None:
    batches = [rows(), rows()[:0], rows(), rows()]
    size = SIZES[CriticAlone]
    started = WGANGP(schema=SCHEMA, seed=0, **size)
    for weights in started.critic.parameters():
        weights.data *= 5
    model, before, steps = train_whole(started, batches)
    assert steps == 4, "steps of the generator are not private ones"
    assert all(float(torch.linalg.matrix_norm(w, 2)) <= 1.1 for w in model.critic.parameters() if w.ndim == 2)
    assert any(not torch.equal(before[f"generator.{n}"], w) for n, w in model.generator.named_parameters())
    less, _, _ = train_whole(WGANGP(schema=SCHEMA, seed=0, **{**size, "n_critic": 5}), batches)
    assert all(torch.equal(before[f"generator.{n}"], w) for n, w in less.generator.named_parameters())


def test_so_does_one_of_normalised_layers() -> None:
    started = EMRWGAN(schema=SCHEMA, seed=0, **SIZES[EMRCriticAlone])
    for weights in started.critic.parameters():
        weights.data *= 5
    model, before, steps = train_whole(started, [rows(), rows()[:0], rows()])
    assert steps == 3
    assert all(float(torch.linalg.matrix_norm(w, 2)) <= 1.1 for w in model.critic.parameters() if w.ndim == 2)
    assert all(float(m.weight.abs().max()) <= 1 for m in model.critic.modules() if isinstance(m, nn.LayerNorm))
    moved_by = {n for n, w in model.generator.named_parameters() if not torch.equal(before[f"generator.{n}"], w)}
    assert moved_by
    assert model.average is not None
    assert int(model.average.n_averaged) == 4, "one update a turn of the generator"


Adversaries = TypeVar("Adversaries", WGANGP, EMRWGAN)


def train_whole(model: Adversaries, batches: Sequence[Tensor]) -> tuple[Adversaries, dict[str, Tensor], int]:
    """Train as a run does, with the optimizers as they are."""
    before = copy.deepcopy(model.state_dict())
    private = PrivateGradients(
        torch.device("cpu"),
        noise=lambda steps: 1.0,
        max_grad_norm=NORM,
        batch=24.0,
        draws=1,
        generator=torch.Generator().manual_seed(5),
    )
    trainer = quiet_trainer(1, strategy=private)
    trainer.fit(model, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    assert not any(getattr(layer, "activations", ()) for layer in model.critic.modules()), "what the generator made"
    return model, before, trainer.global_step
