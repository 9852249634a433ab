"""What happens when a sweep is over: the finished runs of its study are ranked."""

from pathlib import Path
from typing import ClassVar

from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig

from ehrsynth.cli.console import out
from ehrsynth.cli.rank import find_runs, rank, show, write_ranking
from ehrsynth.cli.run_folder import RunFolder
from ehrsynth.errors import InputError
from ehrsynth.evaluation.ranking import Profile


class StudyEnd(Callback):
    """Remember which sweep is running, so that it can be ranked when it is over, failed jobs or not.

    Hydra calls ``on_multirun_end`` only if every job succeeded; the start it always announces.

    Attributes:
        config: of the sweep; the swept values are not in it.
        runs: the folders of the jobs that succeeded in this process.
    """

    config: ClassVar[DictConfig | None] = None
    runs: ClassVar[list[RunFolder]] = []

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        """Note the config of the sweep."""
        StudyEnd.config = config
        StudyEnd.runs.clear()


def matrix_folder(cfg: DictConfig) -> Path:
    """Return the matrix a run works on: ``data.matrix``, or where the one it prepares is kept."""
    if cfg.data.matrix is not None:
        return Path(cfg.data.matrix)
    source = str(cfg.source["_target_"]).rsplit(".", 2)[-2]
    return Path(cfg.paths.matrices) / (cfg.data.name or (f"demo-n{cfg.source.n}" if source == "demo" else source))


def study_folder(cfg: DictConfig) -> Path:
    """Return the folder of a study; without a name of its own it has the name of the matrix."""
    return Path(cfg.paths.runs) / (cfg.study or matrix_folder(cfg).resolve().name)


def finish_sweep() -> None:
    """Rank each study of the sweep that just ended and print where its results are; nothing after a single run."""
    cfg, StudyEnd.config = StudyEnd.config, None
    if cfg is None:
        return
    # Jobs that a launcher ran in processes of their own are not in the list; their study is.
    studies = dict.fromkeys(run.path.parents[1] for run in StudyEnd.runs) or {study_folder(cfg): None}
    for study in studies:
        try:
            print_ranking(study, instantiate(cfg.profile))
        except InputError as error:
            out.print(f"{study}: not ranked: {error}")


def print_ranking(study: Path, profile: Profile) -> None:
    """Print the ranking of a study's finished runs, write it beside them, and print three paths.

    Raises:
        InputError: there is no finished run, or the runs cannot be compared.
    """
    runs = find_runs(f"{study}/*/*")
    ranking = rank(runs, profile, seed=0)
    show(ranking, runs)
    report = write_ranking(study / "ranking.csv", ranking, runs)
    best = RunFolder(Path(next(run for run, group in ranking.groups.items() if group == ranking.table.index[0])))
    out.print(f"comparison report  {report}\nbest run's report  {best.html}\nsynthetic data     {best.synthetic}")
