"""A run's middle: what is trained, on what, and the training itself."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.strategies import Strategy
from torch.multiprocessing.spawn import ProcessRaisedException

from ehrsynth.callbacks.curves import LossCurves
from ehrsynth.callbacks.evaluate import EvaluateCheckpoints, ScoreCheckpoints
from ehrsynth.callbacks.progress import EpochProgress
from ehrsynth.callbacks.remarks import Remarks
from ehrsynth.constraints import Rules
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.private_module import PrivateDataModule
from ehrsynth.data.training_rows import TrainingRows
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.errors import EhrsynthError, FileError, MachineError, OptionError, TrainingError, machine_fault
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.required_memory import require_memory
from ehrsynth.models.base import SeededModel, SyntheticModel
from ehrsynth.seeding import secret_rng
from ehrsynth.study.audit import Canaries
from ehrsynth.study.build import build
from ehrsynth.study.calibration import judged_calibrated, targets_of
from ehrsynth.study.hand_over import ruled
from ehrsynth.study.judge import real_rows, shared_rows
from ehrsynth.study.private_run import budget_of, note_training, require_private, train_privately
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import UNRULED, Spec
from ehrsynth.study.trainer import made_trainer, require_options
from ehrsynth.study.watch import Watch
from ehrsynth.tracking import Tracker


class Elsewhere(pl.Callback):
    """Trains in place of a trainer, which keeps time, checkpoints and scores, and gives its model what comes of it.

    Attributes:
        turns: the batches of that trainer.
    """

    turns: pl.LightningDataModule


def parts(
    spec: Spec, matrix: Matrix, watch: Watch, canaries: Canaries | None = None
) -> tuple[SyntheticModel, EhrDataModule]:
    """Return what is trained, and on what.

    Args:
        spec: of the run.
        matrix: of the patients.
        watch: who is told what happens.
        canaries: of an audit.

    Raises:
        OptionError: the model does not take its options, or the trainer's, or what is done about rules.
    """
    module = EhrDataModule if spec.privacy is None else partial(PrivateDataModule, coins=secret_rng())
    data = module(
        matrix=matrix,
        batch_size=spec.data["batch_size"],
        seed=spec.seed,
        drop_last=spec.data["drop_last"],
        rows=TrainingRows(**spec.rows),
        planted=None if canaries is None else canaries.rows,
    )
    model: SyntheticModel = model_of(spec, SyntheticModel, "visits", matrix, schema=matrix.schema)
    require_private(spec, model)
    _require_penalty(spec, matrix, model, watch)
    return model, data


def model_of(spec: Spec, kind: type, others: str, data: Matrix | Trajectories | None, **schemas: Any) -> Any:
    """Build the model of a spec.

    Args:
        spec: of the run.
        kind: of models that take such data.
        others: what those of the other kind generate.
        data: what it is to learn from, for a model that spends epsilon by itself; None where it learns nothing.
        schemas: what it is told of the data.

    Raises:
        OptionError: the model is of the other kind, or does not take its options, or the trainer's.
    """
    call = build(spec.model, "model", late=True)
    if data is not None and (budget := budget_of(spec, call.func, data)) is not None:
        call = partial(call, **budget)
    if isinstance(call.func, type) and issubclass(call.func, SeededModel) and not issubclass(call.func, kind):
        raise OptionError(
            f"model={spec.model_name}: generates {others}, and these data hold none; the models of conf/model are for"
            " matrices, those of conf/model/visits, as model=visits/halo, for trajectories"
        )
    try:
        model = call(**schemas, seed=spec.seed)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(f"model={spec.model_name}: its options do not fit ({error})") from error
    require_options(spec.trainer, model)
    return model


def _require_penalty(spec: Spec, matrix: Matrix, model: SyntheticModel, watch: Watch) -> None:
    """Raise an ``OptionError`` if broken rules are to cost in a loss that does not ask for them."""
    weight, policy = spec.constraints["weight"], spec.constraints["policy"]
    if not matrix.constraints and spec.constraints != UNRULED:
        watch.say(f"constraints.weight={weight} constraints.policy={policy}: {matrix.name} has no rules to keep")
    elif weight and not model.penalises_rules:
        raise OptionError(
            f"constraints.weight={weight}: {spec.model_name} has no loss that rules could be part of; use"
            " constraints.policy=reject or constraints.policy=repair"
        )


def bind_rules(spec: Spec, model: SyntheticModel, matrix: Matrix) -> None:
    """Tell a model the rules of its data, and what breaking them costs."""
    model.rules = Rules(matrix.constraints, matrix.schema)
    model.rules_weight = float(spec.constraints["weight"]) if len(model.rules) else 0.0


def fit(
    spec: Spec,
    model: SyntheticModel,
    data: EhrDataModule,
    folder: RunFolder,
    tracker: Tracker,
    watch: Watch,
    rounds: Elsewhere | None = None,
) -> float:
    """Train, from the latest checkpoint if the run was interrupted, and return the seconds it took.

    Args:
        spec: of the run.
        model: to be trained.
        data: what it is trained on and judged by; with ``rounds`` only the latter.
        folder: of the run.
        tracker: told losses and scores.
        watch: who is told what happens.
        rounds: in which sites train in place of the model.
    """
    start = perf_counter()
    data.setup("fit")
    train_records = data.records["train"]
    if "holdout" in data.records:
        files = {part: str(data.matrix.folder / f"{part}.parquet") for part in data.records}
        shared_rows(data.schema, train_records, data.records["holdout"], files)  # now, or hours end in an error
    bind_rules(spec, model, data.matrix)
    targets, strategy = None, None
    if isinstance(data, PrivateDataModule):
        strategy = train_privately(spec, model, data)
    elif rounds is None:
        targets = targets_of(data, spec.seed)
        targets.save(folder.targets)
        model.observe(data.filled)
        model.hold_out(data.unseen)
    chosen_on = real_rows(data.matrix, "validation")
    quick, full = (build(spec.evaluation[name], f"evaluation.{name}") for name in ("quick", "full"))
    full.check(data.schema)  # likewise
    for asked, rows in ((quick, spec.evaluation["rows"]), (full, spec.n or len(train_records))):
        require_memory(asked.evaluators, chosen_on, rows)
    scores = EvaluateCheckpoints(
        suite=quick.fit(chosen_on, spec.evaluation["seed"]),
        ruled=ruled(spec, model.rules),
        targets=targets if judged_calibrated(model, spec.rows) else None,
        say=watch.say,
        **looked_at(spec, len(train_records), folder, watch),
    )
    batches = data if rounds is None else rounds.turns
    steps = train(spec, model, batches, scores, quick.cards, folder, tracker, watch, strategy, rounds)
    if strategy is not None and isinstance(data, PrivateDataModule):
        note_training(model, strategy, steps, data.rate)
    return perf_counter() - start


def looked_at(spec: Spec, patients: int, folder: RunFolder, watch: Watch) -> dict[str, Any]:
    """Return how checkpoints are looked at, whatever the model generates."""
    return {
        "rows": min(spec.evaluation["rows"], patients),
        "seed": spec.seed,
        "every": spec.checkpoint_every,
        "folder": folder.path,
        "show": watch.checkpoint,
    }


def train(
    spec: Spec,
    model: SeededModel,
    data: pl.LightningDataModule,
    scores: ScoreCheckpoints,
    cards: Sequence[Card],
    folder: RunFolder,
    tracker: Tracker,
    watch: Watch,
    strategy: Strategy | None = None,
    rounds: Elsewhere | None = None,
) -> int:
    """Train, from the latest checkpoint if the run was interrupted, and return the steps of its optimizers.

    Args:
        spec: of the run.
        model: to be trained.
        data: its batches.
        scores: looks at its checkpoints.
        cards: of the metrics that these are scored by.
        folder: of the run.
        tracker: told losses and scores.
        watch: who is told what happens.
        strategy: of Lightning, in place of that of the options.
        rounds: in which others train in place of the model.

    Raises:
        InputError: the trainer cannot train this.
        TrainingError: the loss became NaN or infinite.
    """
    with watch.bar(f"training {spec.model_name}", None) as advance, _quiet_lightning():
        callbacks: list[pl.Callback] = [
            Remarks(warn=watch.warn) if rounds is None else rounds,
            curves := LossCurves(folder=folder.path),
            scores,
            progress := EpochProgress(advance=advance),
            tracker.callback(cards, lambda: [*curves.epochs, *scores.scored]),
        ]
        options = dict(spec.trainer)
        if options["devices"] != 1 and not any(weights.requires_grad for weights in model.parameters()):
            watch.say(f"{spec.model_name}: one process, for it has no parameters that several could share")
            options |= {"devices": 1, "strategy": "auto"}
        trainer = made_trainer(options, model, callbacks, tracker.loggers, strategy)
        latest = folder.latest_checkpoint(model.schema, watch.say)
        try:
            trainer.fit(model, data, ckpt_path=latest, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
        except MisconfigurationException as error:  # what only the number of batches tells
            raise OptionError(f"trainer: {error}") from error
        except ProcessRaisedException as error:
            if (ours := _raised_in_a_process(str(error))) is not None:
                raise ours from None
            raise
        except Exception as error:
            if latest is None or progress.begun or isinstance(error, EhrsynthError) or machine_fault(error):
                raise
            raise FileError(
                f"{latest}: training cannot go on from it ({type(error).__name__}); remove it, and the same command"
                " goes on from the one before it"
            ) from error
    if not folder.metrics.is_file():
        raise OptionError(
            "trainer: no batch was trained; max_steps, max_time and limit_train_batches must leave at least one"
        )
    return int(trainer.global_step)


def _raised_in_a_process(traceback: str) -> EhrsynthError | None:
    """Return the error of ours that ended one of several processes, of which torch keeps the text only."""
    kind, _, message = traceback.strip().splitlines()[-1].partition(": ")
    return next((own(message) for own in (TrainingError, MachineError) if kind.endswith(f".{own.__name__}")), None)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence Lightning's notes about the machine, and its use of a torch class that newer versions deprecate."""
    log = logging.getLogger("pytorch_lightning")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
            warnings.filterwarnings(
                "ignore", message="Full backward hook is firing"
            )  # of the first layers: as it should
            yield
    finally:
        log.setLevel(level)
