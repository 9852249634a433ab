"""``ehrsynth evaluate``: any real and any synthetic table -> report."""

import sys
from pathlib import Path

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig

from ehrsynth.cli.console import out, steps
from ehrsynth.cli.main import run
from ehrsynth.cli.tables import score_table
from ehrsynth.data.encoding import Encoder, fit_bounds, infer_schema
from ehrsynth.errors import TableError
from ehrsynth.evaluation.anchors import anchor_scores, with_anchors
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.files import read_table, sha256, write_json
from ehrsynth.reporting.gallery import report_figures
from ehrsynth.reporting.html import write_html
from ehrsynth.reporting.report import build_report
from ehrsynth.schema import SUBJECT, Schema


def task(cfg: DictConfig) -> None:
    """Score ``cfg.synthetic`` against ``cfg.train`` and ``cfg.holdout``; write the report into ``cfg.out``."""
    files = {name: Path(cfg[name]) for name in ("train", "holdout", "synthetic")}
    frames = {name: read_table(path) for name, path in files.items()}
    folder = Path(cfg.out)
    schema = schema_of(frames["train"], str(files["train"]), None if cfg.schema is None else Path(cfg.schema))
    tables = {name: schema.validate(frame, str(files[name])) for name, frame in frames.items()}
    for name in ("train", "holdout"):
        schema.require_outcomes(tables[name], str(files[name]))
    check_subjects(frames, files)
    if cfg.schema is None:
        schema.save(folder / "schema.json")
        out.print(
            f"schema inferred from {files['train']}, edit and pass it as schema= to override: {folder}/schema.json"
        )

    encoder = Encoder(schema)
    train, holdout, synthetic = (encoder.encode(tables[name]) for name in ("train", "holdout", "synthetic"))
    real = RealData(schema, train, holdout)
    suite = instantiate(cfg.suite)
    with steps("evaluating", 6 * len(suite.evaluators)) as step:
        scores = suite.fit(real, cfg.seed).score(synthetic, cfg.seed, step)
        scores = with_anchors(scores, anchor_scores(suite, real, cfg.seed, step))
    hashes = {name: sha256(path) for name, path in files.items()}
    report = build_report(scores, real, synthetic, data=hashes)
    write_html(
        folder / "report.html",
        title=f"{files['synthetic'].name} against {files['train'].name}",
        facts={name: path.name for name, path in files.items()} | {"seed": str(cfg.seed)},
        rows=report["rows"],
        scores=scores,
        cards=suite.cards,
        figures=report_figures(real, synthetic, seed=cfg.seed),
        provenance={f"{k} version": v for k, v in report["versions"].items()} | hashes,
    )
    write_json(folder / "report.json", report)
    out.print(score_table(scores, f"{files['synthetic']}"))
    out.print(f"report  {folder / 'report.html'}\nscores  {folder / 'report.json'}")


def schema_of(train: pd.DataFrame, name: str, path: Path | None) -> Schema:
    """Read the schema, or infer it from the training table; bounds are those of the training rows.

    Raises:
        TableError: the training table has no columns to score.
    """
    columns = train.drop(columns=SUBJECT, errors="ignore")
    if path is None:
        if columns.columns.empty:
            raise TableError(f"{name}: no columns besides the subject; at least one is needed")
        return infer_schema(columns)
    schema = Schema.load(path)
    return fit_bounds(schema, schema.validate(train, name))


def check_subjects(frames: dict[str, pd.DataFrame], files: dict[str, Path]) -> None:
    """Raise a ``TableError`` if a subject is in both real tables: such a holdout is no control."""
    if not all(SUBJECT in frames[name] for name in ("train", "holdout")):
        return
    both = int(frames["holdout"][SUBJECT].isin(frames["train"][SUBJECT]).sum())
    if both:
        raise TableError(
            f"{files['holdout']}: column {SUBJECT!r}: {both} rows belong to subjects of {files['train']};"
            " a subject must be in one split only"
        )


if __name__ == "__main__":
    run("evaluate", sys.argv[1:])
