"""What every model of visits must keep. A new one is on trial by its YAML in ``conf/model/visits``."""

import inspect
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from torch import Tensor

from ehrsynth.data.trajectory_module import TrajectoryDataModule
from ehrsynth.errors import FileError, OptionError, SchemaError, TrainingError
from ehrsynth.models.base import read_checkpoint
from ehrsynth.models.visits.base import LooksOnce, VisitModel, load_visit_model, sampled
from ehrsynth.schema import Column, Schema
from ehrsynth.study.build import located
from ehrsynth.study.conf import conf_dir
from ehrsynth.visits import DAY, UNKNOWN, Visits, VisitSchema
from tests.models import _small
from tests.training import quiet_trainer
from tests.visits import SCHEMA, persistence, simulated, visit_schema

CODES = 12
VISIT_SCHEMA = visit_schema(CODES)
NODES = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
    for path in sorted((conf_dir() / "model" / "visits").glob("*.yaml"))
}
CLASSES: dict[str, type[VisitModel]] = {name: located(node["_target_"]) for name, node in NODES.items()}
TRAINED = [name for name, cls in CLASSES.items() if not issubclass(cls, LooksOnce)]
CONTINUES = [name for name, cls in CLASSES.items() if cls.continues]
each = pytest.mark.parametrize("name", NODES)
each_trained = pytest.mark.parametrize("name", TRAINED)
pytestmark = [
    pytest.mark.usefixtures("settled_by_few"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]

Patients = tuple[Tensor, Visits]


@cache
def patients(seed: int = 0, n: int = 80) -> Patients:
    return simulated(n, seed, CODES)


def make(name: str, seed: int = 0, of: Patients | None = None, schema: VisitSchema = VISIT_SCHEMA) -> VisitModel:
    options = {key: _small(value) for key, value in NODES[name].items() if not key.startswith("_")}
    released = CLASSES[name].private == "release"
    if released:
        options["epsilon"] = 1e4  # the noise shall decide no test
    model = CLASSES[name](schema=SCHEMA, visit_schema=schema, seed=seed, **options)
    if released:
        vars(model)["noise"] = torch.Generator().manual_seed(0)
    model.observe(*(of or patients()))
    return model


def fit(
    model: VisitModel, epochs: int = 2, of: Patients | None = None, batch_size: int = 64, path: Any = None, **more: Any
) -> pl.Trainer:
    static, visits = of or patients()
    data = TrajectoryDataModule(
        visit_schema=model.visit_schema, static=static, visits=visits, batch_size=batch_size, seed=model.seed
    )
    trainer = quiet_trainer(epochs, **more)
    trainer.fit(model, data, ckpt_path=path, weights_only=True)
    return trainer


@cache
def training(name: str) -> pl.Trainer:
    """One training, for all tests that only look at what it leaves behind."""
    return fit(make(name))


def of_training(name: str) -> VisitModel:
    model = training(name).lightning_module
    assert isinstance(model, VisitModel)
    return model.eval()


def drawn(model: VisitModel, n: int = 40, seed: int = 0, **more: Any) -> Patients:
    parts = list(sampled(model, n, seed, **more))
    return torch.cat([rows for rows, _ in parts]), Visits.joined(visits for _, visits in parts)


def assert_same(one: Patients, other: Patients) -> None:
    assert torch.equal(one[0], other[0])
    for name in Visits.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one[1], name), getattr(other[1], name), err_msg=name)


def assert_same_weights(one: VisitModel, other: VisitModel) -> None:
    left, right = one.state_dict(), other.state_dict()
    assert left.keys() == right.keys()
    for key, tensor in left.items():
        torch.testing.assert_close(tensor, right[key], rtol=0, atol=0, equal_nan=True, msg=key)


@each
def test_its_yaml_lists_its_options_in_order(name: str) -> None:
    given = [key for key in NODES[name] if not key.startswith("_")]
    known = list(inspect.signature(CLASSES[name]).parameters)
    assert given == [option for option in known if option in given]


