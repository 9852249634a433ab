"""``ehrsynth evaluate``: any real and any synthetic table -> report."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ehrsynth.cli.console import WATCH, out
from ehrsynth.cli.main import run
from ehrsynth.cli.options import names, optional_path, path
from ehrsynth.cli.tables import schema_table, score_table
from ehrsynth.errors import OptionError
from ehrsynth.reporting.html import PRIVACY_PAGE
from ehrsynth.schema import Schema
from ehrsynth.study.build import build
from ehrsynth.study.evaluate import evaluate
from ehrsynth.study.judge import ROLES


def task(config: Mapping[str, Any]) -> None:
    """Score ``synthetic`` against ``train`` and ``holdout``; write the report into ``out``."""
    folder, tables = writable(path(config, "out")), {role: path(config, role) for role in ROLES}

    def show(schema: Schema) -> None:
        out.print(schema_table(schema, f"schema inferred from {tables['train']}"))
        out.print(f"schema  {folder / 'schema.json'}; edit it and pass it as schema= to override")
        if not schema.outcomes:
            out.print("no outcome: utility is not measured; name what to predict with outcomes=[COLUMN]")

    evaluation = evaluate(
        *tables.values(),
        suite=build(config["suite"], "suite"),
        schema=optional_path(config, "schema"),
        constraints=optional_path(config, "constraints"),
        subject=str(config["subject"]),
        drop=names(config, "drop"),
        outcomes=names(config, "outcomes"),
        min_level=config["min_level"],
        seed=config["seed"],
        cache=optional_path(config, "cache"),
        out=folder,
        watch=replace(WATCH, schema=show),
    )
    out.print(score_table(evaluation.scores, str(tables["synthetic"])))
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


if __name__ == "__main__":
    run("evaluate", sys.argv[1:])
