"""Experiment tracking; the only room that knows Weights & Biases, TensorBoard and MLflow.

The run's own ``metrics.csv`` and ``losses.csv`` are always written; trackers come on top, as many as ``logger=`` asks
for. They are local unless told otherwise, so that nothing leaves the machine without being asked to.

What they are told: the configuration without places and trackers, who the run is (study, model, seed, data, run id),
mean losses and scores of checkpoints by epoch, final scores beside their anchors, figures, ``report.html``,
``privacy.html`` and ``card.md``, and why a run failed; W&B adds the command and facts about the machine. All of it
are aggregates, never a row of a patient, real or synthetic, nor the weights of a model.
"""

from ehrsynth.tracking.destination import About
from ehrsynth.tracking.tracker import Tracker, require_login, tracking
from ehrsynth.tracking.wandb import MODES

__all__ = ["MODES", "About", "Tracker", "require_login", "tracking"]
