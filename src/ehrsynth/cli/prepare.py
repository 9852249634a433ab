"""``ehrsynth prepare``: raw tables -> a matrix folder."""

import sys
from collections.abc import Callable
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from ehrsynth.cli.console import out, steps
from ehrsynth.cli.main import run
from ehrsynth.cli.options import path, whole_number
from ehrsynth.cli.run_folder import PREPARED_BY
from ehrsynth.cli.tables import flow_table, matrix_table, table_one_table
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.prepare import Recipe, prepare
from ehrsynth.reporting.cohort_report import COHORT_PAGE, write_cohort_report


def task(cfg: DictConfig) -> Matrix:
    """Prepare ``cfg.source`` into ``cfg.out`` and print what became of its rows and columns."""
    with steps("preparing") as step:
        whole_number(cfg, "seed")
        matrix = prepare_from(cfg, path(cfg, "out"), step)
    for table in (flow_table(matrix), table_one_table(matrix), matrix_table(matrix)):
        out.print(table)
    out.print(f"matrix  {matrix.folder}\ncohort  {matrix.folder / COHORT_PAGE}")
    out.print(f"next    ehrsynth train data.matrix={matrix.folder}")
    return matrix


def prepare_from(cfg: DictConfig, folder: Path, progress: Callable[[str], None] = lambda step: None) -> Matrix:
    """Prepare what ``source``, ``cohort``, ``features``, ``preprocess``, ``split`` and ``constraints`` name.

    The page for people, ``cohort.html``, is written into the folder too.
    """
    made = {name: instantiate(cfg[name], _convert_="all") for name in PREPARED_BY if name != "constraints"}
    recipe = Recipe(**made, constraints=str(cfg.constraints))
    matrix = prepare(recipe, folder, progress=progress)
    write_cohort_report(matrix)
    return matrix


if __name__ == "__main__":
    run("prepare", sys.argv[1:])
