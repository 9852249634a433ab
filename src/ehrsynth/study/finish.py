"""A run's end, whatever it generates: pages for people, provenance, the log, and ``report.json`` last of all."""

import os
import platform
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from ehrsynth.callbacks.evaluate import checkpoint_path
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.prepare import IDENTITY
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.files import write_json, write_text
from ehrsynth.reporting.croissant import CROISSANT, Handed, Made, write_croissant
from ehrsynth.reporting.html import PRIVACY_PAGE
from ehrsynth.reporting.model_card import card_md, privacy_in_words
from ehrsynth.reporting.parts import write_parts
from ehrsynth.study.chain import Input
from ehrsynth.study.chosen import Chosen
from ehrsynth.study.judge import Evaluation
from ehrsynth.study.privacy import AuditOptions
from ehrsynth.study.run_folder import MANIFEST, PROVENANCE, RunFolder
from ehrsynth.study.spec import IDENTITY as DECIDING
from ehrsynth.study.spec import Spec
from ehrsynth.tracking import Tracker

CARD = "card.md"
RECIPE_FACTS = [name for name in IDENTITY if name != "inputs"]  # what tells matrices apart, in a few words


def finish(
    spec: Spec,
    data: Matrix | Trajectories,
    folder: RunFolder,
    evaluation: Evaluation,
    choice: Chosen,
    tracker: Tracker,
    seconds: dict[str, float],
    *,
    keeps_rows: bool,
    more: Mapping[str, Any],
) -> None:
    """Write what people read and what others check; ``report.json`` is written last.

    Args:
        spec: of the run.
        data: that it was made from.
        folder: of the run.
        evaluation: of what it hands over.
        choice: of the checkpoint.
        tracker: told the final scores, the figures and the pages for people.
        seconds: of the steps before.
        keeps_rows: whether what it hands over are training rows.
        more: what provenance is to say besides.
    """
    start = perf_counter()
    pictures = evaluation.draw(folder.path / "figures")
    evaluation.to_html(folder.html)
    report = evaluation.to_dict()
    card = card_md(
        title=evaluation.title,
        facts=evaluation.about,
        rows=report["rows"],
        data=evaluation.evidence.data,
        choice=choice.told,
        scores=evaluation.scores,
        command=spec.command,
        keeps_rows=keeps_rows,
        files="synthetic/data/*.parquet" if spec.through_time else folder.synthetic.name,
        guarantee=evaluation.guarantee,
        audited=evaluation.audited,
    )
    write_text(folder.path / CARD, card)
    tracker.log_final(evaluation.scores, pictures, [folder.html, folder.path / PRIVACY_PAGE, folder.path / CARD])
    seconds["report"] = perf_counter() - start
    provenance = {
        **_origin(spec, data, folder),
        "rows": report["rows"],
        "checkpoint": checkpoint_path(folder.path, choice.epoch).name,
        "epoch": choice.epoch,
        "profile": spec.profile["name"],
        **more,
        **_means(seconds),
        "versions": report["versions"],
        "data": evaluation.evidence.data,
        "manifest": MANIFEST,
    }
    write_json(folder.path / PROVENANCE, provenance)
    write_parts(folder.path / "report.parquet", evaluation.scores)
    _describe(spec, data, folder, evaluation, keeps_rows)
    if spec.keep is not None:
        folder.prune([checkpoint_path(folder.path, each).name for each in choice.order[spec.keep :]])
    folder.finish(report, _options(spec), _inputs(spec, data))


def _describe(
    spec: Spec, data: Matrix | Trajectories, folder: RunFolder, evaluation: Evaluation, keeps_rows: bool
) -> None:
    """Write ``croissant.json`` beside what is handed over."""
    count = len(evaluation.evidence.synthetic)
    what = f"{count:,} {'patients through time' if spec.through_time else 'records'}"
    answers = " ".join(f"{finding.question} {finding.answer}" for finding in evaluation.findings)
    labels = {column.name: column.label for column in data.schema.columns}
    handed = Handed(evaluation.title, f"{what}, {evaluation.title}. {answers}", what, labels)
    privacy = privacy_in_words(evaluation.scores)
    made = Made(folder.path.name, spec.model_name, data.name, data.fingerprint, spec.command, keeps_rows, privacy)
    write_croissant(folder.path / CROISSANT, folder.handed_over, handed, made)


def _origin(spec: Spec, data: Matrix | Trajectories, folder: RunFolder) -> dict[str, Any]:
    """Return what provenance says of a run whatever came of it: what it is called, and of what it was made."""
    return {
        "run_id": folder.path.name,
        "variant": spec.variant(data.fingerprint),
        "model": spec.model_name,
        "seed": spec.seed,
        "command": spec.command,
        "matrix": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "folder": str(data.folder.resolve()),
            "recipe": {name: data.provenance[name] for name in RECIPE_FACTS if name in data.provenance},
        },
        "tuning": spec.tuning,
    }


def _means(seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return what it took, for provenance: time, memory and the machine."""
    # Of the process, which may have carried out other runs before this one; macOS counts bytes, Linux kilobytes.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "seconds": {step: round(value, 2) for step, value in seconds.items()},
        "peak_memory_gb": round(most / 1e9, 3),
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
    }


def _options(spec: Spec) -> dict[str, Any]:
    """Return what decides the results, for the log; where they go and who is told is no part of it."""
    apart = ("rows", "constraints", "data", "keep", *(["temporal"] if spec.through_time else []))
    chosen = {name: spec.config[name] for name in (*DECIDING, *apart)}
    audit = spec.audit if AuditOptions.of(spec.audit) else None
    asked = {"privacy": spec.privacy, "federation": spec.federation, "audit": audit}
    return {**chosen, "tuning": spec.tuning, **{name: node for name, node in asked.items() if node is not None}}


def _inputs(spec: Spec, matrix: Matrix | Trajectories) -> dict[str, Input]:
    """Return what a run was made from, for the log."""
    files = {PROVENANCE: Input.of(matrix.folder / PROVENANCE)}
    files |= {name: Input(digest, matrix.folder / name) for name, digest in matrix.provenance["outputs"].items()}
    tables = {name: spec.evaluation.get(name) for name in ("sex_table", "population")}
    return files | {name: Input.of(Path(str(file))) for name, file in tables.items() if file is not None}
