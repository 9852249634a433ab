"""Experiment tracking; the only file that knows Weights & Biases.

The run's own ``metrics.csv`` is always written; W&B comes on top. It is offline unless told
otherwise, so that nothing leaves the machine without being asked to. Logged are the configuration,
scores, losses, figures and the report: aggregates, never a patient row.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger, WandbLogger

from ehrsynth.errors import OptionError

Mode = Literal["offline", "online", "disabled"]


class Tracker:
    """What a run reports to, besides its own folder.

    Attributes:
        loggers: for the Trainer; empty when tracking is disabled.
    """

    def __init__(self, loggers: Sequence[WandbLogger]) -> None:
        self.loggers: list[Logger] = list(loggers)
        self._wandb = list(loggers)

    def callback(self) -> pl.Callback:
        """Return the callback that closes the run in a forked rank, where its file would be lost."""
        return _FinishInFork(os.getpid())

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Log the resolved configuration."""
        for logger in self._wandb:
            logger.log_hyperparams(dict(config))

    def log_final(self, scores: Mapping[str, float], figures: Mapping[str, Path], report: Path) -> None:
        """Log the scores of the chosen checkpoint, the figures (PNG files) and the report."""
        if self._wandb:
            import wandb  # slow, and not wanted where nothing is tracked

        for logger in self._wandb:
            run = logger.experiment
            run.summary.update({f"final/{name}": value for name, value in scores.items()})
            run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()})
            run.log({"report": wandb.Html(report.read_text(encoding="utf-8"), inject=False)})


def require_login(mode: str) -> None:
    """Log in where runs are to be tracked online: at a terminal W&B asks for its key, now and not after hours.

    Raises:
        OptionError: an unknown mode, no key, or no connection.
    """
    if mode not in get_args(Mode):
        raise OptionError(f"logger.mode={mode}: unknown; use {', '.join(get_args(Mode))}")
    if mode == "online":
        import wandb

        try:
            wandb.login()
        except wandb.errors.Error as error:
            raise OptionError(f"logger.mode=online: {error} Or use logger.mode=offline") from error


@contextmanager
def tracking(
    *, mode: Mode, project: str, entity: str | None, group: str, name: str, run_id: str, folder: Path
) -> Iterator[Tracker]:
    """Open the loggers of one run and always finish them, or two jobs of a sweep would merge.

    Args:
        mode: ``offline`` (files in ``folder``, no connection), ``online``, or ``disabled``.
        project: W&B project.
        entity: W&B account or team; None takes the default one.
        group: the study; runs of a sweep are compared within it.
        name: display name of the run.
        run_id: identity of the run, so that a resumed one continues.
        folder: where W&B keeps its files.
    """
    if mode == "disabled":
        yield Tracker([])
        return
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(console="off", disable_git=True, save_code=False, silent=True)
    logger = WandbLogger(
        project=project, entity=entity, group=group, name=name, id=run_id, save_dir=folder, mode=mode, settings=settings
    )
    logger._wandb_init.pop("anonymous", None)  # Lightning always passes it, and W&B warns that it has no effect
    code = 1
    try:
        yield Tracker([logger])
        code = 0
    finally:
        wandb.finish(exit_code=code)


class _FinishInFork(pl.Callback):
    """Finish the W&B run in a process that was forked for a rank."""

    def __init__(self, parent: int) -> None:
        self.parent = parent

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Finish, unless this is the process that opened the run."""
        if os.getpid() != self.parent:
            import wandb

            wandb.finish()
