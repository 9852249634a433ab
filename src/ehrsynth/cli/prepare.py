"""``ehrsynth prepare``: raw tables -> a matrix or trajectories folder."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from ehrsynth.cli.console import WATCH, out, say
from ehrsynth.cli.main import run
from ehrsynth.cli.options import path
from ehrsynth.cli.tables import coverage_table, flow_table, matrix_table, table_one_table, visits_table
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.prepare import TRAJECTORIES
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.reporting.cohort_report import COHORT_PAGE, coverage_lines
from ehrsynth.reporting.trajectories_report import TRAJECTORIES_PAGE
from ehrsynth.study.prepare import made, made_trajectories, recipe_of
from ehrsynth.words import option


def task(config: Mapping[str, Any]) -> None:
    """Prepare what the parts of a recipe name into ``out`` and print what became of its rows and columns."""
    recipe, folder = recipe_of(config), path(config, "out")
    if recipe.form == TRAJECTORIES:
        _show(trajectories := made_trajectories(recipe, folder, WATCH), visits_table(trajectories))
        say(f"visits  {trajectories.folder / TRAJECTORIES_PAGE}")
        data = option("data.matrix", str(trajectories.folder))
        say(f"next    ehrsynth train model=visits/chronicle profile=visits/course {data}")
        return
    _show(matrix := made(recipe, folder, WATCH))
    say(f"next    ehrsynth train {option('data.matrix', str(matrix.folder))}")


def _show(made: Matrix | Trajectories, *more: Table) -> None:
    """Print who was chosen, what became of rows and columns, and what was understood."""
    for table in (flow_table(made), table_one_table(made), matrix_table(made), *more, coverage_table(made)):
        if table is not None:
            out.print(table)
    for line in coverage_lines(made.provenance):
        if line.option:
            say(f"{line.what}: {line.means}; the option that changes it:", f"        {line.option}")
    form = "matrix" if isinstance(made, Matrix) else "folder"
    say(f"{form}  {made.folder}", f"cohort  {made.folder / COHORT_PAGE}")


if __name__ == "__main__":
    run("prepare", sys.argv[1:])
