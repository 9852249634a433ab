"""After training: choose the checkpoint, draw the synthetic table, judge it in full, write the report."""

import hashlib
import json
import os
import platform
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter

import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ehrsynth.callbacks.evaluate import checkpoint_path
from ehrsynth.chunks import write_chunks
from ehrsynth.cli.console import progress, steps
from ehrsynth.cli.options import device
from ehrsynth.cli.run_folder import RunFolder, resolved, variant
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.data.encoding import Encoder
from ehrsynth.evaluation.anchors import Anchors, anchor_scores, with_anchors
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.memory import code_hash
from ehrsynth.evaluation.ranking import choose_checkpoint
from ehrsynth.evaluation.suite import FittedSuite
from ehrsynth.files import read_json, sha256, write_bytes, write_json, write_text
from ehrsynth.layout import Records
from ehrsynth.models.base import load_model
from ehrsynth.reporting.gallery import report_figures
from ehrsynth.reporting.html import write_html
from ehrsynth.reporting.model_card import card_md
from ehrsynth.reporting.part_gallery import part_figures
from ehrsynth.reporting.parts import write_parts
from ehrsynth.reporting.report import build_report
from ehrsynth.sampling import synthesize
from ehrsynth.seeding import derive
from ehrsynth.tracking import Tracker


def hand_over(
    cfg: DictConfig, folder: RunFolder, data: EhrDataModule, tracker: Tracker, seconds: dict[str, float]
) -> None:
    """Turn a trained run into a finished one; ``report.json`` is written last.

    Args:
        cfg: of the run.
        folder: where its checkpoints and scores lie and everything else will.
        data: the matrix, encoded.
        tracker: told the final scores, the figures and the report.
        seconds: of the training; those of the other steps are added.
    """
    profile, quick, full = (instantiate(node) for node in (cfg.profile, cfg.evaluation.quick, cfg.evaluation.full))
    # What costs time on real rows alone is kept beside them: it is as private as they are.
    cache = data.matrix.folder / ".cache" if os.access(data.matrix.folder, os.W_OK) else None
    real = RealData(data.schema, data.records["train"], data.records["holdout"], data.matrix.constraints, cache)
    checkpoints = pd.read_csv(folder.metrics).set_index("epoch")
    epoch = choose_checkpoint(checkpoints, {card.name: card.direction for card in quick.cards}, profile)
    chosen = checkpoint_path(folder.path, epoch)

    start = perf_counter()
    n = cfg.n or len(real.train)
    where = device("cpu" if cfg.trainer.accelerator == "cpu" else "auto")
    model = load_model(chosen, data.schema).to(where)
    with progress("generating", n) as advance:
        chunks = synthesize(model, n, derive(cfg.seed, "hand over"), progress=lambda done: advance(done, None))
        synthetic = _written(folder.synthetic, chunks, Encoder(data.schema))
    seconds["generate"] = perf_counter() - start

    start = perf_counter()
    with steps("evaluating", len(full.evaluators)) as step:
        fitted = full.fit(real, cfg.evaluation.seed)
        scores = fitted.score(synthetic, cfg.evaluation.seed, step)
    seconds["evaluate"] = perf_counter() - start
    start = perf_counter()
    scores = with_anchors(scores, anchors_of(cfg, fitted, data.matrix.fingerprint))
    seconds["anchors"] = perf_counter() - start

    start = perf_counter()
    figures = report_figures(
        real,
        synthetic,
        seed=cfg.evaluation.seed,
        losses=pd.read_csv(folder.losses).set_index("epoch") if folder.losses.is_file() else None,
        scores=checkpoints,
        chosen=epoch,
    )
    figures += part_figures(scores)
    pictures = {figure.name: folder.path / "figures" / f"{figure.name}.png" for figure in figures}
    for figure in figures:
        write_bytes(pictures[figure.name], figure.png)
    matrix, name = data.matrix, folder.path.parent.name
    hashes = {Path(file).stem: digest for file, digest in matrix.provenance["outputs"].items()}
    hashes["synthetic"] = sha256(folder.synthetic)
    report = build_report(scores, real, synthetic, data=hashes)
    command = f"ehrsynth train {shlex.join(HydraConfig.get().overrides.task)}"
    facts = {
        "model": name,
        "data": matrix.name,
        "seed": str(cfg.seed),
        "checkpoint": f"epoch {epoch} of {checkpoints.index.max()}, chosen for {profile.name}",
        "run": folder.path.name,
    }
    write_html(
        folder.html,
        title=f"{name} on {matrix.name}",
        facts=facts,
        rows=report["rows"],
        scores=scores,
        cards=full.cards,
        figures=figures,
        provenance={"command": command, **{f"{k} version": v for k, v in report["versions"].items()}, **hashes},
    )
    card = card_md(
        title=f"{name} on {matrix.name}",
        facts=facts,
        rows=report["rows"],
        data=hashes,
        choice=f"Of {len(checkpoints)} checkpoints the one of epoch {epoch} has the lowest weighted rank for"
        f" {profile.name} on the validation rows.",
        scores=scores,
        command=command,
        is_train_copy=name == "train_copy",
    )
    write_text(folder.path / "card.md", card)
    tracker.log_final({s.metric: s.value for s in scores if s.value is not None}, pictures, folder.html)
    seconds["report"] = perf_counter() - start
    provenance = {
        "run_id": folder.path.name,
        "variant": variant(resolved(cfg), matrix.fingerprint),
        "model": name,
        "seed": cfg.seed,
        "command": command,
        "matrix": {"name": matrix.name, "fingerprint": matrix.fingerprint, "folder": str(matrix.folder.resolve())},
        "rows": report["rows"],
        "checkpoint": chosen.name,
        "epoch": epoch,
        "profile": profile.name,
        "seconds": {step: round(value, 2) for step, value in seconds.items()},
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": report["versions"],
        "data": hashes,
    }
    write_json(folder.path / "provenance.json", provenance)
    write_parts(folder.report.with_suffix(".parquet"), scores)
    write_json(folder.report, report)


def anchors_of(cfg: DictConfig, fitted: FittedSuite, fingerprint: str) -> Anchors:
    """Return the anchors of a suite on a matrix, computed once and kept beside the runs."""
    key = {
        "suite": OmegaConf.to_container(cfg.evaluation.full, resolve=True),
        "seed": cfg.evaluation.seed,
        "data": fingerprint,
    }
    digest = hashlib.sha256(json.dumps({**key, "code": code_hash()}, sort_keys=True).encode()).hexdigest()[:16]
    path = Path(cfg.paths.runs) / ".anchors" / f"{digest}.json"
    if not path.is_file():
        with steps("evaluating the anchors", 4 * len(fitted.suite.evaluators)) as step:
            write_json(path, anchor_scores(fitted, cfg.evaluation.seed, step))
    anchors: Anchors = read_json(path)
    return anchors


def _written(file: Path, chunks: Iterable[pd.DataFrame], encoder: Encoder) -> Records:
    """Write a table and return it encoded: what is judged is the table that is handed over."""
    encoded = []

    def passing() -> Iterator[pd.DataFrame]:
        for chunk in chunks:
            encoded.append(encoder.encode(chunk))
            yield chunk

    write_chunks(file, passing())
    return Records.joined(encoded)
