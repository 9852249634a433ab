"""A sweep is a study: its runs are planned, what they share is made, they are launched until all ended, and ranked."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from ehrsynth.cli.console import WATCH, err, say
from ehrsynth.cli.launch import composed, plain
from ehrsynth.cli.messages import failed, failure
from ehrsynth.cli.overrides import command_of
from ehrsynth.cli.rank import show
from ehrsynth.cli.texts import keep_words
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.errors import InputError, OptionError, TrainingError, expect
from ehrsynth.evaluation.ranking import Profile
from ehrsynth.files import writable
from ehrsynth.study.anchors import make_anchors
from ehrsynth.study.attempt import Attempt, forget
from ehrsynth.study.build import build
from ehrsynth.study.plan import Planned, plan
from ehrsynth.study.rank import rank
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import Spec
from ehrsynth.study.train import already_there, folder_of, open_data, study_folder


@dataclass
class Job:
    """One run of a sweep.

    Attributes:
        overrides: as Hydra takes them.
        spec: what they ask for.
        matrix, folder: of the run, once they are known.
        done: whether it has finished.
        error: why it was refused, or failed.
    """

    overrides: Sequence[str]
    spec: Spec
    matrix: Matrix | Trajectories | None = None
    folder: RunFolder | None = None
    done: bool = False
    error: Exception | None = None

    @property
    def left(self) -> bool:
        """Whether it has still to be carried out."""
        return not self.done and self.error is None

    @property
    def planned(self) -> Planned:
        """The job as the plan of its study has it."""
        if self.folder is None:
            return Planned("", self.spec.command, "" if self.error is None else failure(self.error))
        return Planned("/".join(self.folder.path.parts[-2:]), self.spec.command)

    def fail(self, error: Exception) -> None:
        """Take note of what prevents it, and say so."""
        self.error = error
        err.print(failed(self.overrides, error), soft_wrap=True)


class Sweep:
    """The runs that ``ehrsynth train -m`` asks for.

    Args:
        config: of the sweep; the swept values are not in it.
        jobs: overrides and config of each run.
        launcher: of Hydra: one run after the other, several processes, or a cluster.

    Raises:
        OptionError: nothing can be written where the runs go, or two options cannot be combined.
    """

    def __init__(
        self, config: DictConfig, jobs: Iterable[tuple[Sequence[str], DictConfig]], launcher: Launcher
    ) -> None:
        options = list(config.hydra.overrides.task)
        own = without_hydra(config)
        keep_words(own, options)
        self.config: dict[str, Any] = plain(own)
        writable("paths.runs", Path(str(self.config["paths"]["runs"])))
        expect(self.config["retry"] in (None, "failed"), "retry", self.config["retry"], "failed")
        self.launcher, self.kind = launcher, str(config.hydra.runtime.choices["hydra/launcher"])
        self.jobs = [
            Job(overrides, Spec.of(composed("train", without_hydra(of_job), options), command_of(overrides)))
            for overrides, of_job in jobs
        ]
        for job in self.jobs:
            require_combined(job.spec.trainer, self.kind)

    def carry_out(self, at_once: int | None) -> None:
        """Carry the runs out, whatever happens to single ones, and rank what is there.

        Args:
            at_once: how many the launcher is given at a time; all of them by default.

        Raises:
            EhrsynthError: of the first run that failed, when all others have ended.
        """
        studies = list(dict.fromkeys(study_folder(job.spec) for job in self.jobs))
        try:
            self._prepare(studies)
            while left := [job for job in self.jobs if job.left]:
                self._launch(left[: at_once or len(left)])
        finally:
            print_rankings(studies, build(self.config["profile"], "profile"))
        for job in self.jobs:
            if job.error is not None:
                raise job.error

    def _prepare(self, studies: Iterable[Path]) -> None:
        """Make what the runs share, learn what they are called, note them in their study, and see which are done."""
        matrices: dict[str, Matrix | Trajectories] = {}
        for job in self.jobs:
            with _noted(job):
                job.spec.check()
                made_of = json.dumps(
                    [job.spec.data["matrix"], job.spec.data["name"], job.spec.recipe, job.spec.privacy]
                )
                if made_of not in matrices:
                    matrices[made_of] = open_data(job.spec, WATCH)
                job.matrix, job.folder = matrices[made_of], folder_of(job.spec, matrices[made_of])
        for study in studies:
            plan(study, [job.planned for job in self.jobs if study_folder(job.spec) == study], WATCH.say)
        judged: set[str] = set()
        for job in self.jobs:
            if job.matrix is None or job.folder is None:
                continue
            with _noted(job):
                job.done = already_there(job.spec, job.folder, WATCH)
                self._leave_aside(job, job.folder)
                suite = json.dumps([job.matrix.fingerprint, job.spec.evaluation["full"], job.spec.evaluation["seed"]])
                # One process makes them when it comes to them; of several, all but one would wait.
                if self.kind != "basic" and job.left and isinstance(job.matrix, Matrix) and suite not in judged:
                    judged.add(suite)
                    make_anchors(job.spec, job.matrix, WATCH)

    def _leave_aside(self, job: Job, folder: RunFolder) -> None:
        last = None if job.done else Attempt.of(folder.path)
        if last is not None and last.hopeless:
            if self.config["retry"] == "failed":
                forget(folder.path)
            else:
                raise TrainingError(f"{folder.path}: {last.reason}; left aside, retry=failed tries it again")

    def _launch(self, batch: Sequence[Job]) -> None:
        """Have some runs carried out; those that a killed process leaves behind are still left afterwards."""
        before = [_trace(job) for job in batch]
        first = self.jobs.index(batch[0])
        try:
            results = self.launcher.launch([list(job.overrides) for job in batch], initial_job_idx=first)
        except Exception as error:  # a process was killed, and the launcher knows nothing of the others either
            for job, trace in zip(batch, before, strict=True):
                if _trace(job) != trace:
                    with _noted(job):
                        _look_after(job)
            if [_trace(job) for job in batch] == before:
                raise  # nothing has begun, and nothing would the next time
            left = sum(job.left for job in batch)
            say(f"{type(error).__name__}: a process of the sweep was killed; {left} of its runs are not done yet")
            return
        for job, result in zip(batch, results, strict=True):
            try:
                _ = result.return_value
                job.done = True
            except Exception as error:  # which the job has told
                job.error = error


@contextmanager
def _noted(job: Job) -> Iterator[None]:
    try:
        yield
    except (InputError, TrainingError) as error:
        job.fail(error)


def _look_after(job: Job) -> None:
    """Take note of how a run ended of which the launcher says nothing."""
    assert job.folder is not None
    job.done = job.folder.finished
    last = None if job.done else Attempt.of(job.folder.path)
    if last is not None and (last.hopeless or last.status == "failed"):
        raise TrainingError(f"{job.folder.path}: {last.reason}")


def _trace(job: Job) -> object:
    """Return what changes when a process works on a run."""
    assert job.folder is not None
    return job.folder.finished, Attempt.of(job.folder.path)


def without_hydra(config: DictConfig) -> DictConfig:
    """Return a config as a job gets it."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def require_combined(trainer: Mapping[str, Any], launcher: str) -> None:
    """Raise an ``OptionError`` if a launcher cannot carry out what a run asks of Lightning's Trainer."""
    strategy, devices = str(trainer["strategy"]), trainer["devices"]
    if launcher != "slurm" and strategy.startswith("ddp") and "fork" not in strategy:
        raise OptionError(
            f"trainer.strategy={strategy}: its processes would begin the whole sweep again; use"
            " trainer.strategy=ddp_fork_find_unused_parameters_true, or hydra/launcher=slurm"
        )
    if launcher in ("joblib", "ray") and devices != 1 and trainer["accelerator"] not in ("cpu", "auto"):
        raise OptionError(
            f"trainer.devices={devices}: hydra/launcher={launcher} gives every run one device; use trainer.devices=1,"
            " or leave the launcher out"
        )


def print_rankings(studies: Iterable[Path], profile: Profile) -> None:
    """Print the ranking of each study's finished runs, write it beside them, and print where the results are."""
    for study in studies:
        try:
            comparison = rank(f"{study}/*/*", profile)
        except InputError as error:  # there is no finished run, or they cannot be compared
            say(f"{study}: not ranked: {error}")
            continue
        show(comparison)
        report = comparison.save(study / "ranking.csv")
        say(f"comparison report  {report}")
        for section in comparison.sections:
            best, on = comparison.best(section), f"  on {section.title}" if section.title else ""
            say(f"best run's report  {best.html}{on}", f"synthetic data     {best.handed_over}{on}")
