"""Weights & Biases: one run there for each run id, with its scores on an axis of epochs."""

import shutil
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from os import environ
from pathlib import Path
from ssl import SSLError
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.card import Card
from ehrsynth.tracking.destination import About, Asked, Destination, Ending, Outcome, Say

MODES = ("offline", "online", "disabled")

LONGEST_TAG = 64  # characters
PATIENCE = 10.0  # seconds for an answer of the server before the training
UPLOAD = 300.0  # seconds for which the end of a run waits for the network; `wandb sync` sends what is left
OTHERWISE = "or use logger.mode=offline and, later, `wandb sync`"


def _require_answer(url: str) -> None:
    """Raise an ``OptionError`` if nobody answers: W&B would try again and again, and may not let the process end."""
    try:
        urlopen(url, timeout=PATIENCE).close()
    except HTTPError:
        pass  # that is an answer
    except (OSError, HTTPException) as error:
        if not isinstance(getattr(error, "reason", None), SSLError):  # W&B may know certificates that we do not
            raise OptionError(f"logger.mode=online: no answer from {url} ({error}); mend that, {OTHERWISE}") from None


class WandbRun(Destination):
    """A run at W&B: the study is its group, the model its job type.

    Offline nothing can be resumed: `wandb sync` would add what it sends to what was sent before. So what an earlier
    attempt has left is removed, the run is told from its beginning, and what is sent of it replaces what was sent.
    Online the server says how far the run was told.
    """

    title = "W&B"

    def __init__(self, asked: Asked, about: About, folder: Path, say: Say) -> None:
        wandb = _imported()
        online = asked["mode"] == "online"
        for left in folder.glob(f"wandb/offline-run-*-{about.run_id}"):
            shutil.rmtree(left)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=asked["project"],
                entity=asked["entity"],
                group=about.study,
                job_type=about.model,
                name=about.name,
                tags=[f"seed {about.seed}", about.data[:LONGEST_TAG]],
                id=None if "WANDB_SWEEP_ID" in environ else about.run_id,  # a sweep of W&B has given the run one
                resume="allow" if online else None,
                reinit="create_new",  # a notebook may have a run of its own
                dir=folder,
                mode=asked["mode"],
                settings=wandb.Settings(
                    console="off",
                    disable_git=True,
                    save_code=False,
                    silent=True,
                    finish_timeout=UPLOAD,
                    finish_timeout_raises=True,
                ),
            )
        except wandb.errors.Error as error:
            raise OptionError(f"logger.mode={asked['mode']}: {error}; mend that, {OTHERWISE}") from error
        self._about, self._say = about, say
        if self._run.resumed and self._run.summary.get("failure") is not None:
            del self._run.summary["failure"]
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")
        self.logger = _ByEpoch(self._run)
        if online:
            say(f"W&B  {self._run.url}")

    @classmethod
    def wanted(cls, asked: Asked) -> bool:
        """Whether it is asked for."""
        return "mode" in asked and asked["mode"] != "disabled"

    @classmethod
    def require(cls, asked: Asked) -> None:
        """Log in where runs are to be tracked online.

        Raises:
            OptionError: an unknown mode, an impossible project, no key or a wrong one, or no connection.
        """
        mode = asked["mode"]
        if mode not in MODES:
            raise OptionError(f"logger.mode={mode}: unknown; use {', '.join(MODES)}")
        wandb = _imported()
        try:
            wandb.Settings(project=asked["project"])
        except wandb.errors.Error as error:
            raise OptionError(f"logger.project={asked['project']}: {error}") from error
        if mode == "online":
            _require_answer(str(wandb.setup().settings.base_url))
            try:
                online = wandb.login()
            except wandb.errors.Error as error:
                raise OptionError(f"logger.mode=online: {error}; mend that, {OTHERWISE}") from error
            if not online:  # as a person, or WANDB_MODE, has said
                raise OptionError(
                    f"logger.mode=online: W&B was told to be offline; `wandb online` mends that, {OTHERWISE}"
                )

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Log it as it is nested: W&B compares by option."""
        self._run.config.update(dict(config), allow_val_change=True)

    def expect(self, cards: Sequence[Card]) -> None:
        """Let the summary keep the best and the last value of each score; a sweep knows them as ``METRIC.min``."""
        for card in cards:
            best = "min" if card.direction == "lower" else "max"
            self._run.define_metric(card.name, step_metric="epoch", summary=f"{best},last")

    def log_outcome(self, outcome: Outcome) -> None:
        """Log final scores and anchors in the summary, table and figures as media, the pages as an artifact."""
        wandb = _imported()
        self._run.summary.update(outcome.numbers)
        self._run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in outcome.figures.items()})
        columns, rows = outcome.table
        self._run.log({"scores": wandb.Table(columns=columns, data=rows)})  # here it asks the server, if it is online
        pages = wandb.Artifact(f"report-{self._about.run_id}", type="report")
        for document in outcome.documents:
            pages.add_file(str(document.absolute()), policy="immutable")  # it stays where it is, and no copy is made
        self._run.log_artifact(pages)

    def close(self, ending: Ending, reason: str) -> None:
        """Finish, as failed unless all was done."""
        if reason:
            self._run.summary["failure"] = reason
        try:
            self._run.finish(exit_code=0 if ending == "finished" else 1)
        except TimeoutError:
            place = self._run.settings.sync_dir
            self._say(f"W&B has not got all of the run; `wandb sync --include-online {place}` sends it again")


def _imported() -> Any:
    """Import W&B, which is slow, and which would report on itself to its makers, offline too."""
    environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


class _ByEpoch(WandbLogger):
    """Lightning's logger, with the epoch in every row in place of a count of steps."""

    def __init__(self, run: Any) -> None:
        super().__init__(project=run.project, experiment=run)
        self._known = int(run.summary.get("epoch") or 0) if run.resumed else 0

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # To what a model logs by batch Lightning adds the epoch, counted from 0.
        epoch = step if "epoch" not in metrics else int(metrics["epoch"]) + 1
        if epoch is None:
            self.experiment.log(dict(metrics))
        elif epoch > self._known:
            self.experiment.log({**metrics, "epoch": epoch})
