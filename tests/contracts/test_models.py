"""What every model must keep, whichever paper it is from. A new model is on trial by its YAML in ``conf/model``."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ehrsynth.bits import unpack
from ehrsynth.constraints import Exclusive, Implies, OnlyIf, Rules
from ehrsynth.errors import FileError, OptionError, SchemaError, TrainingError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.base import CAN_BE_AVERAGED, SyntheticModel, load_model, read_checkpoint
from ehrsynth.models.condition import Condition
from ehrsynth.models.gradient_free import GradientFree
from ehrsynth.models.mixture import Mixture
from ehrsynth.sampling import Acceptance, Ruled, sample_records
from ehrsynth.sampling.wanted import conditions, wanted
from ehrsynth.schema import Column, Schema
from ehrsynth.study.federate.averaging import averaged
from tests.models import CONF, discovered, learns, with_told_noise
from tests.training import fit, quiet_trainer

MODELS = discovered()
YAMLS = [path.stem for path in sorted(CONF.glob("*.yaml"))]
TRAINED = [name for name, (cls, _) in MODELS.items() if learns(cls)]
# Lightning's own use of a spelling that torch has since deprecated; and small tensors need no worker processes.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]
EXACT = [name for name, (cls, _) in MODELS.items() if cls.conditioning == "exact" and "conditionable" in vars(cls)]
BY_RELEASE = [name for name in TRAINED if MODELS[name][0].private == "release"]  # and then trained on no patient
each = pytest.mark.parametrize("name", MODELS)
each_trained = pytest.mark.parametrize("name", TRAINED)

SCHEMA = Schema(
    (
        *(Column(f"code{i}", "binary", domain="diagnosis") for i in range(6)),
        Column("sex", "categorical", ("F", "M")),
        Column("race", "categorical", ("a", "b", "c"), missing=True),
        Column("age", "count", bounds=(18, 90)),
        Column("bmi", "continuous", bounds=(10, 60), missing=True),
    )
)
ROWS = 48
EPOCHS = 2  # a model of two phases has both in them
ALONE: dict[str, Any] = {"use_distributed_sampler": False}  # the batches of ``Shares`` are of a process already
TOGETHER = {**ALONE, "devices": 2, "strategy": "ddp_fork_find_unused_parameters_true"}


def test_no_model_escapes_its_trial(tmp_path: Path) -> None:
    assert set(YAMLS) <= set(MODELS)
    assert {"ehrdiff_prevalence", "emr_wgan_bernoulli", "emr_wgan_marginal_bias", "vae_told"} <= set(MODELS)
    assert {"chow_liu", "independent", "record_mixture", "train_copy"} <= set(MODELS) - set(TRAINED)
    (tmp_path / "mine.yaml").write_text(
        "# @package _global_\nmodel: {_target_: ehrsynth.models.mixture.Mixture, components: 90}", encoding="utf-8"
    )
    assert discovered(tmp_path) == {"mine": (Mixture, {"components": 8})}
    assert learns(Mixture)


def toy_records(n: int = ROWS, seed: int = 0) -> Records:
    layout = Layout.of(SCHEMA)
    rng = torch.Generator().manual_seed(seed)
    return Records.of_dense(layout, layout.harden(torch.rand(n, layout.width, generator=rng) * 0.8, rng))


def filled(records: Records) -> Tensor:
    return records.dense().nan_to_num(0.5)


def batches(rows: Tensor | None = None) -> tuple[Tensor, ...]:
    rows = filled(toy_records()) if rows is None else rows
    return rows.split(16)


def make(name: str, seed: int = 0, **more: Any) -> SyntheticModel:
    cls, options = MODELS[name]
    model = with_told_noise(cls(schema=SCHEMA, seed=seed, **options, **more))
    model.observe(toy_records())
    return model


def trained(name: str, seed: int = 0, epochs: int = EPOCHS) -> SyntheticModel:
    model = make(name, seed)
    fit(model, batches(), epochs)
    return model


@cache
def training(name: str) -> pl.Trainer:
    """One training of ``EPOCHS`` epochs, for all tests that only look at what it leaves behind."""
    return fit(make(name), batches(), EPOCHS)


def of_training(name: str) -> SyntheticModel:
    model = training(name).lightning_module
    assert isinstance(model, SyntheticModel)
    return model.eval()


def assert_same_weights(a: SyntheticModel, b: SyntheticModel) -> None:
    left, right = a.state_dict(), b.state_dict()
    assert left.keys() == right.keys()
    for key, tensor in left.items():
        torch.testing.assert_close(tensor, right[key], rtol=0, atol=0, equal_nan=True, msg=key)


@each
def test_samples_are_hard_records_of_the_schema(name: str) -> None:
    model = of_training(name)
    layout = model.layout
    with torch.inference_mode():
        rows = model.sample(100, torch.Generator().manual_seed(1))
    assert rows.shape == (100, layout.width)
    assert rows.dtype == torch.float32
    assert rows.isfinite().all()
    assert set(rows[:, layout.binary].unique().tolist()) <= {0.0, 1.0}
    for group in layout.groups.values():
        assert (rows[:, group].sum(1) == 1).all()
    assert rows[:, layout.values].min() >= 0
    assert rows[:, layout.values].max() <= 1


@each
def test_a_model_keeps_what_it_can_be_conditioned_on_and_the_rest_as_it_was(name: str) -> None:
    model = of_training(name)
    assert set(model.conditionable) <= set(SCHEMA.names)
    for rows in (toy_records()[:1], toy_records()):  # the same for all, and a row for each
        condition = Condition.of(rows, model.conditionable)
        with torch.inference_mode():
            free = model.sample(ROWS, torch.Generator().manual_seed(1))
            if not model.conditionable:
                continue
            assert condition.met_by(model.sample(ROWS, torch.Generator().manual_seed(1), condition)).all()
            nothing = Condition.of(rows, [])
            assert torch.equal(model.sample(ROWS, torch.Generator().manual_seed(1), nothing), free)


WISHES: dict[str, dict[str, object]] = {
    "bit": {"code1": 1},
    "level": {"sex": "F"},
    "no level": {"race": "missing"},
    "value": {"age": 44},
    "range": {"age": (30, 60)},
    "gap": {"bmi": "missing"},
    "some": {"code1": 0, "sex": "M", "age": (40, None), "bmi": (None, 50)},
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_conditions_are_those_that_counting_finds(name: str) -> None:
    """Of what a model draws freely, those who have it: as many, and with the same means, as under the condition."""
    model = trained(name)
    wishes = {wish: asked for wish, asked in WISHES.items() if set(asked) <= set(model.conditionable)}
    everyone = sample_records(model, 60_000, seed=1).dense().nan_to_num(0.0)
    asked = {wish: conditions(SCHEMA, 1, wanted(SCHEMA, wishes[wish])) for wish in wishes}
    for wish, condition in asked.items():
        drawn = sample_records(model, 20_000, seed=2, condition=condition).dense().nan_to_num(0.0)
        assert condition.met_by(drawn).all(), wish
        assert_same_means(drawn, everyone[near(condition).met_by(everyone)], wish)
    if {"bit", "range"} <= set(asked):  # one after another, each of its own
        parts = [
            torch.cat([getattr(asked[wish], part) for wish in ("bit", "range")]) for part in ("low", "high", "given")
        ]
        both = Condition(model.layout, *(part.repeat(10_000, 1) for part in parts))
        drawn = sample_records(model, 20_000, seed=3, condition=both).dense().nan_to_num(0.0)
        for i, wish in enumerate(("bit", "range")):
            assert_same_means(drawn[i::2], everyone[asked[wish].met_by(everyone)], f"{wish}, row by row")


def near(condition: Condition) -> Condition:
    """Return a condition whose values are ranges of half a year to either side: nobody is exactly as old."""
    numbers, half = torch.arange(condition.layout.width) >= condition.layout.values.start, 0.5 / 72
    point = condition.fixed & numbers
    low, high = (condition.low - half).where(point, condition.low), (condition.high + half).where(point, condition.high)
    return Condition(condition.layout, low, high, condition.given)


def assert_same_means(drawn: Tensor, counted: Tensor, wish: str) -> None:
    assert len(counted) > 100, wish
    apart = (drawn.mean(0) - counted.mean(0)).abs()
    chance = (drawn.var(0) / len(drawn) + counted.var(0) / len(counted)).sqrt()
    assert (apart <= 4.5 * chance + 0.002).all(), (wish, apart / (chance + 1e-9))


@each_trained
def test_the_same_seed_trains_the_same_weights_and_another_seed_others(name: str) -> None:
    torch.manual_seed(1)
    first = trained(name)
    torch.manual_seed(2)
    assert_same_weights(first, trained(name))
    other = trained(name, seed=1, epochs=1).state_dict()
    assert any(not tensor.equal(other[key]) for key, tensor in first.state_dict().items())


@each
def test_building_training_and_sampling_leave_the_global_stream_alone(name: str) -> None:
    torch.manual_seed(7)
    before, of_numpy = torch.get_rng_state(), np.random.get_state()[1:3]  # noqa: NPY002
    model = make(name)
    assert torch.equal(torch.get_rng_state(), before)
    fit(model, batches(), 1)
    sample_records(model, 5, seed=0)
    after_fit = torch.get_rng_state()
    sample_records(model, 5, seed=0)
    assert torch.equal(torch.get_rng_state(), after_fit)
    np.testing.assert_equal(np.random.get_state()[1:3], of_numpy)  # noqa: NPY002


@each_trained
def test_training_changes_the_samples(name: str) -> None:
    def drawn(model: SyntheticModel) -> Tensor:
        return sample_records(model, 40, seed=0).dense().nan_to_num(-1)

    before = drawn(make(name))
    assert not drawn(of_training(name)).equal(before) or not drawn(trained(name, epochs=8)).equal(before)


@each
def test_checkpoint_round_trip(name: str, tmp_path: Path) -> None:
    model, path = of_training(name), tmp_path / "model.ckpt"
    training(name).save_checkpoint(path)
    loaded = load_model(path, SCHEMA)  # read_checkpoint loads with weights_only=True
    assert type(loaded) is type(model)
    assert not loaded.training
    assert_same_weights(model, loaded)
    assert dict(loaded.hparams) == dict(model.hparams)
    one, two = sample_records(model, 20, seed=3), sample_records(loaded, 20, seed=3)
    assert torch.equal(unpack(one.bits), unpack(two.bits))
    assert torch.equal(one.values.nan_to_num(-1), two.values.nan_to_num(-1))
    assert read_checkpoint(path)["layout"] == Layout.of(SCHEMA).to_dict()
    with pytest.raises(SchemaError, match="another schema"):
        load_model(path, Schema(SCHEMA.columns[1:]))


@each
def test_a_checkpoint_of_another_version_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    training(name).save_checkpoint(path)
    content = torch.load(path, weights_only=True)
    weights = dict(content["state_dict"])
    weights["renamed"] = weights.pop(next(iter(weights)))
    for changed in ({"state_dict": weights}, {"hyper_parameters": content["hyper_parameters"] | {"gone": 1}}):
        torch.save(content | changed, path)
        with pytest.raises(FileError, match=r"model\.ckpt: of another version of ehrsynth"):
            load_model(path, SCHEMA)


@each_trained
def test_weights_that_left_the_numbers_end_in_one_line(name: str) -> None:
    model = make(name)
    with torch.no_grad():
        for weights in model.parameters():
            weights.fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"the model draws NaN, so its training diverged; lower the learning rate"):
        sample_records(model, 5, seed=0)


@each_trained
def test_resuming_equals_an_uninterrupted_training(name: str, tmp_path: Path) -> None:
    path = tmp_path / "half.ckpt"

    class SaveAfterFirst(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(path)

    whole, resumed = make(name), make(name)
    fit(whole, batches(), 3, callbacks=[SaveAfterFirst()])
    again = quiet_trainer(3)
    again.fit(resumed, DataLoader(batches(), batch_size=None), ckpt_path=path, weights_only=True)  # type: ignore[arg-type]
    assert again.current_epoch == 3
    assert_same_weights(whole, resumed)


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in BY_RELEASE])
def test_a_diverging_loss_stops_training_before_it_reaches_the_weights(name: str) -> None:
    model = make(name)
    poisoned = filled(toy_records())
    poisoned[20, -1] = torch.nan  # in the second batch
    with pytest.raises(TrainingError, match=r"loss/\w+ is nan in epoch 0, batch 1"):
        fit(model, batches(poisoned), 1)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", BY_RELEASE)
def test_a_model_of_one_release_looks_at_no_batch(name: str) -> None:
    model = make(name)
    fit(model, batches(torch.full((ROWS, model.layout.width), torch.nan)), EPOCHS)
    assert_same_weights(model, of_training(name))


@each_trained
def test_losses_are_logged_as_epoch_means(name: str) -> None:
    metrics = training(name).callback_metrics
    assert metrics
    assert all(metric.startswith("loss/") and value.isfinite() for metric, value in metrics.items())


def shape(bits: int = 0, levels: int = 0, numbers: int = 0, *, missing: bool = False) -> Schema:
    return Schema(
        (
            *(Column(f"code{i}", "binary", domain="diagnosis") for i in range(bits)),
            *(Column(f"group{i}", "categorical", ("a", "b", "c"), missing=missing) for i in range(levels)),
            *(Column(f"number{i}", "continuous", bounds=(0, 1), missing=missing) for i in range(numbers)),
        )
    )


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(shape(bits=1), id="one_bit"),
        pytest.param(shape(numbers=1), id="one_number"),
        pytest.param(shape(levels=1), id="one_category"),
        pytest.param(shape(bits=5, levels=1), id="no_values"),
        pytest.param(shape(levels=2, numbers=2), id="no_bits"),
        pytest.param(shape(bits=2, levels=2, numbers=2, missing=True), id="gaps"),
        pytest.param(shape(bits=1_990, levels=2, numbers=4, missing=True), id="2,000_columns"),
    ],
)
@pytest.mark.parametrize("name", YAMLS)
def test_a_table_of_any_shape_is_learned_and_drawn(name: str, schema: Schema) -> None:
    cls, options = MODELS[name]
    layout, rng = Layout.of(schema), torch.Generator().manual_seed(0)
    records = Records.of_dense(layout, layout.harden(torch.rand(ROWS, layout.width, generator=rng) * 0.8, rng))
    model = cls(schema=schema, seed=0, **options)
    model.observe(records)
    fit(model, batches(filled(records)), EPOCHS)
    rows = sample_records(model, 30, seed=0).dense()
    assert rows.shape == (30, layout.width)
    assert torch.equal(layout.harden(rows.nan_to_num(0.0)), rows.nan_to_num(0.0))


@pytest.mark.parametrize("name", [name for name in TRAINED if name in YAMLS])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_processes_train_one_model(name: str) -> None:
    model = make(name)
    if not any(weights.requires_grad for weights in model.parameters()):
        pytest.skip("nothing that several processes could share")
    quiet_trainer(EPOCHS, **TOGETHER).fit(model, Shares())
    assert any(not tensor.equal(model.state_dict()[key]) for key, tensor in make(name).state_dict().items())
    assert sample_records(model, 20, seed=0).values.nan_to_num(0.0).isfinite().all()


@pytest.mark.parametrize("name", YAMLS)
def test_every_precision_that_a_model_allows_trains_it(name: str) -> None:
    for precision in set(MODELS[name][0].precisions) - {"32-true", "16-mixed"}:  # sixteen bits need a GPU
        model = make(name)
        metrics = fit(model, batches(), EPOCHS, precision=precision).callback_metrics
        assert all(value.isfinite() for value in metrics.values())
        assert sample_records(model, 20, seed=0).values.nan_to_num(0.0).isfinite().all()


class Shares(pl.LightningDataModule):
    """Every second row of a batch for each of two processes."""

    def train_dataloader(self) -> DataLoader[Tensor]:
        assert self.trainer is not None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        return DataLoader([part[rank::world] for part in filled(toy_records()).split(16)], batch_size=None)  # type: ignore[arg-type]


@each_trained
def test_a_loss_can_penalise_broken_rules_unless_nothing_is_descended(name: str) -> None:
    cls, _ = MODELS[name]
    descends = not issubclass(cls, GradientFree) and name not in BY_RELEASE  # private, and a private loss has none
    assert cls.penalises_rules == descends
    if cls.penalises_rules:
        model = make(name)
        model.rules, model.rules_weight = Rules([Exclusive(("code1", "code2", "code3"))], SCHEMA), 10.0
        fit(model, batches(), EPOCHS)
        without = of_training(name).parameters()
        assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), without, strict=True))


@each
def test_repaired_records_break_no_rule_and_keep_what_was_asked_for(name: str) -> None:
    model, acceptance = of_training(name), Acceptance()
    women = model.layout.names.index("sex=F")
    drawn = sample_records(model, 1, seed=0).dense()[0]  # some models draw one sex only after two epochs
    sex, other = ("F", "M") if drawn[women] else ("M", "F")
    declared = [Exclusive(("code1", "code2", "code3")), Implies("code0", "code4"), OnlyIf("code5", f"sex={other}")]
    rules = Rules(declared, SCHEMA)
    ruled, wish = Ruled(rules, "repair"), {"sex": sex}
    records = sample_records(model, 100, 0, batch_size=200, condition=wish, ruled=ruled, acceptance=acceptance)
    rows = records.dense().nan_to_num(0.0)
    assert (rules.violation(rows) == 0).all()
    assert (rows[:, women] == (sex == "F")).all()
    assert acceptance.changed >= acceptance.broken


@pytest.mark.parametrize(
    ("name", "option", "value", "wanted"),
    [
        ("ehrdiff", "decoding", "foo", "one of threshold, bernoulli, prevalence"),
        ("ehrdiff", "widths", [], "a list of whole numbers above zero"),
        ("ehrdiff", "widths", 64, "a list of whole numbers above zero"),
        ("ehrdiff", "widths", [64, 0], "a list of whole numbers above zero"),
        ("ehrdiff", "steps", 1, "a whole number, at least 2"),
        ("ehrdiff", "warmup_steps", -1, "a whole number, at least 0"),
        ("ehrdiff", "rho", 0, "a finite number above zero"),
        ("ehrdiff", "log_sigma_mean", "low", "a finite number"),
        ("ehrdiff", "sigma_min", 80.0, "less than model.sigma_max=80.0"),
        ("emr_wgan", "decoding", "prevalence", "one of threshold, bernoulli"),
        ("emr_wgan", "depth", 0, "a whole number, at least 1"),
        ("emr_wgan", "n_critic", 1.5, "a whole number, at least 1"),
        ("emr_wgan", "lr_critic", "fast", "a finite number above zero"),
        ("emr_wgan", "penalty", -1, "a finite number, at least 0"),
        ("chow_liu", "bins", 1, "a whole number, at least 2"),
        ("chow_liu", "smoothing", 0, "a finite number above zero"),
        ("mixture", "components", 0, "a whole number, at least 1"),
        ("mixture", "prior_rows", -1, "a finite number, at least 0"),
        ("vae", "latent_width", 0, "a whole number, at least 1"),
        ("vae", "latent_width", True, "a whole number, at least 1"),
        ("vae", "hidden", "512", "a list of whole numbers above zero"),
        ("vae", "kl_weight", None, "a finite number, at least 0"),
        ("vae", "learning_rate", float("nan"), "a finite number above zero"),
    ],
)
def test_an_option_that_cannot_work_is_named_with_what_would(
    name: str, option: str, value: object, wanted: str
) -> None:
    cls, options = MODELS[name]
    with pytest.raises(OptionError) as error:
        cls(schema=SCHEMA, seed=0, **{**options, option: value})
    assert str(error.value).startswith(f"model.{option}={value}: {wanted}")


class Kept(pl.Callback):
    """Keeps the statistics of every process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = {name: buffer for name, buffer in pl_module.named_buffers() if "running_" in name or name == "moments"}
        torch.save(found, self.folder / f"{trainer.global_rank}.pt")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["emr_wgan", "tabsyn"])
