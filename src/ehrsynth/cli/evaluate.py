"""``ehrsynth evaluate``: any real and any synthetic table -> report."""

import os
import sys
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig

from ehrsynth.cli.console import out, steps
from ehrsynth.cli.library import ROLES, examine, judge
from ehrsynth.cli.main import run
from ehrsynth.cli.options import path, whole_number
from ehrsynth.cli.tables import schema_table, score_table
from ehrsynth.data.tables import Reading, Source, read_schema, read_tables
from ehrsynth.errors import FileError, OptionError
from ehrsynth.reporting.html import PRIVACY_PAGE
from ehrsynth.schema import Schema


def task(cfg: DictConfig) -> None:
    """Score ``cfg.synthetic`` against ``cfg.train`` and ``cfg.holdout``; write the report into ``cfg.out``."""
    folder, seed = writable(path(cfg, "out")), whole_number(cfg, "seed")
    given, constraints, cache = (optional_path(cfg, key) for key in ("schema", "constraints", "cache"))
    known = None if given is None else Schema.load(given)
    reading = Reading(known, str(cfg.subject), names(cfg, "drop"), names(cfg, "outcomes"))
    suite = instantiate(cfg.suite)
    sources = {role: Source.of(role, path(cfg, role)) for role in ROLES}

    schema = read_schema(sources["train"], reading)
    if known is None:
        save(schema, folder / "schema.json")
        out.print(schema_table(schema, f"schema inferred from {sources['train'].name}"))
        out.print(f"schema  {folder / 'schema.json'}; edit it and pass it as schema= to override")
        if not schema.outcomes:
            out.print("no outcome: utility is not measured; name what to predict with outcomes=[COLUMN]")
    evidence = examine(read_tables(sources, schema, reading), sources, constraints, cache)
    for fact, text in evidence.facts.items():
        out.print(f"{fact}: {text}")
    for warning in evidence.warnings:
        out.print(f"WARNING: {warning}", style="bold red")
    with steps("evaluating", 6 * len(suite.evaluators)) as step:
        evaluation = judge(evidence, suite, seed, step)
    evaluation.save(folder)
    out.print(score_table(evaluation.scores, sources["synthetic"].name))
    for finding in evaluation.findings[1:3]:
        out.print(f"{finding.question} {finding.answer} {finding.detail}")
    out.print(f"report  {folder / 'report.html'}\nprivacy {folder / PRIVACY_PAGE}\nscores  {folder / 'report.json'}")


def writable(folder: Path) -> Path:
    """Return ``folder`` if it is one, or can be made, and files can be written into it; nothing is made yet.

    Raises:
        OptionError: it cannot.
    """
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise OptionError(f"out={folder}: {there} is a file; a folder for the report was expected")
    if not os.access(there, os.W_OK):
        raise OptionError(f"out={folder}: {there} cannot be written to")
    return folder


def optional_path(cfg: DictConfig, key: str) -> Path | None:
    """Return the path that ``key`` holds, if it holds one."""
    return None if cfg[key] is None else path(cfg, key)


def names(cfg: DictConfig, key: str) -> tuple[str, ...]:
    """Return the column names that ``key`` holds; one alone needs no brackets."""
    found = cfg[key]
    return tuple(map(str, found)) if isinstance(found, ListConfig) else () if found is None else (str(found),)


def save(schema: Schema, file: Path) -> None:
    """Write the schema; a ``FileError`` says why it cannot be."""
    try:
        schema.save(file)
    except OSError as error:
        raise FileError(f"{file}: cannot be written ({error.strerror})") from None


if __name__ == "__main__":
    run("evaluate", sys.argv[1:])
