"""Judge a generator while it trains: sample, score, write the scores, keep the weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from typing_extensions import override

from ehrsynth.chunks import write_table
from ehrsynth.data.encoding import rescaled
from ehrsynth.errors import OptionError
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.suite import FittedSuite
from ehrsynth.files import aside_of, put_in_place
from ehrsynth.layout import Records
from ehrsynth.models.base import SyntheticModel
from ehrsynth.sampling import Calibration, Ruled, sample_records
from ehrsynth.sampling.targets import Targets
from ehrsynth.seeding import derive

STATE = "EvaluateCheckpoints"  # under which a checkpoint holds the scores so far


class ScoreCheckpoints(pl.Callback, ABC):
    """Score the model every few epochs and save a checkpoint beside each row of ``metrics.csv``.

    Every draw comes from a stream of its own, so training with and without this callback gives
    identical weights. Scores reach every logger, whose step is the epoch. Rank 0 scores what is drawn.

    Args:
        rows: synthetic records to draw for scoring.
        seed: of the sampling; the same at every checkpoint, so that scores differ by the model only.
        every: epochs between evaluations; the last epoch is always evaluated.
        folder: the run folder.
        show: called with the row just scored, for people who watch.
    """

    def __init__(
        self, *, rows: int, seed: int, every: int, folder: Path, show: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self.rows = rows
        self.seed = seed
        self.every = every
        self.folder = folder
        self.show = show
        self.scored: list[dict[str, Any]] = []

    @property
    @override
    def state_key(self) -> str:
        """Return the name of the rows in a checkpoint, the same of all kinds of models."""
        return STATE

    @abstractmethod
    def drawn(self, trainer: pl.Trainer, model: pl.LightningModule, epoch: int) -> Any:
        """Return what the model draws; all ranks call it, and only what rank 0 returns counts."""

    @abstractmethod
    def scores(self, drawn: Any) -> list[Score]:
        """Return the scores of what was drawn."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let checkpoints be written where they are told to."""
        trainer.strategy.checkpoint_io = _InPlace()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate if it is time."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every and epoch != trainer.max_epochs and not trainer.should_stop:
            return
        path = checkpoint_path(self.folder, epoch)
        start = perf_counter()
        drawn = self.drawn(trainer, pl_module, epoch)
        if trainer.is_global_zero:
            row = self._row(drawn, epoch, path, start)
        trainer.strategy.barrier()
        aside = Path(trainer.strategy.broadcast(str(aside_of(path))))  # one name for all ranks
        try:
            trainer.save_checkpoint(aside)
            if trainer.is_global_zero:
                put_in_place(aside, path)
        finally:
            if trainer.is_global_zero:
                aside.unlink(missing_ok=True)
        if trainer.is_global_zero:  # now that the scores are kept, and a resumed run will not find them anew
            numbers = {name: value for name, value in row.items() if isinstance(value, float)}
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step=epoch)
        trainer.strategy.barrier()

    def _row(self, drawn: Any, epoch: int, path: Path, start: float) -> dict[str, Any]:
        scores = self.scores(drawn)
        row: dict[str, Any] = {"epoch": epoch, "checkpoint": path.name, "seconds": perf_counter() - start}
        row |= {score.metric: score.value for score in scores}
        self.scored.append(row)
        self._write()
        self.show(row)
        return row

    def _write(self) -> None:
        write_table(self.folder / "metrics.csv", pd.DataFrame(self.scored))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write the scores also when a finished training was only loaded again."""
        if trainer.is_global_zero and self.scored:
            self._write()

    def state_dict(self) -> dict[str, Any]:
        """Return the rows scored so far, so that a resumed run keeps them."""
        return {"scored": self.scored}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows of the run that is being resumed."""
        self.scored = list(state_dict["scored"])


class EvaluateCheckpoints(ScoreCheckpoints):
    """Ask a generator of rows the quick suite; every rank draws its share of the records.

    Args:
        suite: the quick suite, fitted on training and validation rows.
        ruled: rules that the records must keep. Of a model that hardly keeps any yet, they are taken as they come.
        targets: that the records are calibrated to. Of a model that is too far from them, they are taken as they come.
        say: takes a line about that.
        options: of ``ScoreCheckpoints``.
    """

    def __init__(
        self,
        *,
        suite: FittedSuite,
        ruled: Ruled | None = None,
        targets: Targets | None = None,
        say: Callable[[str], None] = lambda line: None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.suite, self.ruled, self.targets, self.say = suite, ruled, targets, say

    @override
    def drawn(self, trainer: pl.Trainer, model: pl.LightningModule, epoch: int) -> Records | None:
        assert isinstance(model, SyntheticModel)
        found = self._drawn_together(trainer, model)
        if found is None and trainer.is_global_zero:
            found = self._drawn(model, epoch)
        return None if found is None else rescaled(found, model.schema, self.suite.real.schema)

    @override
    def scores(self, drawn: Records) -> list[Score]:
        return self.suite.score(drawn)

    def _drawn_together(self, trainer: pl.Trainer, model: SyntheticModel) -> Records | None:
        """Return what all processes have drawn, each its share, to the first one; None where that one draws alone."""
        rank, world = trainer.global_rank, trainer.world_size
        if world == 1 or world > self.rows or self.ruled is not None or self.targets is not None:
            return None  # rules and calibration are matters of the whole table
        share = self.rows * (rank + 1) // world - self.rows * rank // world
        mine = sample_records(model, share, derive(self.seed, f"rank {rank}"))
        parts: list[Any] | None = [None] * world if rank == 0 else None
        torch.distributed.gather_object(mine, parts)
        return None if parts is None else Records.joined(parts)

    def _drawn(self, model: SyntheticModel, epoch: int) -> Records:
        calibration = None if self.targets is None else Calibration(self.targets, required=False)
        try:
            synthetic = sample_records(model, self.rows, self.seed, ruled=self.ruled, keeping=calibration)
        except OptionError as error:
            if self.ruled is None:
                raise
            self.say(f"epoch {epoch}: {error}; scored with the records that break rules")
            synthetic = sample_records(model, self.rows, self.seed, keeping=calibration)
        if calibration is not None and calibration.refused:
            self.say(f"epoch {epoch}: {calibration}")
        return synthetic


def checkpoint_path(folder: Path, epoch: int) -> Path:
    """Return where the checkpoint after ``epoch`` epochs lies."""
    return folder / "checkpoints" / f"epoch={epoch:06d}.ckpt"


class _InPlace(TorchCheckpointIO):
    """Writes to the path itself: Lightning's own way leaves nameless files in the temporary folder if it is killed."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content.getbuffer())


def checkpoints_of(checkpoint: Mapping[str, Any]) -> list[str]:
    """Return the file names of a checkpoint and of all before it, as the callback kept them in it."""
    state = checkpoint.get("callbacks", {}).get(STATE, {})
    return [row["checkpoint"] for row in state.get("scored", [])]
