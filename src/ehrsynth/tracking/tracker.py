"""The trackers that a run reports to, opened and closed around it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from ehrsynth.errors import EhrsynthError
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.score import Score
from ehrsynth.tracking.destination import About, Asked, Destination, Ending, Outcome, Say, nested
from ehrsynth.tracking.mlflow import MlflowRun
from ehrsynth.tracking.tensorboard import EventFiles
from ehrsynth.tracking.wandb import WandbRun

Rows = Sequence[Mapping[str, Any]]

KINDS: tuple[type[Destination], ...] = (WandbRun, EventFiles, MlflowRun)
UNTOLD = ("logger", "paths")  # parts of a config that decide no result, and may hold an address with its password


class Tracker:
    """What a run reports to, besides its own folder.

    A tracker that fails costs what it was not told, never the run: the run folder has it all.

    Attributes:
        loggers: for the Trainer; empty when nothing is tracked.

    Args:
        destinations: opened.
        about: who the run is.
        say: takes a line about what a tracker could not be told.
    """

    def __init__(self, destinations: Sequence[Destination], about: About, say: Say) -> None:
        self.loggers: list[Logger] = [destination.logger for destination in destinations]
        self._destinations, self._about, self._say = destinations, about, say

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Log the resolved configuration, nested as ``conf/train.yaml`` has it, and who the run is."""
        kept = {key: value for key, value in nested(config).items() if key not in UNTOLD}
        for destination in self._destinations:
            with _careful(destination, self._say):
                destination.log_config({"run": asdict(self._about), **kept})

    def callback(self, cards: Sequence[Card], so_far: Callable[[], Rows]) -> pl.Callback:
        """Return the callback that counts in epochs, and tells a resumed run from its beginning.

        Args:
            cards: of the scores at checkpoints.
            so_far: gives the rows of epochs that a resumed run has got from its checkpoint.
        """
        for destination in self._destinations:
            with _careful(destination, self._say):
                destination.expect(cards)
        return _Epochs(so_far)

    def log_final(self, scores: Sequence[Score], figures: Mapping[str, Path], documents: Sequence[Path]) -> None:
        """Log the scores of the chosen checkpoint, the figures (PNG files), and the pages for people."""
        for destination in self._destinations:
            with _careful(destination, self._say):
                destination.log_outcome(Outcome(scores, figures, documents))


def require_login(asked: Asked) -> None:
    """Make sure that a run can be tracked as its ``logger`` asks, before anything that takes time.

    Where W&B is to be online it asks for its key at a terminal, now and not after hours.

    Raises:
        OptionError: an unknown mode, no key or a wrong one, no connection, or a package that is not installed.
    """
    for kind in KINDS:
        if kind.wanted(asked):
            kind.require(asked)


@contextmanager
def tracking(asked: Asked, about: About, folder: Path, say: Say) -> Iterator[Tracker]:
    """Open the trackers of one run, and close them with how it ended; of several processes only the first has any.

    Args:
        asked: ``mode``, ``project`` and ``entity`` of W&B, ``tensorboard``, ``mlflow``, whichever are there.
        about: who the run is.
        folder: of the run, where trackers keep their files.
        say: takes a line about where the run is told, and what could not be.

    Raises:
        OptionError: a tracker does not take the run.
    """
    opened: list[Destination] = []
    ending: Ending = "finished"
    reason = ""
    try:
        if getattr(rank_zero_only, "rank", 0) == 0:
            for kind in KINDS:
                if kind.wanted(asked):
                    opened.append(kind(asked, about, folder, say))
        yield Tracker(opened, about, say)
    except BaseException as error:
        ending, reason = _ended_by(error)
        raise
    finally:
        for destination in opened:
            with _careful(destination, say):
                destination.close(ending, reason)


@contextmanager
def _careful(destination: Destination, say: Say) -> Iterator[None]:
    """Say what goes wrong with a tracker, and go on."""
    try:
        yield
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        say(f"{destination.title} was not told everything ({why}); the run folder has it")


def _ended_by(error: BaseException) -> tuple[Ending, str]:
    """Return how a run ended and why; of errors that are not ours only the kind, for their words may quote the data."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "interrupted"
    return "failed", " ".join(str(error).split()) if isinstance(error, EhrsynthError) else type(error).__name__


class _Epochs(pl.Callback):
    """Let every logger count in epochs: steps are batches to one model, and two a batch to the next."""

    def __init__(self, so_far: Callable[[], Rows]) -> None:
        self.so_far = so_far

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell what a resumed run has behind it; a tracker that knows it already leaves it out."""
        if trainer.is_global_zero:
            for row in sorted(self.so_far(), key=lambda row: int(row["epoch"])):
                numbers = {name: value for name, value in row.items() if isinstance(value, float)}
                for logger in trainer.loggers:
                    logger.log_metrics(numbers, step=int(row["epoch"]))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give Lightning the epoch as the step under which it logs the losses."""
        if trainer.loggers and trainer.is_global_zero:
            pl_module.log("step", float(trainer.current_epoch + 1), rank_zero_only=True)