@each
def test_samples_are_visits_of_the_schema(name: str) -> None:
    model = of_training(name)
    static, visits = drawn(model, 60)
    visits.check(VISIT_SCHEMA, name)
    layout = model.layout
    assert static.shape == (60, layout.width) == (len(visits), layout.width)
    assert torch.equal(layout.harden(static), static)
    assert set(np.unique(visits.kinds)) <= {0, 1}
    known = visits.ends != UNKNOWN
    assert (visits.ends[known] >= visits.starts[known]).all()
    assert not (visits.starts % DAY).any()  # as in training
    assert not (visits.values % 1).any()
    assert (visits.values >= 40).all()
    assert (visits.values <= 400).all()
    last = visits.starts[visits.offsets[1:] - 1]
    assert (visits.died[visits.died != UNKNOWN] >= last[visits.died != UNKNOWN]).all()
    assert (visits.born < visits.starts[visits.offsets[:-1]]).all()


@each
def test_the_same_seed_draws_the_same_and_another_seed_other_patients(name: str) -> None:
    model = of_training(name)
    torch.manual_seed(1)
    stream = torch.get_rng_state()
    first = drawn(model, seed=3)
    assert torch.equal(torch.get_rng_state(), stream)
    assert_same(first, drawn(model, seed=3))
    assert not np.array_equal(first[1].starts, drawn(model, seed=4)[1].starts)


@each
def test_blocks_do_not_depend_on_how_many_are_asked_for(name: str) -> None:
    model = of_training(name)
    static, visits = drawn(model, 8, batch_size=8)
    more, longer = drawn(model, 20, batch_size=8)
    assert_same((static, visits), (more[:8], longer.of_patients(np.arange(8))))
    told: list[int] = []
    assert len(list(sampled(model, 20, 0, batch_size=8, progress=told.append))) == 3
    assert told == [8, 16, 20]
    with pytest.raises(OptionError, match="n=0"):
        drawn(model, 0)


@each
def test_given_rows_are_kept(name: str) -> None:
    static, _ = patients(seed=1, n=30)
    rows, visits = drawn(of_training(name), 30, static=static)
    assert torch.equal(rows, static)
    visits.check(VISIT_SCHEMA, name)
    with pytest.raises(OptionError, match="n=31: the 30 given rows"):
        drawn(of_training(name), 31, static=static)


@each_trained
def test_the_same_seed_trains_the_same_weights(name: str) -> None:
    torch.manual_seed(1)
    again = make(name)
    fit(again)
    assert_same_weights(of_training(name), again)
    other = make(name, seed=1)
    assert any(not tensor.equal(again.state_dict()[key]) for key, tensor in other.state_dict().items())


@each
def test_checkpoint_round_trip(name: str, tmp_path: Path) -> None:
    model, path = of_training(name), tmp_path / "model.ckpt"
    training(name).save_checkpoint(path)
    loaded = load_visit_model(path, SCHEMA, VISIT_SCHEMA)  # reads with weights_only=True
    assert type(loaded) is type(model)
    assert not loaded.training
    assert_same_weights(model, loaded)
    assert dict(loaded.hparams) == dict(model.hparams)
    assert_same(drawn(model), drawn(loaded))
    if (likelihood := model.log_likelihood(*patients())) is not None:
        assert torch.equal(likelihood, loaded.log_likelihood(*patients()))
    with pytest.raises(SchemaError, match="another schema"):
        load_visit_model(path, Schema((*SCHEMA.columns, Column("more", "binary"))))
    with pytest.raises(SchemaError, match="other visits"):
        load_visit_model(path, SCHEMA, visit_schema(CODES + 1))
    content = read_checkpoint(path)
    torch.save(content | {"hyper_parameters": content["hyper_parameters"] | {"gone": 1}}, path)
    with pytest.raises(FileError, match=r"model\.ckpt: of another version of ehrsynth"):
        load_visit_model(path)
    torch.save({key: value for key, value in content.items() if key != "visit_schema"}, path)
    with pytest.raises(SchemaError, match=r"model\.ckpt: not a visit schema"):
        load_visit_model(path)


