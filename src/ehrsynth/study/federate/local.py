"""What a site does in a round: it goes on training from the weights it was sent, and sends back its own.

Optimizers, with all they remember, stay at the site, in its last checkpoint: so a site goes on as an uninterrupted
training does, but for the weights, and a single site trains exactly as ``train`` would.
"""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.callbacks.evaluate import ScoreCheckpoints, checkpoint_path
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.evaluation.score import Score
from ehrsynth.files import write_bytes
from ehrsynth.models.base import SyntheticModel, read_checkpoint
from ehrsynth.seeding import derive
from ehrsynth.study import fit
from ehrsynth.study.federate.averaging import State, snapshot
from ehrsynth.study.federate.sites import Site
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import Spec
from ehrsynth.study.watch import NOBODY
from ehrsynth.tracking import About, Tracker


class LastCheckpoint(ScoreCheckpoints):
    """Stop after so many epochs, with a checkpoint and no scores.

    Args:
        until: epochs, all rounds together.
        folder: of the site.
        every: epochs from one checkpoint to the next; None keeps the last alone.
    """

    def __init__(self, *, until: int, folder: Path, every: int | None = None) -> None:
        super().__init__(rows=0, seed=0, every=every or until, folder=folder, show=lambda row: None)
        self.until = until

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.until
        super().on_train_epoch_end(trainer, pl_module)

    @override
    def drawn(self, trainer: pl.Trainer, model: pl.LightningModule, epoch: int) -> None:
        return None

    @override
    def scores(self, drawn: Any) -> list[Score]:
        return []

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return nothing of checkpoints before: they do not stay."""
        return {"scored": []}


def site_spec(spec: Spec, site: str, sites: int) -> Spec:
    """Return the training of one of so many sites: a stream of its own, but for a single site that of the run."""
    return spec if sites == 1 else replace(spec, seed=derive(spec.seed, "site", site))


def site_folder(run: Path, site: Site) -> Path:
    """Return where a site keeps its checkpoints."""
    return run / "sites" / f"{site.number:02d}"


def begun_at(spec: Spec, site: Site, weights: State) -> dict[str, Tensor]:
    """Return the weights that a site would begin with: those it was sent, and what a look at its rows changes."""
    model, data = _ready(spec, site)
    model.load_state_dict(weights)
    model.observe(data.filled)
    return snapshot(model.state_dict())


def trained_at(spec: Spec, site: Site, weights: State, done: int, until: int, folder: Path) -> dict[str, Tensor]:
    """Train at a site, and return its weights.

    Args:
        spec: of its training, ``site_spec``.
        site: whose rows are trained on.
        weights: to go on from.
        done: epochs that it has trained before.
        until: epochs that it shall have trained then.
        folder: where it keeps its checkpoints.

    Raises:
        TrainingError: the loss became NaN or infinite.
    """
    model, data = _ready(spec, site)
    model.hold_out(data.unseen)
    _forget(folder, lambda epoch: epoch > done)  # of a round that was broken off
    if done:
        before = checkpoint_path(folder, done)
        content = BytesIO()
        torch.save({**read_checkpoint(before), "state_dict": dict(weights)}, content)
        write_bytes(before, content.getvalue())
    else:
        model.load_state_dict(weights)
    last = LastCheckpoint(until=until, folder=folder)
    about = About("", spec.model_name, spec.seed, site.matrix.name, site.matrix.fingerprint, folder.name)
    tracker = Tracker([], about, NOBODY.say)
    fit.train(spec, model, data, last, (), RunFolder(folder), tracker, NOBODY)
    return snapshot(model.state_dict())


def forget_before(folder: Path, epochs: int) -> None:
    """Remove the checkpoints of a site from before so many epochs: no round will go on from them."""
    _forget(folder, lambda epoch: epoch < epochs)


def _ready(spec: Spec, site: Site) -> tuple[SyntheticModel, EhrDataModule]:
    model, data = fit.parts(spec, site.matrix, NOBODY)
    data.setup("fit")
    fit.bind_rules(spec, model, site.matrix)
    return model, data


def _forget(folder: Path, which: Callable[[int], bool]) -> None:
    for file in (folder / "checkpoints").glob("epoch=*.ckpt"):
        if which(int(file.stem.removeprefix("epoch="))):
            file.unlink()
