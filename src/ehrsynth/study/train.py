"""A run, from the matrix to a trained model: built here and nowhere else."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch.multiprocessing.spawn import ProcessRaisedException

from ehrsynth import constraints as rules
from ehrsynth.callbacks.curves import LossCurves
from ehrsynth.callbacks.evaluate import EvaluateCheckpoints
from ehrsynth.callbacks.progress import EpochProgress
from ehrsynth.callbacks.remarks import Remarks
from ehrsynth.constraints import Rules
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.prepare import Recipe
from ehrsynth.data.training_rows import TrainingRows
from ehrsynth.errors import EhrsynthError, FileError, MachineError, OptionError, TrainingError, machine_fault
from ehrsynth.evaluation.ranking import Profile
from ehrsynth.evaluation.required_memory import require_memory
from ehrsynth.files import sweep_leftovers, writable, write_text
from ehrsynth.models.base import SyntheticModel
from ehrsynth.study.attempt import LOCK, attempt
from ehrsynth.study.build import build, node_of
from ehrsynth.study.calibration import judged_calibrated, targets_of
from ehrsynth.study.conf import Choice, Node, compose, dumped, sorted_out
from ehrsynth.study.hand_over import hand_over, ruled
from ehrsynth.study.judge import real_rows, shared_rows
from ehrsynth.study.prepare import data_name, made, matrix_folder, readable_name, recipe_of
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.shared import owned
from ehrsynth.study.spec import UNRULED, Spec
from ehrsynth.study.trainer import made_trainer, require_options
from ehrsynth.study.watch import NOBODY, Watch
from ehrsynth.tracking import MODES, About, Tracker, require_login, tracking


def train(
    data: Matrix | Recipe | str | Path,
    model: Any = "vae",
    options: Mapping[str, Any] | None = None,
    *,
    max_epochs: int | None = None,
    batch_size: int | None = None,
    trainer: Choice = None,
    rows: Mapping[str, Any] | None = None,
    seed: int | None = None,
    n: int | None = None,
    experiment: str | None = None,
    suite: Choice = None,
    quick: Choice = None,
    evaluation: Mapping[str, Any] | None = None,
    constraints: Mapping[str, Any] | None = None,
    profile: Profile | Choice = None,
    logger: Choice | list[str] = None,
    study: str | None = None,
    runs: str | Path = "runs",
    matrices: str | Path = "matrices",
    watch: Watch = NOBODY,
) -> RunFolder:
    """Train a generator, judge it at checkpoints, choose one, hand over its data with a report.

    What is not given is as ``ehrsynth train`` has it. A run that finished before under the same options is returned.

    Args:
        data: a matrix, its folder, or a recipe of one.
        model: a name in ``conf/model``, a YAML file of one's own, a class, or a ``functools.partial`` of one.
        options: of the model, such as ``{"latent_width": 32}``.
        max_epochs: of the training.
        batch_size: rows of a step.
        trainer: a name in ``conf/trainer``, or a mapping of further options of Lightning's Trainer.
        rows: ``oversample``, ``reweight``, ``only``: which training rows the model sees, and how often.
        seed: of weights, batches and samples.
        n: synthetic records to hand over; as many as there are training rows by default.
        experiment: a name in ``conf/experiment``, whose budgets count where nothing else is said.
        suite: for the chosen checkpoint: a name in ``conf/suite``, a YAML file of one's own, or its content.
        quick: likewise, for every checkpoint.
        evaluation: ``checkpoints``, ``rows``, ``seed`` and what else ``conf/train.yaml`` has under this name.
        constraints: what is done about the rules of the data: ``weight`` of the penalty for what breaks them in the
            loss, and ``policy`` of sampling, ``"keep"``, ``"reject"`` or ``"repair"``.
        profile: the use case whose weights choose the checkpoint.
        logger: of W&B: ``"offline"``, ``"online"`` or ``"disabled"``; or a name in ``conf/logger``, or several.
        study: the folder below ``runs``; the name of the data by default.
        runs: where runs are kept.
        matrices: where the matrix of a recipe is kept.
        watch: who is told what happens.

    Returns:
        The run: its files, ``frame`` with the scores beside their anchors, ``warnings``.

    Raises:
        InputError: an option or the data are wrong.
        TrainingError: the loss became NaN or infinite.
    """
    return run(Spec.of(*asked("train", dict(locals()))), watch)


def asked(
    verb: str, given: Mapping[str, Any], more: Mapping[str, Choice] | None = None, **further: Any
) -> tuple[Node, str]:
    """Return the configuration that somebody asks for who calls a function, and the call in words.

    Args:
        verb: ``train``, or one whose configuration holds that of ``train``.
        given: the arguments of ``train`` by name, all of them.
        more: options of groups that ``train`` has not.
        further: values of keys that it has not; None leaves what the configuration has.

    Raises:
        OptionError: one of them is wrong.
    """
    data, watch = given["data"], given["watch"]
    if not isinstance(data, Matrix | Recipe | str | Path):
        raise OptionError(f"data: found a {type(data).__name__}; a matrix, its folder, or a recipe of one was expected")
    if isinstance(data, Recipe):
        data = made(data, matrix_folder(data, given["matrices"]), watch)
    folder = data.folder if isinstance(data, Matrix) else Path(data)
    chosen = {
        "model": node_of(given["model"], "model"),
        "trainer": given["trainer"],
        "profile": node_of(given["profile"], "profile"),
        "suite@evaluation.full": node_of(given["suite"], "suite"),
        "suite@evaluation.quick": node_of(given["quick"], "quick"),
        "logger": {"mode": given["logger"]} if given["logger"] in MODES else given["logger"],
        **{name: given[name] for name in ("evaluation", "constraints", "rows", "experiment")},
    }
    choices, values = sorted_out({**chosen, **(more or {})})
    own = {
        "trainer.max_epochs": given["max_epochs"],
        "data.batch_size": given["batch_size"],
        **{name: given[name] for name in ("seed", "n")},
        **further,
    }
    values |= {key: value for key, value in own.items() if value is not None}
    values |= {f"model.{name}": value for name, value in (given["options"] or {}).items()}
    values |= {"data.matrix": str(folder), "paths.runs": str(given["runs"]), "study": given["study"]}
    said = {key: value for key, value in given.items() if key not in ("data", "runs", "matrices", "watch")}
    words = [f"{key}={getattr(value, '__name__', repr(value))}" for key, value in said.items() if value is not None]
    return compose(verb, choices, values), f"ehrsynth.train({', '.join([repr(str(folder)), *words])})"


def run(spec: Spec, watch: Watch = NOBODY) -> RunFolder:
    """Carry out a spec, or return the finished run of the same identity; what it lacks is made again.

    Raises:
        InputError: an option or the data are wrong, or a file of the finished run is not as it was written.
        TrainingError: the loss became NaN or infinite.
    """
    spec.check()
    matrix = open_matrix(spec, watch)
    folder = folder_of(spec, matrix)
    if already_there(spec, folder, watch):
        return folder
    _require_place(spec, folder.path)
    title = f"{spec.model_name} seed {spec.seed}: {folder.path}"
    with owned(folder.path / LOCK, title, watch.say):
        if not already_there(spec, folder, watch):  # by another process meanwhile
            absent = f"  makes again what is missing: {', '.join(folder.missing())}" if folder.finished else ""
            watch.say(f"{title}{absent}")
            with attempt(folder.path, spec.command):
                _carry_out(spec, matrix, folder, watch)
    return folder


def folder_of(spec: Spec, matrix: Matrix) -> RunFolder:
    """Return where the run of a spec is kept."""
    return RunFolder(study_folder(spec) / spec.model_name / spec.identity(matrix.fingerprint))


def already_there(spec: Spec, folder: RunFolder, watch: Watch = NOBODY) -> bool:
    """Return whether a run has finished and lacks nothing, and if so say it.

    Raises:
        FileError: a file of it is not as it was written.
    """
    if not folder.finished or folder.missing():
        return False
    unchecked = "" if folder.hashes else "  (by a version that kept no hashes: its files were not checked)"
    watch.say(f"{spec.model_name} seed {spec.seed}: finished already  {folder.path}{unchecked}")
    return True


def open_matrix(spec: Spec, watch: Watch = NOBODY) -> Matrix:
    """Return the matrix of a spec, prepared if need be."""
    if spec.data["matrix"] is not None:
        return Matrix.open(Path(str(spec.data["matrix"])))
    recipe = recipe_of(spec.recipe)
    folder = matrix_folder(recipe, spec.paths["matrices"], spec.data["name"])
    if not folder.is_dir():  # hours may pass until the run
        _require_place(spec, Path(spec.paths["runs"]))
    return made(recipe, folder, watch, option="paths.matrices")


def _require_place(spec: Spec, folder: Path) -> None:
    """Raise an ``OptionError`` if a run could not be written there, or not be tracked."""
    writable("paths.runs", folder)
    require_login(spec.logger)


def study_folder(spec: Spec) -> Path:
    """Return where the runs of a spec's study are kept."""
    return Path(spec.paths["runs"]) / study_name(spec)


