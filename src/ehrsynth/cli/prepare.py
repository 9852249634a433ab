"""``ehrsynth prepare``: raw tables -> a matrix folder."""

import sys

from hydra.utils import instantiate
from omegaconf import DictConfig

from ehrsynth.cli.console import out, steps
from ehrsynth.cli.main import run
from ehrsynth.cli.options import path, whole_number
from ehrsynth.cli.tables import matrix_table
from ehrsynth.data.matrix import Matrix, prepare


def task(cfg: DictConfig) -> Matrix:
    """Prepare ``cfg.source`` into ``cfg.out`` and print what became of its rows and columns."""
    with steps("preparing") as step:
        matrix = prepare(
            instantiate(cfg.source),
            path(cfg, "out"),
            preprocess=instantiate(cfg.preprocess),
            split=instantiate(cfg.split),
            seed=whole_number(cfg, "seed"),
            progress=step,
        )
    out.print(matrix_table(matrix))
    out.print(f"matrix  {matrix.folder}\nnext    ehrsynth train data.matrix={matrix.folder}")
    return matrix


if __name__ == "__main__":
    run("prepare", sys.argv[1:])
