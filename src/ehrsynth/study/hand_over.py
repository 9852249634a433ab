"""After training: choose the checkpoint, draw the synthetic table, judge it in full, write the report."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from ehrsynth.callbacks.evaluate import checkpoint_path
from ehrsynth.chunks import write_chunks
from ehrsynth.constraints import Rules
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.training_rows import TrainingRows
from ehrsynth.files import read_object, sha256
from ehrsynth.layout import Records
from ehrsynth.ledger import LEDGER, Ledger
from ehrsynth.models.base import SyntheticModel, load_model
from ehrsynth.reporting.audited import Audited
from ehrsynth.reporting.guarantee import Guarantee
from ehrsynth.sampling import Acceptance, Calibration, Ruled, synthesize
from ehrsynth.sampling.targets import Targets
from ehrsynth.seeding import derive
from ehrsynth.study.anchors import held_out, shared_anchors
from ehrsynth.study.audit import Canaries, audited
from ehrsynth.study.build import build
from ehrsynth.study.calibration import judged_calibrated
from ehrsynth.study.chosen import chosen_checkpoint
from ehrsynth.study.finish import finish
from ehrsynth.study.guidance import effect_of_guidance
from ehrsynth.study.judge import ROLES, History, examine, judge
from ehrsynth.study.likelihood import held_out_likelihood, in_words
from ehrsynth.study.loaded_run import torch_device
from ehrsynth.study.privacy import AuditOptions
from ehrsynth.study.private_run import scores_of
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import Spec
from ehrsynth.study.watch import Watch
from ehrsynth.tracking import Tracker

BLOCK = 8192  # rows made dense at a time


def hand_over(
    spec: Spec,
    model_class: type[SyntheticModel],
    folder: RunFolder,
    data: EhrDataModule,
    tracker: Tracker,
    watch: Watch,
    seconds: dict[str, float],
    ledger: Ledger | None = None,
    canaries: Canaries | None = None,
) -> None:
    """Turn a trained run into a finished one; ``report.json`` is written last.

    Args:
        spec: of the run.
        model_class: what it has trained.
        folder: where its checkpoints and scores lie and everything else will.
        data: the matrix, encoded.
        tracker: told the final scores, the figures and the pages for people.
        watch: who is told what happens.
        seconds: of the training; those of the other steps are added.
        ledger: what was spent on it, if it was private.
        canaries: of its audit, if there is one.
    """
    matrix, seed = data.matrix, spec.evaluation["seed"]
    profile, full = build(spec.profile, "profile"), build(spec.evaluation["full"], "evaluation.full")
    directions = {card.name: card.direction for card in build(spec.evaluation["quick"], "evaluation.quick").cards}
    real = held_out(matrix)
    checkpoints = pd.read_csv(folder.metrics).set_index("epoch")
    cohort = spec.rows["only"]
    private = ledger is not None
    epoch, why, *_ = choice = chosen_checkpoint(checkpoints, directions, profile, model_class, cohort, private)
    chosen = checkpoint_path(folder.path, epoch)

    start = perf_counter()
    n = spec.n or len(real.train)
    device = torch_device("cpu" if spec.trainer["accelerator"] == "cpu" else "auto")
    model = load_model(chosen, data.schema, model_class).to(device)
    calibration = None
    if judged_calibrated(model_class, spec.rows) and not private:
        calibration = Calibration(Targets.load(folder.targets, data.schema), required=False)
    with watch.bar("generating", n) as advance:
        chunks = synthesize(
            model,
            n,
            derive(spec.seed, "hand over"),
            ruled=ruled(spec, Rules(matrix.constraints, matrix.schema)),
            keeping=calibration,
            acceptance=(acceptance := Acceptance()),
            progress=lambda done: advance(done, None),
        )
        synthetic = _written(folder.synthetic, chunks, Encoder(real.schema))
    likelihood = held_out_likelihood(model, data.records["holdout"], spec.evaluation["seed"])
    audit = _audit(spec, canaries, model, synthetic, data, ledger)
    guidance = effect_of_guidance(model, data.records["train"], derive(spec.seed, "guidance"))
    seconds["generate"] = perf_counter() - start

    start = perf_counter()
    hashes = {Path(file).stem: digest for file, digest in matrix.provenance["outputs"].items()}
    hashes["synthetic"] = sha256(folder.synthetic)
    evidence = examine(real, synthetic, {role: f"{role}.parquet" for role in ROLES}, hashes)
    about = {
        "model": spec.model_name,
        "data": matrix.name,
        "seed": str(spec.seed),
        "checkpoint": f"epoch {epoch} of {checkpoints.index.max()}, {why}",
        "run": folder.path.name,
    }
    enforcement = _enforcement(spec, Rules(real.constraints, real.schema), acceptance, synthetic)
    if enforcement["policy"] != "keep" or enforcement["weight"]:
        about["rules"] = _in_words(enforcement)
    if calibration is not None:
        about["calibrated"] = str(calibration)
    if likelihood is not None:
        about["likelihood"] = in_words(likelihood)
    if rows := TrainingRows(**spec.rows).described():
        about["training rows"] = f"{data.patients:,} seen, by {rows}"
    if folder.sites.is_file():
        about["federated"] = _federated(read_object(folder.sites, sites=list, rounds=int, absent=list))
    if spec.tuning is not None:
        about["tuned"] = _tuned(spec.tuning)
    if audit is not None:
        about["audit"] = str(audit)
        about["planted canaries"] = f"{sum(audit.planted.values()):,} training rows that nobody is"
        watch.say(f"audit: {audit}")
    if ledger is not None:
        about["privacy"] = str(ledger)
        watch.say(f"privacy: {ledger}")
    losses = pd.read_csv(folder.losses).set_index("epoch") if folder.losses.is_file() else None
    evaluation = judge(
        evidence,
        full,
        seed,
        watch,
        anchors=shared_anchors(spec, matrix, real, watch, seconds),
        title=f"{spec.model_name} on {matrix.name}",
        about=about,
        command=spec.command,
        history=History(losses, checkpoints, epoch, guidance),
    )
    found: dict[str, Any] = {}
    if ledger is not None:
        guarantee = Guarantee.of(ledger, audit)
        evaluation = replace(evaluation, scores=(*evaluation.scores, *scores_of(ledger)), guarantee=guarantee)
        found["guarantee"] = guarantee.facts
    if audit is not None:
        evaluation = replace(evaluation, scores=(*evaluation.scores, *audit.scores()), audited=audit)
        found["audit"] = {**(spec.audit or {}), **audit.to_dict()}
        if audit.contradiction is not None:
            watch.warn(audit.contradiction)
    if found:
        tracker.log_config({**spec.config, **found})
    seconds["evaluate"] = perf_counter() - start - seconds["anchors"]

    more: dict[str, Any] = {
        "training_rows": {
            **spec.rows,
            "seen": data.patients,
            "cohort": len(TrainingRows(only=cohort).chosen(real.train, data.schema, spec.seed)) if cohort else None,
        },
        "constraints": enforcement,
        "likelihood": likelihood,
        "calibration": None if calibration is None else calibration.to_dict(),
    }
    if guidance is not None:
        more["guidance"] = guidance.astype(object).where(guidance.notna(), None).to_dict("records")
    if ledger is not None:
        more[LEDGER] = ledger.to_dict()
    if audit is not None:
        more["audit"] = found["audit"]
    finish(spec, matrix, folder, evaluation, choice, tracker, seconds, keeps_rows=model_class.keeps_rows, more=more)


def _audit(
    spec: Spec,
    canaries: Canaries | None,
    model: SyntheticModel,
    synthetic: Records,
    data: EhrDataModule,
    ledger: Ledger | None,
) -> Audited | None:
    """Return what the audits of weights and table found, against what the ledger claims."""
    asked = AuditOptions.of(spec.audit)
    if asked is None or canaries is None:
        return None
    claimed = None if ledger is None else ledger.spent_at(asked.delta)
    return audited(canaries, asked, model, synthetic, patients=data.patients, claimed=claimed)


def ruled(spec: Spec, rules: Rules) -> Ruled | None:
    """Return the rules that sampled records must keep; None if what breaks some is kept too."""
    policy = spec.constraints["policy"]
    return Ruled(rules, policy) if len(rules) and policy != "keep" else None


def _tuned(tuning: dict[str, Any]) -> str:
    """Return what the search for the settings took, for the head of the report."""
    trials = sum(tuning["trials"].values())
    return f"trial {tuning['trial']} of {trials}, {tuning['processor_seconds']:,.0f} processor seconds in all"


def _federated(noted: dict[str, Any]) -> str:
    """Return who took part in a federated training, for the head of the report."""
    said = f"{len(noted['sites'])} sites, {noted['rounds']} rounds of federated averaging, all in one process"
    return f"{said}; {len(noted['absent'])} times a site fell out of a round" if noted["absent"] else said


def _enforcement(spec: Spec, rules: Rules, acceptance: Acceptance, synthetic: Records) -> dict[str, Any]:
    """Return what was done about the rules, how many records broke one as they were drawn, and what it cost."""
    if spec.constraints["policy"] == "keep":
        share = sum(int(rules.broken(rows.dense()).sum()) for rows in synthetic.blocks(BLOCK)) / len(synthetic)
    else:
        share = acceptance.broken / acceptance.accepted
    changed = acceptance.changed / (acceptance.accepted * len(synthetic.layout.places))
    facts = {"drawn": acceptance.drawn, "share_broken": share, "share_of_cells_changed": changed}
    return {"rules": len(rules), **spec.constraints, **(facts if len(rules) else {})}


def _in_words(enforcement: dict[str, Any]) -> str:
    """Return what was done about the rules, for the head of the report."""
    said = f"{enforcement['rules']}, weight {enforcement['weight']:g} in the loss, policy {enforcement['policy']}"
    if not enforcement["rules"]:
        return said
    cost = f"{100 * enforcement['share_broken']:.2f} % of {enforcement['drawn']:,} records drawn broke one"
    if enforcement["policy"] == "repair":
        cost += f", {100 * enforcement['share_of_cells_changed']:.3f} % of the cells were changed"
    return f"{said}: {cost}"


def _written(file: Path, chunks: Iterable[pd.DataFrame], encoder: Encoder) -> Records:
    """Write a table and return it encoded: what is judged is the table that is handed over."""
    encoded = []

    def passing() -> Iterator[pd.DataFrame]:
        for chunk in chunks:
            encoded.append(encoder.encode(chunk))
            yield chunk

    write_chunks(file, passing())
    return Records.joined(encoded)
