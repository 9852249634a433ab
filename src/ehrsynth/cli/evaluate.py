"""``ehrsynth evaluate``: any real and any synthetic table -> report."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ehrsynth.cli.console import WATCH, out, say
from ehrsynth.cli.main import run
from ehrsynth.cli.options import names, optional_path, path
from ehrsynth.cli.tables import schema_table, score_table
from ehrsynth.reporting.html import PRIVACY_PAGE
from ehrsynth.schema import Schema
from ehrsynth.study.build import build
from ehrsynth.study.evaluate import evaluate
from ehrsynth.study.judge import ROLES


def task(config: Mapping[str, Any]) -> None:
    """Score ``synthetic`` against ``train`` and ``holdout``; write the report into ``out``."""
    folder, tables = path(config, "out"), {role: path(config, role) for role in ROLES}

    def show(schema: Schema) -> None:
        out.print(schema_table(schema, f"schema inferred from {tables['train']}"))
        say(f"schema  {folder / 'schema.json'}; edit it and pass it as schema= to override")
        if not schema.outcomes:
            say("no outcome: utility is not measured; name what to predict with outcomes=[COLUMN]")

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
        say(f"{finding.question} {finding.answer} {finding.detail}")
    say(f"report  {folder / 'report.html'}", f"privacy {folder / PRIVACY_PAGE}", f"scores  {folder / 'report.json'}")


if __name__ == "__main__":
    run("evaluate", sys.argv[1:])