def study_name(spec: Spec) -> str:
    """Return the folder of a spec's study below that of all runs: its own name, or else that of the data."""
    if spec.study is not None:
        return str(spec.study)
    if spec.data["matrix"] is not None:
        return readable_name(Path(str(spec.data["matrix"])))
    return str(spec.data["name"] or data_name(build(spec.recipe["source"], "source")))


def _carry_out(spec: Spec, matrix: Matrix, folder: RunFolder, watch: Watch) -> None:
    about = _begin(spec, matrix, folder)
    with tracking(spec.logger, about, folder.path, watch.say) as tracker:
        tracker.log_config(spec.config)
        model, data = _parts(spec, matrix, watch)
        seconds = {"train": _fit(spec, model, data, folder, tracker, watch)}
        hand_over(spec, type(model), folder, data, tracker, watch, seconds)


def fitted(spec: Spec, matrix: Matrix, watch: Watch = NOBODY) -> RunFolder:
    """Train and score the checkpoints on validation rows, and no more; ``run`` goes on from there.

    No tracker is told, and of a matrix that was opened without its held-out rows none is asked for.

    Raises:
        InputError: an option or the data are wrong.
        TrainingError: the loss became NaN or infinite.
    """
    spec.check()
    folder = folder_of(spec, matrix)
    if not already_there(spec, folder):
        with owned(folder.path / LOCK, f"{spec.model_name}: {folder.path}", watch.say):
            if not already_there(spec, folder):
                with attempt(folder.path, spec.command):
                    told = Tracker([], _begin(spec, matrix, folder), watch.say)
                    _fit(spec, *_parts(spec, matrix, watch), folder, told, watch)
    return folder


