"""A run, from the matrix to a trained model: built here and nowhere else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ehrsynth import constraints as rules
from ehrsynth.constraints.over_time import RuleOverTime
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.prepare import Recipe
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.evaluation.ranking import Profile
from ehrsynth.files import sweep_leftovers, writable, write_json, write_text
from ehrsynth.study import through_time
from ehrsynth.study.attempt import LOCK, attempt
from ehrsynth.study.audit import Canaries
from ehrsynth.study.build import build
from ehrsynth.study.call import asked
from ehrsynth.study.conf import Choice, dumped
from ehrsynth.study.federate.rounds import rounds_of, taking_turns
from ehrsynth.study.federate.sites import seen_at_site
from ehrsynth.study.fit import fit, parts
from ehrsynth.study.hand_over import hand_over
from ehrsynth.study.prepare import data_name, made, made_trajectories, matrix_folder, readable_name, recipe_of
from ehrsynth.study.privacy import AuditOptions
from ehrsynth.study.private_columns import seen_in_private, visits_in_private
from ehrsynth.study.private_run import ledger_of
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.shared import owned
from ehrsynth.study.spec import Spec
from ehrsynth.study.watch import NOBODY, Watch
from ehrsynth.tracking import About, Tracker, require_login, tracking


def train(
    data: Matrix | Trajectories | Recipe | str | Path,
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
    privacy: Choice = None,
    audit: Mapping[str, Any] | None = None,
    logger: Choice | list[str] = None,
    study: str | None = None,
    runs: str | Path = "runs",
    matrices: str | Path = "matrices",
    watch: Watch = NOBODY,
) -> RunFolder:
    """Train a generator, judge it at checkpoints, choose one, hand over its data with a report.

    What is not given is as ``ehrsynth train`` has it. A run that finished before under the same options is returned.

    Args:
        data: a matrix or trajectories, their folder, or a recipe of one.
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
        privacy: ``"dp"``, or its options, such as ``{"epsilon": 3, "public": "schema.json"}``: a training under
            differential privacy.
        audit: ``canaries``, such as 500, of each of ``kinds``, of which coins plant half among the training rows, and
            ``guesses`` about them: bounds epsilon from below.
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


def run(spec: Spec, watch: Watch = NOBODY) -> RunFolder:
    """Carry out a spec, or return the finished run of the same identity; what it lacks is made again.

    Raises:
        InputError: an option or the data are wrong, or a file of the finished run is not as it was written.
        TrainingError: the loss became NaN or infinite.
    """
    spec.check()
    data = open_data(spec, watch)
    folder = folder_of(spec, data)
    if already_there(spec, folder, watch):
        return folder
    _require_place(spec, folder.path)
    title = f"{spec.model_name} seed {spec.seed}: {folder.path}"
    with owned(folder.path / LOCK, title, watch.say):
        if not already_there(spec, folder, watch):  # by another process meanwhile
            absent = f"  makes again what is missing: {', '.join(folder.missing())}" if folder.finished else ""
            watch.say(f"{title}{absent}")
            with attempt(folder.path, spec.command):
                _carry_out(spec, data, folder, watch)
    return folder


def folder_of(spec: Spec, data: Matrix | Trajectories) -> RunFolder:
    """Return where the run of a spec is kept."""
    return RunFolder(study_folder(spec) / spec.model_name / spec.identity(data.fingerprint))


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


def open_data(spec: Spec, watch: Watch = NOBODY) -> Matrix | Trajectories:
    """Return the matrix or the trajectories of a spec, prepared if need be."""
    data = _open_data(spec, watch)
    if isinstance(data, Trajectories):
        return visits_in_private(spec, data)
    return seen_at_site(spec, seen_in_private(spec, data, watch))


def _open_data(spec: Spec, watch: Watch) -> Matrix | Trajectories:
    if spec.data["matrix"] is not None:
        kept = Trajectories if spec.through_time else Matrix
        return kept.open(Path(str(spec.data["matrix"])))
    recipe = recipe_of(spec.recipe)
    folder = matrix_folder(recipe, spec.paths["matrices"], spec.data["name"])
    if not folder.is_dir():  # hours may pass until the run
        _require_place(spec, Path(spec.paths["runs"]))
    make = made_trajectories if spec.through_time else made
    return make(recipe, folder, watch, option="paths.matrices")


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


def _carry_out(spec: Spec, data: Matrix | Trajectories, folder: RunFolder, watch: Watch) -> None:
    about = _begin(spec, data, folder)
    with tracking(spec.logger, about, folder.path, watch.say) as tracker:
        tracker.log_config(spec.config)
        if isinstance(data, Trajectories):
            through_time.carry_out(spec, data, folder, tracker, watch)
            return
        canaries = canaries_of(spec, data, folder)
        model, batches = parts(spec, data, watch, canaries)
        rounds = rounds_of(spec, model, data, folder.path, watch)
        seconds = {"train": fit(taking_turns(spec), model, batches, folder, tracker, watch, rounds)}
        if rounds is not None:
            write_json(folder.sites, rounds.facts())
            model.looks = rounds.looks_at_a_patient()
        ledger = ledger_of(spec, model, data, batches.patients)
        hand_over(spec, type(model), folder, batches, tracker, watch, seconds, ledger, canaries)


def fitted(spec: Spec, data: Matrix | Trajectories, watch: Watch = NOBODY) -> RunFolder:
    """Train and score the checkpoints on validation patients, and no more; ``run`` goes on from there.

    No tracker is told, and of data that were opened without their held-out patients none is asked for.

    Raises:
        InputError: an option or the data are wrong.
        TrainingError: the loss became NaN or infinite.
    """
    spec.check()
    folder = folder_of(spec, data)
    if not already_there(spec, folder):
        with owned(folder.path / LOCK, f"{spec.model_name}: {folder.path}", watch.say):
            if not already_there(spec, folder):
                with attempt(folder.path, spec.command):
                    told = Tracker([], _begin(spec, data, folder), watch.say)
                    if isinstance(data, Trajectories):
                        through_time.fit(spec, data, folder, told, watch)
                    else:
                        canaries = canaries_of(spec, data, folder)
                        fit(spec, *parts(spec, data, watch, canaries), folder, told, watch)
    return folder


def canaries_of(spec: Spec, matrix: Matrix, folder: RunFolder) -> Canaries | None:
    """Return the canaries of an audit that a spec asks for, by the coins of its run."""
    asked, private = AuditOptions.of(spec.audit), spec.privacy is not None
    return Canaries.of(asked, matrix.schema, spec.seed, folder, secret=private)


def _begin(spec: Spec, data: Matrix | Trajectories, folder: RunFolder) -> About:
    """Write down what the run is to be, and return it for trackers."""
    sweep_leftovers(folder.path)
    folder.report.unlink(missing_ok=True)  # until everything is there again
    write_text(folder.config, dumped(spec.config))
    data.schema.save(folder.schema)
    over_time: tuple[RuleOverTime, ...] = ()
    if isinstance(data, Trajectories):
        write_json(folder.visits, data.visit_schema.to_dict())
        over_time = data.over_time
    rules.save(folder.constraints, data.constraints, over_time)
    study, run_id = folder.path.parents[1].name, folder.path.name
    return About(study, spec.model_name, spec.seed, data.name, data.fingerprint, run_id)
