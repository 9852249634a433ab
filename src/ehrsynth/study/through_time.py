"""A run over patients through time: what ``fit`` and ``hand_over`` are of rows."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.callbacks.evaluate import checkpoint_path
from ehrsynth.callbacks.evaluate_visits import EvaluateVisits
from ehrsynth.constraints import Constraint
from ehrsynth.constraints.over_time import RuleOverTime, RulesOverTime
from ehrsynth.data.encoding import Encoder, extremes, fill_missing, rescaled
from ehrsynth.data.meds_out import write_meds
from ehrsynth.data.private_trajectories import PrivateTrajectoryDataModule
from ehrsynth.data.row_view import RowView
from ehrsynth.data.split import SPLITS
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.data.trajectory_module import TrajectoryDataModule
from ehrsynth.errors import OptionError
from ehrsynth.evaluation.anchors import with_anchors
from ehrsynth.evaluation.evaluator import RealData, RealVisits
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.subgroups import protected, subgroups
from ehrsynth.evaluation.suite import Suite
from ehrsynth.files import sha256
from ehrsynth.layout import Records
from ehrsynth.ledger import LEDGER, Ledger
from ehrsynth.models.visits.base import VisitModel, load_visit_model
from ehrsynth.reporting.guarantee import Guarantee
from ehrsynth.reporting.summary import alarms
from ehrsynth.sampling.acceptance import Acceptance
from ehrsynth.sampling.course import CourseView
from ehrsynth.sampling.patients import Patients, accepted_patients, drawn_patients
from ehrsynth.sampling.targets import Targets
from ehrsynth.schema import Schema
from ehrsynth.seeding import derive, secret_rng, torch_rng
from ehrsynth.study.anchors import shared_anchors
from ehrsynth.study.asked_of_model import AskedOfModel, truncated
from ehrsynth.study.build import build
from ehrsynth.study.chosen import chosen_checkpoint
from ehrsynth.study.finish import finish
from ehrsynth.study.fit import looked_at, model_of, train
from ehrsynth.study.judge import ROLES, Evaluation, History, examine, judge
from ehrsynth.study.loaded_run import torch_device
from ehrsynth.study.private_run import ledger_of, note_training, require_private, scores_of
from ehrsynth.study.private_visits import filled_with_middles, train_privately
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import UNRULED, Spec
from ehrsynth.study.watch import Watch
from ehrsynth.tracking import Tracker
from ehrsynth.visits import Visits, VisitSchema

OF_ROWS = {"rows": "rows.oversample, rows.reweight and rows.only", "constraints": "constraints.weight"}


class JudgedData(Protocol):
    """What is judged of patients: ``Trajectories``, or what other tools wrote."""

    @property
    def schema(self) -> Schema:
        """The columns of what is said of a patient once."""

    @property
    def visit_schema(self) -> VisitSchema:
        """What visits are made of."""

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """Rules that rows keep."""

    @property
    def over_time(self) -> tuple[RuleOverTime, ...]:
        """Rules that visits keep."""

    def visits(self, part: str) -> Visits:
        """Return the visits of a part."""

    def records(self, part: str) -> Records:
        """Return what is said once of the patients of a part."""


class Judged:
    """Real patients as they are judged: as rows, one a patient, and by their visits.

    Args:
        data: opened.
        held_out: ``validation`` or ``holdout``.
    """

    def __init__(self, data: JudgedData, held_out: str) -> None:
        most = max(data.visits("train").per_patient, default=1)
        self._view = RowView(data.schema, data.visit_schema, float(most))
        train, other = (self._view.rows(data.records(part), data.visits(part)) for part in ("train", held_out))
        self._scale = extremes(self._view.schema, train)
        train, other = (rescaled(each, self._view.schema, self._scale) for each in (train, other))
        declared = tuple(rule.bound_to(self._scale) for rule in data.constraints)
        self.rows = RealData(self._scale, train, other, declared)
        self.visits = RealVisits(
            data.visit_schema, data.visits("train"), data.visits(held_out), data.over_time, _groups(self.rows)
        )

    def rows_of(self, static: Records, visits: Visits) -> Records:
        """Return synthetic patients as rows, on the scale of the real ones."""
        return rescaled(self._view.rows(static, visits), self._view.schema, self._scale)


class Suites:
    """What patients through time are asked, as rows and by their visits, and what is asked of their model.

    Args:
        spec: of the run.
        which: ``quick`` or ``full``.
    """

    def __init__(self, spec: Spec, which: str) -> None:
        if spec.temporal is None:
            raise OptionError("temporal: a configuration of before trajectories; say temporal.quick and temporal.full")
        self.rows: Suite = build(spec.evaluation[which], f"evaluation.{which}")
        self.visits: Suite = build(spec.temporal[which], f"temporal.{which}")
        asked = spec.temporal.get("model")  # configurations of before it lack it
        self.model: AskedOfModel | None = None if asked is None else build(asked, "temporal.model")

    @property
    def cards(self) -> tuple[Any, ...]:
        """Of all metrics."""
        return (*self.rows.cards, *self.visits.cards)

    def check(self, judged: Judged) -> None:
        """Raise an ``InputError`` if an option does not fit the columns or the visits."""
        self.rows.check(judged.rows.schema)
        self.visits.check(judged.visits.schema)


def carry_out(spec: Spec, data: Trajectories, folder: RunFolder, tracker: Tracker, watch: Watch) -> None:
    """Train and finish a run; ``report.json`` is written last.

    Raises:
        InputError: an option or the data are wrong.
        TrainingError: the loss became NaN or infinite.
    """
    model, seconds = fit(spec, data, folder, tracker, watch)
    ledger = ledger_of(spec, model, data, len(data.visits("train")))
    hand_over(spec, type(model), folder, data, tracker, watch, {"train": seconds}, ledger)


def fit(spec: Spec, data: Trajectories, folder: RunFolder, tracker: Tracker, watch: Watch) -> tuple[VisitModel, float]:
    """Train, from the latest checkpoint if the run was interrupted; return the model and the seconds it took.

    Raises:
        InputError: an option or the data are wrong.
        TrainingError: the loss became NaN or infinite.
    """
    start = perf_counter()
    for name, options in OF_ROWS.items():
        usual = {**UNRULED, "policy": spec.constraints["policy"]} if name == "constraints" else {}
        if any(value for key, value in getattr(spec, name).items() if value != usual.get(key)):
            raise OptionError(f"{options}: of rows alone so far; leave them out where data are trajectories")
    model: VisitModel = model_of(spec, VisitModel, "rows", data, schema=data.schema, visit_schema=data.visit_schema)
    static = _filled(spec, data, "train", "validation")
    visits = {part: data.visits(part) for part in static}
    require_private(spec, model)
    private = spec.privacy is not None
    module = partial(PrivateTrajectoryDataModule, coins=secret_rng()) if private else TrajectoryDataModule
    batches = module(
        visit_schema=data.visit_schema,
        static=static["train"],
        visits=visits["train"],
        unseen_static=static["validation"],
        unseen=visits["validation"],
        batch_size=spec.data["batch_size"],
        seed=spec.seed,
    )
    strategy = None
    if isinstance(batches, PrivateTrajectoryDataModule):
        strategy = train_privately(spec, model, batches)
    else:
        model.observe(static["train"], visits["train"])
        view = CourseView(data.schema, data.visit_schema, float(model.calendar.most))
        Targets.of(view.rows(data.records("train"), visits["train"]), view.schema, spec.seed).save(folder.targets)
        model.hold_out(static["validation"], visits["validation"])
    chosen_on, quick, seed = Judged(data, "validation"), Suites(spec, "quick"), spec.evaluation["seed"]
    Suites(spec, "full").check(chosen_on)  # now, or hours end in an error
    scores = EvaluateVisits(
        of_rows=quick.rows.fit(chosen_on.rows, seed),
        of_visits=quick.visits.fit(chosen_on.visits, seed),
        rows_of=chosen_on.rows_of,
        **looked_at(spec, len(visits["train"]), folder, watch),
    )
    steps = train(spec, model, batches, scores, quick.cards, folder, tracker, watch, strategy)
    if strategy is not None and isinstance(batches, PrivateTrajectoryDataModule):
        note_training(model, strategy, steps, batches.rate)
    return model, perf_counter() - start


def hand_over(
    spec: Spec,
    model_class: type[VisitModel],
    folder: RunFolder,
    data: Trajectories,
    tracker: Tracker,
    watch: Watch,
    seconds: dict[str, float],
    ledger: Ledger | None = None,
) -> None:
    """Turn a trained run into a finished one; ``report.json`` is written last.

    Args:
        spec: of the run.
        model_class: what it has trained.
        folder: where its checkpoints and scores lie and everything else will.
        data: the patients.
        tracker: told the final scores, the figures and the pages for people.
        watch: who is told what happens.
        seconds: of the training; those of the other steps are added.
        ledger: what was spent on it, if it was private.
    """
    profile = build(spec.profile, "profile")
    directions = {card.name: card.direction for card in Suites(spec, "quick").cards}
    checkpoints = pd.read_csv(folder.metrics).set_index("epoch")
    epoch, why, *_ = choice = chosen_checkpoint(checkpoints, directions, profile, model_class, {}, ledger is not None)
    chosen = checkpoint_path(folder.path, epoch)

    start = perf_counter()
    n = spec.n or len(data.visits("train"))
    device = torch_device("cpu" if spec.trainer["accelerator"] == "cpu" else "auto")
    model = load_visit_model(chosen, data.schema, data.visit_schema, model_class).to(device)
    rules, policy = RulesOverTime(data.over_time, data.visit_schema), spec.constraints["policy"]
    acceptance, drawing_seed = Acceptance(), derive(spec.seed, "hand over")
    with watch.bar("generating", n) as advance:

        def told(done: int) -> None:
            advance(done, None)

        if policy == "keep" or not len(rules):
            batches = drawn_patients(model, n, drawing_seed, progress=told)
        else:
            batches = accepted_patients(model, n, drawing_seed, acceptance, rules=rules, policy=policy, progress=told)
        drawn = Patients.joined(batches)
    drawn.visits.check(data.visit_schema, folder.shown)
    shutil.rmtree(folder.synthetic_visits, ignore_errors=True)  # of an attempt that was interrupted after this
    write_meds(drawn.visits, data.visit_schema, Encoder(data.schema).decode(drawn.static), folder.synthetic_visits)
    seconds["generate"] = perf_counter() - start

    start = perf_counter()
    about = {
        "model": spec.model_name,
        "data": data.name,
        "seed": str(spec.seed),
        "checkpoint": f"epoch {epoch} of {checkpoints.index.max()}, {why}",
        "run": folder.path.name,
        "patients": f"{n:,} with {drawn.visits.count:,} visits",
    }
    if ledger is not None:
        about["privacy"] = str(ledger)
        watch.say(f"privacy: {ledger}")
    losses = pd.read_csv(folder.losses).set_index("epoch") if folder.losses.is_file() else None
    evaluation = judged(spec, data, folder, drawn, about, History(losses, checkpoints, epoch), watch, seconds)
    evaluation = _with_model(evaluation, spec, data, model, watch)
    if ledger is not None:
        guarantee = Guarantee.of(ledger)
        evaluation = replace(evaluation, scores=(*evaluation.scores, *scores_of(ledger)), guarantee=guarantee)
        tracker.log_config({**spec.config, "guarantee": guarantee.facts})
    seconds["evaluate"] = perf_counter() - start - seconds["anchors"]

    broken = acceptance.broken / acceptance.accepted if acceptance.drawn else float(rules.broken(drawn.visits).mean())
    kept = {"rules": len(rules), "policy": policy, "drawn": acceptance.drawn or n, "share_broken": broken}
    more: dict[str, Any] = {"over_time": {**kept, "changed": acceptance.changed}} if len(rules) else {}
    if ledger is not None:
        more[LEDGER] = ledger.to_dict()
    finish(spec, data, folder, evaluation, choice, tracker, seconds, keeps_rows=model_class.keeps_rows, more=more)


def judged(
    spec: Spec,
    data: Trajectories,
    folder: RunFolder,
    drawn: Patients,
    about: Mapping[str, str],
    history: History,
    watch: Watch,
    seconds: dict[str, float],
) -> Evaluation:
    """Ask synthetic patients everything, as rows and by their visits."""
    real, full = Judged(data, "holdout"), Suites(spec, "full")
    files = dict(data.provenance["outputs"])
    for file in sorted(folder.synthetic_visits.rglob("*.*")):
        files[file.relative_to(folder.path).as_posix()] = sha256(file)
    hashes = {part: _digest(files, part) for part in (*SPLITS, "synthetic")}
    evidence = examine(real.rows, real.rows_of(*drawn), {role: role for role in ROLES}, hashes)
    took = {"rows": 0.0}
    evaluation = judge(
        evidence,
        full.rows,
        spec.evaluation["seed"],
        watch,
        anchors=shared_anchors(spec, data, real.rows, watch, took),
        title=f"{spec.model_name} on {data.name}",
        about=about,
        command=spec.command,
        history=history,
    )
    with watch.steps("evaluating visits", 7 * len(full.visits.evaluators)) as step:
        fitted = full.visits.fit(real.visits, spec.evaluation["seed"])
        scores = fitted.score(drawn.visits, step)
        took_visits: dict[str, float] = {}
        anchors = shared_anchors(spec, data, real.visits, watch, took_visits)(fitted, step)
    seconds["anchors"] = took["anchors"] + took_visits["anchors"]
    temporal: tuple[Score, ...] = tuple(with_anchors(scores, anchors))
    for warning in alarms(temporal):
        watch.warn(warning)
    return replace(evaluation, scores=(*evaluation.scores, *temporal))


def _with_model(evaluation: Evaluation, spec: Spec, data: Trajectories, model: VisitModel, watch: Watch) -> Evaluation:
    """Add what is asked of the model itself, and a warning if what it drew was cut by construction."""
    if (asked := Suites(spec, "full").model) is not None:
        static = _filled(spec, data, "train", "holdout")
        visits = {part: data.visits(part) for part in static}
        with watch.steps("asking the model", 2) as step:
            found = asked.scores(model, static, visits, spec.evaluation["seed"], step)
        evaluation = replace(evaluation, scores=(*evaluation.scores, *found))
    if (warning := truncated(model)) is None:
        return evaluation
    watch.warn(warning)
    evidence = evaluation.evidence
    return replace(evaluation, evidence=replace(evidence, warnings=(*evidence.warnings, warning)))


def _filled(spec: Spec, data: Trajectories, *parts: str) -> dict[str, Tensor]:
    """Return the encoded rows of patients, missing values filled as the model sees them."""
    if spec.privacy is not None:
        return {part: filled_with_middles(data.records(part)) for part in parts}
    train = data.records("train")
    return {
        part: fill_missing(data.records(part), train, torch_rng(spec.seed, "fill missing", part)).dense()
        for part in parts
    }


def _groups(rows: RealData) -> dict[str, NDArray[np.bool_]]:
    """Return the subgroups of H by its protected columns, but for age, which changes from visit to visit."""
    names = [name for name in protected(rows.schema) if not rows.schema.by_name[name].numeric]
    found = subgroups(rows.schema, rows.holdout, names, rows.train) if names else {}
    return {label: mask.numpy() for labels in found.values() for label, mask in labels.items()}


def _digest(files: Mapping[str, str], part: str) -> str:
    """Return the SHA-256 of the files in a folder, by their SHA-256."""
    mine = {name: digest for name, digest in files.items() if name.startswith(f"{part}/")}
    return hashlib.sha256(json.dumps(mine, sort_keys=True).encode()).hexdigest()