def _begin(spec: Spec, matrix: Matrix, folder: RunFolder) -> About:
    """Write down what the run is to be, and return it for trackers."""
    sweep_leftovers(folder.path)
    folder.report.unlink(missing_ok=True)  # until everything is there again
    write_text(folder.config, dumped(spec.config))
    matrix.schema.save(folder.schema)
    rules.save(folder.constraints, matrix.constraints)
    study, run_id = folder.path.parents[1].name, folder.path.name
    return About(study, spec.model_name, spec.seed, matrix.name, matrix.fingerprint, run_id)


def _parts(spec: Spec, matrix: Matrix, watch: Watch) -> tuple[SyntheticModel, EhrDataModule]:
    """Return what is trained, and on what.

    Raises:
        OptionError: the model does not take its options, or the trainer's, or what is done about rules.
    """
    data = EhrDataModule(
        matrix=matrix,
        batch_size=spec.data["batch_size"],
        seed=spec.seed,
        drop_last=spec.data["drop_last"],
        rows=TrainingRows(**spec.rows),
    )
    try:
        model = build(spec.model, "model", late=True)(schema=matrix.schema, seed=spec.seed)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(f"model={spec.model_name}: its options do not fit ({error})") from error
    require_options(spec.trainer, model)
    _require_penalty(spec, matrix, model, watch)
    return model, data


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


def _fit(
    spec: Spec, model: SyntheticModel, data: EhrDataModule, folder: RunFolder, tracker: Tracker, watch: Watch
) -> float:
    """Train, from the latest checkpoint if the run was interrupted, and return the seconds it took."""
    start = perf_counter()
    data.setup("fit")
    train_records = data.records["train"]
    if "holdout" in data.records:
        files = {part: str(data.matrix.folder / f"{part}.parquet") for part in data.records}
        shared_rows(data.schema, train_records, data.records["holdout"], files)  # now, or hours end in an error
    model.rules = Rules(data.matrix.constraints, data.schema)
    model.rules_weight = float(spec.constraints["weight"]) if len(model.rules) else 0.0
    targets = targets_of(data, spec.seed)
    targets.save(folder.targets)
    model.observe(data.filled)
    model.hold_out(data.unseen)
    chosen_on = real_rows(data.matrix, "validation")
    quick, full = (build(spec.evaluation[name], f"evaluation.{name}") for name in ("quick", "full"))
    full.check(data.schema)  # likewise
    for asked, rows in ((quick, spec.evaluation["rows"]), (full, spec.n or len(train_records))):
        require_memory(asked.evaluators, chosen_on, rows)
    suite = quick.fit(chosen_on, spec.evaluation["seed"])
    with watch.bar(f"training {spec.model_name}", None) as advance, _quiet_lightning():
        callbacks: list[pl.Callback] = [
            Remarks(warn=watch.warn),
            curves := LossCurves(folder=folder.path),
            scores := EvaluateCheckpoints(
                suite=suite,
                rows=min(spec.evaluation["rows"], len(train_records)),
                seed=spec.seed,
                every=spec.checkpoint_every,
                folder=folder.path,
                show=watch.checkpoint,
                ruled=ruled(spec, model.rules),
                targets=targets if judged_calibrated(model, spec.rows) else None,
                say=watch.say,
            ),
            progress := EpochProgress(advance=advance),
            tracker.callback(quick.cards, lambda: [*curves.epochs, *scores.scored]),
        ]
        options = dict(spec.trainer)
        if options["devices"] != 1 and not any(weights.requires_grad for weights in model.parameters()):
            watch.say(f"{spec.model_name}: one process, for it has no parameters that several could share")
            options |= {"devices": 1, "strategy": "auto"}
        trainer = made_trainer(options, model, callbacks, tracker.loggers)
        latest = folder.latest_checkpoint(data.schema, watch.say)
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
    return perf_counter() - start


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
            yield
    finally:
        log.setLevel(level)