@each_trained
def test_resuming_equals_an_uninterrupted_training(name: str, tmp_path: Path) -> None:
    path = tmp_path / "half.ckpt"

    class SaveAfterFirst(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(path)

    whole, resumed = make(name), make(name)
    few = patients(n=30)
    fit(whole, 2, few, callbacks=[SaveAfterFirst()])
    assert fit(resumed, 2, few, path=path).current_epoch == 2
    assert_same_weights(whole, resumed)


@each_trained
def test_losses_are_logged_and_one_that_diverges_stops_training(name: str) -> None:
    metrics = training(name).callback_metrics
    assert metrics
    assert all(metric.startswith("loss/") and value.isfinite() for metric, value in metrics.items())
    model = make(name)
    with torch.no_grad():
        for weights in model.parameters():
            weights.fill_(torch.nan)
    with pytest.raises(TrainingError, match="loss/total is nan in epoch 0, batch 0"):
        fit(model, 1)
    with pytest.raises(TrainingError, match="the model draws NaN"):
        drawn(model)


@pytest.mark.parametrize("name", CONTINUES)
def test_a_continued_record_keeps_its_beginning(name: str) -> None:
    model = of_training(name)
    static, visits = patients(seed=1, n=30)
    first = visits.of_patients(np.arange(30))
    first = Visits.joined([first.of_patients(np.arange(25)), none_of(first, 5)])
    longer = model.continue_from(first, static, torch.Generator().manual_seed(0))
    longer.check(VISIT_SCHEMA, name)
    assert (longer.per_patient >= first.per_patient).all()
    assert (longer.per_patient > first.per_patient).any()
    assert (longer.per_patient[25:] > 0).all()
    kept = longer.number < first.per_patient[longer.patient]
    assert kept.sum() == first.count
    np.testing.assert_array_equal(longer.starts[kept], first.starts)
    np.testing.assert_array_equal(longer.ends[kept], first.ends)
    np.testing.assert_array_equal(longer.kinds[kept], first.kinds)
    np.testing.assert_array_equal(longer.codes[kept[longer.visit_of_code]], first.codes)
    np.testing.assert_array_equal(longer.values[kept[longer.visit_of_value]], first.values)
    np.testing.assert_array_equal(longer.born, first.born)


@pytest.mark.parametrize("name", sorted(set(NODES) - set(CONTINUES)))
def test_a_model_that_cannot_continue_says_so(name: str) -> None:
    static, visits = patients()
    with pytest.raises(OptionError, match="cannot go on"):
        of_training(name).continue_from(visits, static, torch.Generator())


@pytest.mark.parametrize("name", sorted(name for name in NODES if not CLASSES[name].completes))
def test_a_model_that_cannot_complete_says_so(name: str) -> None:
    static, visits = patients()
    with pytest.raises(OptionError, match="cannot draw a part of them given the rest"):
        of_training(name).complete(visits, static, ["medication"], torch.Generator())


def none_of(visits: Visits, n: int) -> Visits:
    """Return n patients without a visit."""
    nobody = visits.of_patients(np.zeros(0, np.int64))
    parts = {name: getattr(nobody, name) for name in Visits.__dataclass_fields__}
    unknown = np.full(n, UNKNOWN)
    return Visits(**parts | {"offsets": np.zeros(n + 1, np.int64), "born": unknown, "died": unknown})


def one_visit() -> tuple[VisitSchema, Patients]:
    static, visits = patients(n=30)
    first = np.flatnonzero(visits.number == 0)
    once = visits.with_content(first, np.arange(31), visits.starts[first], visits.ends[first], visits.born, visits.died)
    return VISIT_SCHEMA, (static, once)


def no_codes() -> tuple[VisitSchema, Patients]:
    static, visits = patients(n=30)
    parts = {name: getattr(visits, name) for name in Visits.__dataclass_fields__}
    bare = Visits(**parts | {"codes": visits.codes[:0], "code_offsets": np.zeros(visits.count + 1, np.int64)})
    return VISIT_SCHEMA, (static, bare)


def many_visits() -> tuple[VisitSchema, Patients]:
    static, visits = patients(n=30)
    order = np.resize(np.arange(visits.count), 150)
    long = visits.with_content(
        order,
        np.array([0, 150]),
        np.arange(150) * 1000,  # a millisecond apart: times that are no whole days
        np.full(150, UNKNOWN),
        np.array([UNKNOWN]),
        np.array([UNKNOWN]),
    )
    return VISIT_SCHEMA, (torch.cat([static, static[:1]]), Visits.joined([visits, long]))


def no_measurements_and_nobody() -> tuple[VisitSchema, Patients]:
    static, visits = simulated(30, 0, CODES, 0)
    return visit_schema(CODES, 0), (torch.cat([static, static[:12]]), Visits.joined([visits, none_of(visits, 12)]))


@pytest.mark.parametrize("case", [one_visit, no_codes, many_visits, no_measurements_and_nobody])
@each
def test_records_of_any_shape_are_learned_and_drawn(name: str, case: Any) -> None:
    schema, of = case()
    model = make(name, of=of, schema=schema)
    fit(model, 1, of)
    _, visits = drawn(model, 30)
    visits.check(schema, name)
    if case is one_visit:
        assert (visits.per_patient == 1).all()
    if case is no_codes and issubclass(CLASSES[name], LooksOnce):
        assert len(visits.codes) <= 2
    if case is no_measurements_and_nobody:
        assert not len(visits.values)
        assert 0 < (visits.per_patient == 0).sum() < 30
    if (likelihood := model.log_likelihood(*of)) is not None:
        assert likelihood.isfinite().all()
        assert (likelihood < 0.01).all()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@each_trained
def test_two_processes_train_one_model(name: str) -> None:
    model = make(name)
    fit(model, 1, devices=2, strategy="ddp_fork_find_unused_parameters_true")
    assert any(not tensor.equal(model.state_dict()[key]) for key, tensor in make(name).state_dict().items())
    drawn(model)[1].check(VISIT_SCHEMA, name)


@each_trained
def test_every_precision_that_a_model_allows_trains_it(name: str) -> None:
    for precision in set(CLASSES[name].precisions) - {"32-true", "16-mixed"}:  # sixteen bits need a GPU
        model = make(name)
        assert fit(model, 1, patients(n=30), precision=precision).callback_metrics["loss/total"].isfinite()
        drawn(model)[1].check(VISIT_SCHEMA, name)


def test_order_is_learned() -> None:
    """Codes come again as in training where a model knows the visit before, and not in independent visits."""
    of = patients(n=400)
    wanted = persistence(of[1], CODES)
    assert wanted > 0.6
    found = {}
    for name in NODES:
        if issubclass(CLASSES[name], LooksOnce):
            found[name] = persistence(drawn(make(name, of=of), 400)[1], CODES)
    assert found["train_copy_visits"] == wanted
    assert abs(found["markov"] - wanted) < 0.05
    assert abs(found["dp_markov"] - wanted) < 0.05
    assert found["independent_visits"] < 0.5 * wanted < found["record_mixture_visits"]


@pytest.mark.study
@pytest.mark.parametrize(
    ("name", "options", "epochs"),
    [
        ("chronicle", {"width": 32}, 5),
        ("halo", {"width": 32, "hidden": 64}, 12),
        ("seqhealth", {"width": 32, "learning_rate": 0.005}, 20),
        ("visit_diffusion", {"width": 32, "reveal_width": 64, "learning_rate": 0.005}, 20),
    ],
)
def test_networks_learn_order(name: str, options: dict[str, int], epochs: int) -> None:
    """Their codes come again as in no independent visits; Chronicle, which starts at counting, tells more than that."""
    of, unseen = patients(n=300), patients(seed=1, n=100)
    model = CLASSES[name](schema=SCHEMA, visit_schema=VISIT_SCHEMA, seed=0, **options)
    model.observe(*of)
    model.hold_out(*unseen)
    fit(model, epochs, of, batch_size=48)
    assert persistence(drawn(model, 200)[1], CODES) > 1.5 * persistence(
        drawn(make("independent_visits"), 200)[1], CODES
    )
    found, floor = model.log_likelihood(*unseen), make("markov", of=of).log_likelihood(*unseen)
    assert found is not None
    assert floor is not None
    assert found.mean() > floor.mean() - (0 if name == "chronicle" else 3)
