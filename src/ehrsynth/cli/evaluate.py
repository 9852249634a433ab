"""``ehrsynth evaluate``: any real and any synthetic table -> report."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ehrsynth.cli.console import WATCH, out, say
from ehrsynth.cli.main import run
from ehrsynth.cli.options import names, optional_path, path
from ehrsynth.cli.tables import schema_table, score_table
from ehrsynth.errors import OptionError, expect
from ehrsynth.reporting.html import PRIVACY_PAGE
from ehrsynth.schema import Schema
from ehrsynth.study.build import build
from ehrsynth.study.evaluate import evaluate
from ehrsynth.study.evaluate_trajectories import evaluate_trajectories
from ehrsynth.study.judge import ROLES, Evaluation

OF_ROWS = {  # options that trajectories do not have, as they are when nobody asks for them
    **dict.fromkeys(("schema", "constraints", "sensitive", "sex_table", "population", "cache")),
    **{"subject": "subject_id", "drop": [], "outcomes": [], "min_level": 10},
}


def task(config: Mapping[str, Any]) -> None:
    """Score ``synthetic`` against ``train`` and ``holdout``; write the report into ``out``."""
    form = config["form"]
    expect(form in ("rows", "trajectories"), "form", form, "rows or trajectories")
    folder, tables = path(config, "out"), {role: path(config, role) for role in ROLES}
    if form == "trajectories":
        for name, usual in OF_ROWS.items():
            if config[name] not in (usual, None):
                raise OptionError(f"{name}: of form=rows alone; what trajectories hold is told by their codes")
        evaluation = evaluate_trajectories(
            *tables.values(),
            suite=build(config["suite"], "suite"),
            temporal=build(config["temporal"], "temporal"),
            min_patients=config["min_patients"],
            seed=config["seed"],
            out=folder,
            watch=WATCH,
        )
        tell(evaluation, tables["synthetic"], folder)
        return

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
    tell(evaluation, tables["synthetic"], folder)


def tell(evaluation: Evaluation, synthetic: Path, folder: Path) -> None:
    """Print what was found, and where the report is."""
    out.print(score_table(evaluation.scores, str(synthetic)))
    for finding in evaluation.findings[1:3]:
        say(f"{finding.question} {finding.answer} {finding.detail}")
    say(f"report  {folder / 'report.html'}", f"privacy {folder / PRIVACY_PAGE}", f"scores  {folder / 'report.json'}")


if __name__ == "__main__":
    run("evaluate", sys.argv[1:])
