"""What happens when a sweep is over: the finished runs of its study are ranked."""

from pathlib import Path
from typing import ClassVar

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from ehrsynth.cli.console import say
from ehrsynth.cli.launch import plain
from ehrsynth.cli.rank import show
from ehrsynth.cli.texts import keep_words
from ehrsynth.errors import InputError
from ehrsynth.evaluation.ranking import Profile
from ehrsynth.files import writable
from ehrsynth.study.build import build
from ehrsynth.study.rank import rank
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import Spec
from ehrsynth.study.train import study_name


class StudyEnd(Callback):
    """Remember which sweep is running, so that it can be ranked when it is over, failed jobs or not.

    Hydra calls ``on_multirun_end`` only if every job succeeded; the start it always announces.

    Attributes:
        config: of the sweep; the swept values are not in it.
        runs: the folders of the jobs that succeeded in this process.

    Args:
        mode: of Hydra, which keeps a note of a sweep below the folder of the runs.
        place: the folder of the runs.

    Raises:
        OptionError: a sweep is asked for, and there nothing can be written.
    """

    config: ClassVar[DictConfig | None] = None
    runs: ClassVar[list[RunFolder]] = []

    def __init__(self, mode: RunMode | None = None, place: object = ".") -> None:
        if mode == RunMode.MULTIRUN:
            writable("paths.runs", Path(str(place)))

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        """Note the config of the sweep."""
        keep_words(config, config.hydra.overrides.task)
        StudyEnd.config = config
        StudyEnd.runs.clear()


def finish_sweep() -> None:
    """Rank each study of the sweep that just ended and print where its results are; nothing after a single run."""
    cfg, StudyEnd.config = StudyEnd.config, None
    if cfg is None:
        return
    config = plain(cfg)
    # Jobs that a launcher ran in processes of their own are not in the list; their study is.
    studies: list[Path | None] = list(dict.fromkeys(run.path.parents[1] for run in StudyEnd.runs))
    for study in studies or [None]:
        try:
            if study is None:
                study = Path(config["paths"]["runs"]) / study_name(Spec.of(config, ""))
            print_ranking(study, build(config["profile"], "profile"))
        except InputError as error:
            say(f"{study or 'sweep'}: not ranked: {error}")


def print_ranking(study: Path, profile: Profile) -> None:
    """Print the ranking of a study's finished runs, write it beside them, and print three paths.

    Raises:
        InputError: there is no finished run, or the runs cannot be compared.
    """
    comparison = rank(f"{study}/*/*", profile)
    show(comparison)
    report = comparison.save(study / "ranking.csv")
    say(f"comparison report  {report}")
    for section in comparison.sections:
        best, on = comparison.best(section), f"  on {section.title}" if section.title else ""
        say(f"best run's report  {best.html}{on}", f"synthetic data     {best.synthetic}{on}")
