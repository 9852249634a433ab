"""``ehrsynth prepare``: raw tables -> a matrix folder."""

import sys
from collections.abc import Mapping
from typing import Any

from ehrsynth.cli.console import WATCH, out, say
from ehrsynth.cli.main import run
from ehrsynth.cli.options import path
from ehrsynth.cli.tables import coverage_table, flow_table, matrix_table, table_one_table
from ehrsynth.reporting.cohort_report import COHORT_PAGE, coverage_lines
from ehrsynth.study.prepare import made, recipe_of
from ehrsynth.words import option


def task(config: Mapping[str, Any]) -> None:
    """Prepare what the parts of a recipe name into ``out`` and print what became of its rows and columns."""
    matrix = made(recipe_of(config), path(config, "out"), WATCH)
    for table in (flow_table(matrix), table_one_table(matrix), matrix_table(matrix), coverage_table(matrix)):
        if table is not None:
            out.print(table)
    for line in coverage_lines(matrix.provenance):
        if line.option:
            say(f"{line.what}: {line.means}; the option that changes it:", f"        {line.option}")
    say(f"matrix  {matrix.folder}", f"cohort  {matrix.folder / COHORT_PAGE}")
    say(f"next    ehrsynth train {option('data.matrix', str(matrix.folder))}")


if __name__ == "__main__":
    run("prepare", sys.argv[1:])
