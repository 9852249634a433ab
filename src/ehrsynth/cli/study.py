"""What happens when a sweep is over: the finished runs of its study are ranked."""

from pathlib import Path
from typing import ClassVar

from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig

from ehrsynth.cli.console import out
from ehrsynth.cli.rank import find_runs, rank, write_ranking
from ehrsynth.cli.run_folder import RunFolder
from ehrsynth.cli.tables import ranking_table


class StudyEnd(Callback):
    """Remember which sweep is running, so that it can be ranked when it is over, failed jobs or not.

    Hydra calls ``on_multirun_end`` only if every job succeeded; the start it always announces.
    """

    config: ClassVar[DictConfig | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        """Note the config of the sweep."""
        StudyEnd.config = config


def matrix_folder(cfg: DictConfig) -> Path:
    """Return the matrix a run works on: ``data.matrix``, or where the simulated one is kept."""
    return Path(cfg.paths.matrices) / f"demo-n{cfg.data.n}" if cfg.data.matrix is None else Path(cfg.data.matrix)


def study_folder(cfg: DictConfig) -> Path:
    """Return the folder of a study; without a name of its own it has the name of the matrix."""
    return Path(cfg.paths.runs) / (cfg.study or matrix_folder(cfg).resolve().name)


def finish_sweep() -> None:
    """Print the ranking of the sweep that just ended and where its results are; nothing after a single run."""
    cfg, StudyEnd.config = StudyEnd.config, None
    if cfg is None:
        return
    folder = study_folder(cfg)
    if not list(folder.glob("*/*/report.json")):
        return  # every job failed; their errors have been printed
    runs = find_runs(f"{folder}/*/*")
    ranking = rank(runs, instantiate(cfg.profile), seed=0)
    out.print(ranking_table(ranking))
    report = write_ranking(folder / "ranking.csv", ranking, runs)
    best = RunFolder(Path(next(run for run, group in ranking.groups.items() if group == ranking.table.index[0])))
    out.print(f"comparison report  {report}\nbest run's report  {best.html}\nsynthetic data     {best.synthetic}")
