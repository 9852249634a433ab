"""``ehrsynth evaluate``: any real and any synthetic table -> report."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig

from ehrsynth.cli.console import out, steps
from ehrsynth.cli.main import run
from ehrsynth.cli.options import path, whole_number
from ehrsynth.cli.tables import score_table
from ehrsynth.data.encoding import Encoder, fit_bounds, infer_schema
from ehrsynth.data.split import require_rows
from ehrsynth.errors import TableError
from ehrsynth.evaluation.anchors import anchor_scores, with_anchors
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.files import read_table, sha256, write_json
from ehrsynth.reporting.gallery import report_figures
from ehrsynth.reporting.html import write_html
from ehrsynth.reporting.report import build_report
from ehrsynth.schema import SUBJECT, Schema, as_text


def task(cfg: DictConfig) -> None:
    """Score ``cfg.synthetic`` against ``cfg.train`` and ``cfg.holdout``; write the report into ``cfg.out``."""
    files = {name: path(cfg, name) for name in ("train", "holdout", "synthetic")}
    folder, seed = path(cfg, "out"), whole_number(cfg, "seed")
    schema, frames = read_tables(files, None if cfg.schema is None else path(cfg, "schema"))
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
        scores = suite.fit(real, seed).score(synthetic, seed, step)
        scores = with_anchors(scores, anchor_scores(suite, real, seed, step))
    hashes = {name: sha256(file) for name, file in files.items()}
    report = build_report(scores, real, synthetic, data=hashes)
    write_html(
        folder / "report.html",
        title=f"{files['synthetic'].name} against {files['train'].name}",
        facts={name: file.name for name, file in files.items()} | {"seed": str(seed)},
        rows=report["rows"],
        scores=scores,
        cards=suite.cards,
        figures=report_figures(real, synthetic, seed=seed),
        provenance={f"{k} version": v for k, v in report["versions"].items()} | hashes,
    )
    write_json(folder / "report.json", report)
    out.print(score_table(scores, f"{files['synthetic']}"))
    out.print(f"report  {folder / 'report.html'}\nscores  {folder / 'report.json'}")


def read_tables(files: Mapping[str, Path], schema_file: Path | None) -> tuple[Schema, dict[str, pd.DataFrame]]:
    """Read the tables alike, categorical columns as the text that stands in them.

    Args:
        files: ``train``, which decides about the bounds, ``holdout`` and ``synthetic``.
        schema_file: the schema, or None to infer it from the training table.

    Raises:
        InputError: a file is not readable, a real table has less than two rows, or the training table does not fit the
            schema or none can be inferred from it.
    """
    train = str(files["train"])
    known = infer_schema(read_table(files["train"]), train) if schema_file is None else Schema.load(schema_file)
    frames = {name: read_table(file, text=known.text_columns) for name, file in files.items()}
    for name in ("train", "holdout"):
        require_rows(frames[name], str(files[name]))
    if schema_file is None:  # again, now that text such as NA or None is known to be a level
        return infer_schema(frames["train"], train), frames
    return fit_bounds(known, known.validate(frames["train"], train)), frames


def check_subjects(frames: Mapping[str, pd.DataFrame], files: Mapping[str, Path]) -> None:
    """Raise a ``TableError`` if a subject is in both real tables: such a holdout is no control."""
    if not all(SUBJECT in frames[name] for name in ("train", "holdout")):
        return
    known, held_out = (as_text(frames[name][SUBJECT].dropna()) for name in ("train", "holdout"))
    both = int(held_out.isin(known).sum())
    if both:
        raise TableError(
            f"{files['holdout']}: column {SUBJECT!r}: {both} rows belong to subjects of {files['train']};"
            " a subject must be in one split only"
        )


if __name__ == "__main__":
    run("evaluate", sys.argv[1:])
