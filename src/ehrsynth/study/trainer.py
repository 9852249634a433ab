"""Lightning's Trainer: what of its options a model can take is known before the training, and said by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from ehrsynth.errors import OptionError, expect
from ehrsynth.models.base import SyntheticModel
from ehrsynth.study.build import build
from ehrsynth.study.spec import whole

PRECISIONS = {None: "32-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed", "64": "64-true"}
UNLIKE_OURS = {
    "val_check_interval": "there is no validation loop; evaluation.checkpoints says how often the model is scored",
    "barebones": "a run reports to its folder, which Lightning then forbids",
}


def require_options(options: Mapping[str, Any], model: SyntheticModel) -> None:
    """Raise an ``OptionError`` for an option of the Trainer that this model cannot take."""
    name = type(model).__name__
    for option, why in UNLIKE_OURS.items():
        if options.get(option):
            raise OptionError(f"trainer.{option}={options[option]}: {why}")
    whole("trainer.accumulate_grad_batches", options.get("accumulate_grad_batches", 1), least=1)
    for option, usual in (("gradient_clip_val", None), ("accumulate_grad_batches", 1)):
        if options.get(option, usual) != usual and not model.automatic_optimization:
            raise OptionError(
                f"trainer.{option}={options[option]}: {name} steps its optimizers itself, so that Lightning can neither"
                " clip its gradients nor add them up; leave the option out"
            )
    precision = options.get("precision")
    known = PRECISIONS.get(precision if precision is None else str(precision), precision)
    expect(
        known in model.precisions, "trainer.precision", precision, f"one of {', '.join(model.precisions)} for {name}"
    )


def made_trainer(
    options: Mapping[str, Any], model: SyntheticModel, callbacks: Sequence[pl.Callback], loggers: Sequence[Logger]
) -> pl.Trainer:
    """Return the trainer of a run.

    Raises:
        OptionError: Lightning does not take the options, or not on this machine, or not for this model.
    """
    try:
        trainer: pl.Trainer = build(dict(options), "trainer", late=True)(
            callbacks=callbacks,
            logger=loggers,
            enable_autolog_hparams=False,  # they are told the whole configuration, which holds the model's options
        )
    except (TypeError, ValueError, ImportError, RuntimeError, MisconfigurationException) as error:
        raise OptionError(f"trainer: {error}") from error
    if isinstance(trainer.strategy, DDPStrategy):
        name, strategy = type(model).__name__, f"trainer.strategy={options['strategy']}"
        if not any(weights.requires_grad for weights in model.parameters()):
            raise OptionError(f"{strategy}: {name} has no weights to share among processes; use trainer.devices=1")
        if not model.automatic_optimization and not trainer.strategy._ddp_kwargs.get("find_unused_parameters"):
            raise OptionError(
                f"{strategy}: the networks of {name} take turns; use {options['strategy']}_find_unused_parameters_true"
            )
    return trainer
