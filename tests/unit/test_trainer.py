"""Options of the trainer, and what a training step may not ask of a GPU."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.nn.utils import parameters_to_vector
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from ehrsynth.callbacks.tensor_float import TensorFloat
from ehrsynth.errors import OptionError, TrainingError
from ehrsynth.models.base import SyntheticModel, load_model
from ehrsynth.models.nn import MovingAverage
from ehrsynth.study.conf import compose
from ehrsynth.study.spec import Spec
from ehrsynth.study.trainer import made_trainer, require_options
from tests.contracts.test_models import TRAINED, YAMLS, batches, filled, make, toy_records
from tests.training import fit

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]
# What these compute next depends on how many of the rows are of a kind, and that only the device knows.
WAIT_ANYWAY = {"medgan_2025", "tally"}
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
OPTIONS = {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "max_epochs": 1, "strategy": "auto", **QUIET}


class Asked(TorchDispatchMode):
    """Counts what a GPU could answer only after all that it was told before: numbers, shapes that depend on them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        if name in ("_local_scalar_dense", "is_nonzero", "nonzero", "multinomial", "bincount", "equal") or any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in indices
        ):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class Watched(pl.Callback):
    """Watches one step in the middle of the second epoch, when averages know their number and phases have changed."""

    def on_train_batch_start(self, trainer: pl.Trainer, model: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 1):
            self.asked = Asked()
            self.asked.__enter__()

    def on_train_batch_end(self, trainer: pl.Trainer, *more: Any) -> None:
        if (trainer.current_epoch, more[-1]) == (1, 1):
            self.asked.__exit__(None, None, None)


