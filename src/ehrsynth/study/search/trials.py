"""The trials of a search in optuna's database, which several processes may share and any of which may die.

A trial that is at work is owned by whoever holds its lock, and the lock is the operating system's: it dies with its
process, and the next one that asks for work goes on with the trial.

The first trial has the settings as they stand. Of those that follow every other one is drawn near the best that has
come to its end, for settings that somebody chose with care are beaten by small steps; the rest is optuna's to draw.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from ehrsynth.seeding import derive, numpy_rng
from ehrsynth.study.conf import Node
from ehrsynth.study.search.database import opened
from ehrsynth.study.search.spaces import Space, near, values_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

RANDOM_TRIALS = 6  # before the sampler learns from them


@dataclass(frozen=True)
class Taken:
    """A trial that this process works on.

    Attributes:
        trial: as optuna knows it.
        values: option -> value.
        lock: that says so.
        spent: processor seconds of the processes before, and, to be subtracted, of this one before it.
    """

    trial: "Trial"
    values: Node
    lock: FileLock
    spent: float

    @property
    def number(self) -> int:
        """Of the trial."""
        return self.trial.number

    @property
    def notes(self) -> dict[str, dict[str, Any]]:
        """What was scored so far, by the number of the checkpoint."""
        found: dict[str, dict[str, Any]] = self.trial.user_attrs.get("checkpoints", {})
        return found

    @property
    def seconds(self) -> float:
        """Of processor time that it has taken so far."""
        return round(self.spent + process_time(), 2)

    def note(self, **facts: Any) -> None:
        """Write down facts, and what the trial has cost so far."""
        for name, value in (facts | {"seconds": self.seconds}).items():
            self.trial.set_user_attr(name, value)


class Trials:
    """The trials of one search.

    Args:
        file: the database.
        name: of the search in it.
        space: what to draw.
        objectives: names of what is maximised.
        seed: of the draws; those of a trial depend on it and on the number of the trial.
        first: draws of the first trial, as far as they are not to be drawn.
        facts: about the search, for people.
    """

    def __init__(
        self, file: Path, name: str, *, space: Space, objectives: Sequence[str], seed: int, first: Node, facts: Node
    ) -> None:
        self.file, self.name, self.space, self.seed = file, name, space, seed
        file.parent.mkdir(parents=True, exist_ok=True)
        import optuna

        with self._alone():
            storage = opened(file)
            self.study = optuna.create_study(
                storage=storage, study_name=name, directions=["maximize"] * len(objectives), load_if_exists=True
            )
            for key in set(facts) - set(self.study.user_attrs):  # none is left, unless its maker was killed here
                self.study.set_user_attr(key, facts[key])
            if not self.all():
                self.study.enqueue_trial(first)
            self._ask_again()

    def all(self) -> "list[FrozenTrial]":
        """Return every trial there is, in the order in which they were asked for."""
        return self.study.get_trials(deepcopy=False)

    def take(self, limit: int, seconds: float | None) -> "Taken | bool":
        """Take a trial that nobody works on any more, or else a new one.

        Args:
            limit: trials that there shall be, whatever became of them.
            seconds: of processor time after which none is begun.

        Returns:
            The trial; else whether to ask again later, since one that others work on may still come back.
        """
        from optuna.trial import Trial

        with self._alone():
            trials = self.all()
            at_work = [trial for trial in trials if trial.state.name == "RUNNING"]
            for abandoned in at_work:
                if (lock := self._owned(abandoned.number)) is None:
                    continue
                if self.all()[abandoned.number].state.is_finished():  # since we looked
                    _let_go(lock)
                    continue
                self._sample_for(abandoned.number)
                return self._taken(Trial(self.study, abandoned._trial_id), lock)
            counted = sum(trial.state.is_finished() and trial.user_attrs.get("counts", True) for trial in trials)
            spent = sum(trial.user_attrs.get("seconds", 0.0) for trial in trials)
            if counted + len(at_work) >= limit or (seconds is not None and spent >= seconds):
                return bool(at_work)
            asked = sum(trial.state.name != "WAITING" for trial in trials)
            self._sample_for(asked)
            if asked == len(trials) and asked % 2 and (best := _best(trials)):
                self.study.enqueue_trial(near(self.space, best.params, numpy_rng(self.seed, "near", asked)))
            trial = self.study.ask()
            lock = self._owned(trial.number)
            assert lock is not None, "a new trial was taken before it was asked for"
            return self._taken(trial, lock)

    def _ask_again(self) -> None:
        """Let settings that the machine failed, and that were not tried since, be the next ones."""
        trials = self.all()
        for place, failed in enumerate(trials):
            since = [trial.system_attrs.get("fixed_params") or trial.params for trial in trials[place + 1 :]]
            if not failed.user_attrs.get("counts", True) and failed.params not in since:
                self.study.enqueue_trial(failed.params)

    def scores_at(self, checkpoint: int, but: Taken) -> list[float]:
        """Return the scores of all other trials that have come to a checkpoint, and were not failed by the machine."""
        others = [t.user_attrs for t in self.all() if t.number != but.number]
        noted = [facts.get("checkpoints", {}) for facts in others if facts.get("counts", True)]
        return [notes[str(checkpoint)]["score"] for notes in noted if str(checkpoint) in notes]

    def finish(self, taken: Taken, objectives: Sequence[float], **facts: Any) -> None:
        """Tell that a trial has come to its end."""
        taken.note(**facts)
        self.study.tell(taken.number, list(objectives))

    def end(self, taken: Taken, state: str, reason: str, *, counts: bool = True) -> None:
        """Tell why a trial was ended before.

        Args:
            taken: the trial.
            state: ``PRUNED`` or ``FAIL``.
            reason: for people.
            counts: whether its settings are the reason, and not the machine.
        """
        from optuna.trial import TrialState

        taken.note(reason=reason, counts=counts)
        self.study.tell(taken.number, state=TrialState[state])

    def release(self, taken: Taken) -> None:
        """Let go of a trial; one that was not told of its end is there for the next who asks."""
        _let_go(taken.lock)

    def _sample_for(self, number: int) -> None:
        """Give a trial a sampler of its own: a search that was interrupted draws what it would have drawn."""
        from optuna.samplers import TPESampler

        seed = derive(self.seed, "search", number) % 2**32
        self.study.sampler = TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS, multivariate=True)

    def _taken(self, trial: "Trial", lock: FileLock) -> Taken:
        spent = trial.user_attrs.get("seconds", 0.0) - process_time()
        return Taken(trial, values_of(self.space, trial), lock, spent)

    def _owned(self, number: int) -> FileLock | None:
        lock = FileLock(self.file.with_name(f".{self.name}-{number}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from taking a trial meanwhile: two would take the last one, or the same."""
        with FileLock(self.file.with_name(f".{self.file.name}.lock")):
            yield


def _best(trials: "Sequence[FrozenTrial]") -> "FrozenTrial | None":
    """Return the one of the highest score of those that came to their end; of equals the first."""
    finished = [trial for trial in trials if trial.state.name == "COMPLETE"]
    return max(finished, key=lambda trial: trial.user_attrs["chosen"]["score"], default=None)


def _let_go(lock: FileLock) -> None:
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
