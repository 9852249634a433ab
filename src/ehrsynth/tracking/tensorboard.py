"""TensorBoard: event files in the run folder, so that ``tensorboard --logdir runs/STUDY`` shows the study."""

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger

from ehrsynth.errors import OptionError
from ehrsynth.tracking.destination import About, Asked, Destination, Ending, Outcome, Say

FOLDER = "tensorboard"


class EventFiles(Destination):
    """The event files of a run; each process that writes has one of its own, and makes it when it first has to.

    They are begun anew by every attempt, for the run is then told from its beginning.
    """

    title = "TensorBoard"
    logger: TensorBoardLogger

    def __init__(self, asked: Asked, about: About, folder: Path, say: Say) -> None:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        options = asked["tensorboard"]
        self.logger = TensorBoardLogger(folder, name="", version=FOLDER, default_hp_metric=False, **options)

    @classmethod
    def wanted(cls, asked: Asked) -> bool:
        """Whether it is asked for."""
        return "tensorboard" in asked

    @classmethod
    def require(cls, asked: Asked) -> None:
        """Raise an ``OptionError`` if the package is absent."""
        if find_spec("tensorboard") is None:
            raise OptionError(
                "logger=tensorboard needs the package tensorboard; pip install 'ehrsynth[trackers]' brings it"
            )

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Keep it: TensorBoard wants options together with the final scores."""
        self.logger.hparams = dict(config)

    def log_outcome(self, outcome: Outcome) -> None:
        """Log final scores and anchors beside the options, and the figures as images."""
        from matplotlib.image import imread

        self.logger.log_hyperparams(self.logger.hparams, outcome.numbers)
        for name, path in outcome.figures.items():
            self.logger.experiment.add_image(f"figures/{name}", imread(path), dataformats="HWC")

    def close(self, ending: Ending, reason: str) -> None:
        """Close the file; why a run failed is a text in it."""
        if reason:
            self.logger.experiment.add_text("failure", reason)
        self.logger.finalize(ending)