@pytest.fixture
def unlike_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are looked at as on a GPU: now and then."""

    monkeypatch.setattr(SyntheticModel, "_at_once", False)


@pytest.mark.usefixtures("unlike_a_cpu")
@pytest.mark.parametrize("name", [name for name in TRAINED if name in YAMLS and name not in WAIT_ANYWAY])
def test_a_training_step_asks_a_gpu_for_nothing(name: str) -> None:
    watched = Watched()
    fit(make(name), batches(), 2, callbacks=[watched])
    assert watched.asked.found == []


def test_the_steps_that_are_watched_would_be_found_to_ask() -> None:
    watched = Watched()
    fit(make("vae"), batches(), 2, callbacks=[watched])
    assert watched.asked.found


@pytest.mark.usefixtures("unlike_a_cpu")
def test_a_loss_that_nobody_waited_for_is_named_by_its_batch_at_the_end_of_the_epoch() -> None:
    rows = filled(toy_records())
    rows[20, -1] = torch.nan  # in the second batch of four
    with pytest.raises(TrainingError, match=r"VAE: loss/total is nan in epoch 0, batch 1; lower"):
        fit(make("vae"), rows.split(12), 1)


@pytest.mark.usefixtures("unlike_a_cpu")
def test_no_checkpoint_is_saved_of_weights_that_such_a_loss_has_reached(tmp_path: Path) -> None:
    class Saves(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *more: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"{more[-1]}.ckpt")

    rows = filled(toy_records())
    rows[20, -1] = torch.nan
    with pytest.raises(TrainingError, match="epoch 0, batch 1"):
        fit(make("vae"), rows.split(12), 1, callbacks=[Saves()])
    assert [path.name for path in tmp_path.iterdir()] == ["0.ckpt"]


def test_the_average_is_that_of_torch_also_after_it_was_loaded() -> None:
    def decayed(averages: Any, weights: Any, n: Any) -> None:
        torch._foreach_lerp_(averages, weights, 1 - min(0.9, (1 + float(n)) / (10 + float(n))))

    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    torchs, ours = AveragedModel(network, multi_avg_fn=decayed), MovingAverage(network, 0.9)
    torchs.n_averaged.fill_(1)
    rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    for step in range(100):
        with torch.no_grad():
            for weights in network.parameters():
                weights += 0.1 * network(rows).mean()
        torchs.update_parameters(network)
        ours.update_parameters(network)
        if step == 40:
            kept, ours = ours.state_dict(), MovingAverage(network, 0.9)
            ours.update_parameters(network)
            ours.load_state_dict(kept)
    left, right = torchs.state_dict(), ours.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def trainer_of(model: SyntheticModel, **options: Any) -> pl.Trainer:
    require_options({**OPTIONS, **options}, model)
    return made_trainer({**OPTIONS, **options}, model, [], [])


def test_tensorfloat_is_of_training_steps_alone_and_by_default() -> None:
    seen: dict[str, tuple[bool, bool]] = {}

    class Spy(pl.Callback):
        def on_train_batch_end(self, *more: Any) -> None:
            seen["step"] = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

        def on_train_epoch_end(self, *more: Any) -> None:
            seen["checkpoint"] = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    for allowed, options in ((True, {}), (False, {"tf32": False})):
        trainer = made_trainer({**OPTIONS, **options}, make("vae"), [Spy()], [])
        trainer.fit(make("vae"), DataLoader(batches(), batch_size=None))  # type: ignore[arg-type]
        assert seen == {"step": (allowed, allowed), "checkpoint": (False, False)}
    poisoned = [torch.full_like(batches()[0], torch.nan)]
    with pytest.raises(TrainingError):
        fit(make("vae"), poisoned, 1, callbacks=[TensorFloat(allowed=True)])
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_budget_of_the_processor_ends_a_training_and_is_kept_by_its_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10**6))  # a second a look: at the start, and after each batch
    monkeypatch.setattr("ehrsynth.callbacks.processor_time.process_time", lambda: float(next(ticks)))
    options = {"max_epochs": 100, "processor_seconds": 10}
    table, path = batches(), tmp_path / "interrupted.ckpt"

    class Interrupts(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *more: Any) -> None:
            if trainer.global_step == 6:
                trainer.save_checkpoint(path)

    trainer = made_trainer({**OPTIONS, **options}, make("vae"), [Interrupts()], [])
    trainer.fit(make("vae"), DataLoader(table, batch_size=None))  # type: ignore[arg-type]
    assert trainer.global_step == 9, "and one look for the checkpoint"
    again = made_trainer({**OPTIONS, **options}, make("vae"), [], [])
    again.fit(make("vae"), DataLoader(table, batch_size=None), ckpt_path=path, weights_only=True)  # type: ignore[arg-type]
    assert again.global_step == 6 + 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vae", {"tf32": "yes"}, "trainer.tf32=yes: true or false"),
        ("vae", {"compile": 1}, "trainer.compile=1: true or false"),
        ("vae", {"processor_seconds": 0}, "trainer.processor_seconds=0: a finite number above zero"),
        ("vae", {"processor_seconds": True}, "trainer.processor_seconds=True: a finite number above zero"),
        ("tally", {"compile": True}, "trainer.compile=true: Tally has no network that can be compiled"),
        ("chow_liu", {"compile": True}, "trainer.compile=true: ChowLiu has no network"),
        ("emr_wgan", {"accumulate_grad_batches": 4}, "trainer.accumulate_grad_batches=4: EMRWGAN steps its optimizers"),
    ],
)
def test_an_option_that_a_model_cannot_take_is_refused_by_name(name: str, options: Any, message: str) -> None:
    with pytest.raises(OptionError) as error:
        trainer_of(make(name), **options)
    assert str(error.value).startswith(message)


def test_a_compiler_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(OptionError, match=r"trainer\.compile=true: the C\+\+ compiler no-such-compiler was not found"):
        trainer_of(make("vae"), compile=True)


def test_runs_of_before_there_were_these_options_keep_their_identity() -> None:
    usual = Spec.of(compose("train", {"model": "vae"}, {}), "test")
    assert usual.trainer["tf32"] is True
    assert usual.trainer["compile"] is False
    before = {key: value for key, value in usual.trainer.items() if key not in ("tf32", "compile")}
    assert replace(usual, trainer=before).identity("data") == usual.identity("data")
    for other in ({"tf32": False}, {"compile": True}):
        assert replace(usual, trainer={**usual.trainer, **other}).identity("data") != usual.identity("data")


def test_gradients_of_several_batches_add_up_to_one_step_and_one_average() -> None:
    model = make("ehrdiff")
    trainer = trainer_of(model, accumulate_grad_batches=3)
    trainer.fit(model, DataLoader(filled(toy_records()).split(8), batch_size=None))  # type: ignore[arg-type]
    assert trainer.global_step == 2
    assert model.average.n_averaged == 3  # which counts from one


@pytest.mark.study
@pytest.mark.filterwarnings("ignore")  # dynamo and inductor use what torch itself has deprecated
@pytest.mark.parametrize("name", [name for name in YAMLS if list(make(name).compilable())])
def test_a_compiled_model_trains_as_it_would(name: str, tmp_path: Path) -> None:
    start, moved = parameters_to_vector(make(name).parameters()), {}
    for compiled in (False, True):
        model = make(name)
        trainer = trainer_of(model, compile=compiled, max_epochs=2)
        trainer.fit(model, DataLoader(batches(), batch_size=None))  # type: ignore[arg-type]
        trainer.save_checkpoint(tmp_path / "model.ckpt")
        moved[compiled] = parameters_to_vector(load_model(tmp_path / "model.ckpt", model.schema).parameters()) - start
    # not weight by weight: where a gradient is nearly zero, Adam and RMSprop make a step of what it is rounded to
    assert torch.cosine_similarity(moved[False], moved[True], 0) > 0.99