def test_processes_share_statistics_of_batches(name: str, tmp_path: Path) -> None:
    model = make(name)
    quiet_trainer(EPOCHS, callbacks=[Kept(tmp_path)], **TOGETHER).fit(model, Shares())
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_processes_train_an_autoencoder_as_one_does() -> None:
    """The encoder of medGAN is trained in the first epochs alone, without noise, in smaller batches than the run's."""
    cls, options = MODELS["medgan"]
    found = []
    for more in (ALONE, TOGETHER):
        model = cls(schema=SCHEMA, seed=0, **{**options, "pretrain_epochs": 1, "pretrain_batch": 6})
        quiet_trainer(EPOCHS, **more).fit(model, Shares())
        found.append(torch.cat([weights.flatten() for weights in model.autoencoder.encoder.parameters()]))
    torch.testing.assert_close(*found)


AVERAGED = [name for name, (cls, _) in MODELS.items() if cls.averageable]


@pytest.mark.parametrize("name", AVERAGED)
def test_models_of_two_sites_have_an_average(name: str) -> None:
    """Its state has the same shapes whatever rows were seen, and what is drawn from the average are records."""
    one = make(name)
    if one.prevents_averaging() is not None:
        assert one.conditionable
        return
    cls, options = MODELS[name]
    other = cls(schema=SCHEMA, seed=0, **options)
    other.observe(toy_records(200, seed=3))
    model = cls(schema=SCHEMA, seed=1, **options)
    model.load_state_dict(averaged([one.state_dict(), other.state_dict()], [1, 3], torch.Generator()))
    rows = model.eval().sample(5, torch.Generator().manual_seed(0))
    assert rows.isfinite().all()
    torch.testing.assert_close(rows[:, model.layout.binary], rows[:, model.layout.binary].round())


def test_those_that_messages_name_can_be_averaged() -> None:
    named = CAN_BE_AVERAGED.replace(" and ", ", ").split(", ")
    assert {cls for cls, _ in MODELS.values() if cls.averageable} == {MODELS[name][0] for name in named}
    assert not any(issubclass(cls, GradientFree) for cls, _ in (MODELS[name] for name in AVERAGED))
