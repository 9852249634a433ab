"""``ehrsynth evaluate``: any real and any synthetic table -> report."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ehrsynth.cli.console import WATCH, out
from ehrsynth.cli.main import run
from ehrsynth.cli.options import names, optional_path, path
from ehrsynth.cli.tables import schema_table, score_table
from ehrsynth.data.tables import Reading, Source, read_schema, read_tables
from ehrsynth.errors import FileError, OptionError
from ehrsynth.reporting.html import PRIVACY_PAGE
from ehrsynth.schema import Schema
from ehrsynth.study.conf import build
from ehrsynth.study.evaluate import ROLES, examine_tables, judge
from ehrsynth.study.spec import whole


def task(config: Mapping[str, Any]) -> None:
    """Score ``synthetic`` against ``train`` and ``holdout``; write the report into ``out``."""
    folder, seed = writable(path(config, "out")), whole("seed", config["seed"])
    given, constraints, cache = (optional_path(config, key) for key in ("schema", "constraints", "cache"))
    known = None if given is None else Schema.load(given)
    reading = Reading(known, str(config["subject"]), names(config, "drop"), names(config, "outcomes"))
    suite = build(config["suite"], "suite")
    sources = {role: Source.of(role, path(config, role)) for role in ROLES}

    schema = read_schema(sources["train"], reading)
    if known is None:
        save(schema, folder / "schema.json")
        out.print(schema_table(schema, f"schema inferred from {sources['train'].name}"))
        out.print(f"schema  {folder / 'schema.json'}; edit it and pass it as schema= to override")
        if not schema.outcomes:
            out.print("no outcome: utility is not measured; name what to predict with outcomes=[COLUMN]")
    evidence = examine_tables(read_tables(sources, schema, reading), sources, constraints, cache)
    for fact, text in evidence.facts.items():
        out.print(f"{fact}: {text}")
    for warning in evidence.warnings:
        WATCH.warn(warning)
    with WATCH.steps("evaluating", 6 * len(suite.evaluators)) as step:
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


def save(schema: Schema, file: Path) -> None:
    """Write the schema; a ``FileError`` says why it cannot be."""
    try:
        schema.save(file)
    except OSError as error:
        raise FileError(f"{file}: cannot be written ({error.strerror})") from None


if __name__ == "__main__":
    run("evaluate", sys.argv[1:])
