"""Lightning's Trainer: what of its options a model can take is known before the training, and said by name."""

import os
from collections.abc import Mapping, Sequence
from math import inf
from shutil import which
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy, Strategy

from ehrsynth.callbacks.processor_time import ProcessorTime
from ehrsynth.callbacks.tensor_float import TensorFloat
from ehrsynth.errors import OptionError, expect
from ehrsynth.models.base import SeededModel
from ehrsynth.study.build import build
from ehrsynth.study.spec import OURS, whole

PRECISIONS = {None: "32-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed", "64": "64-true"}
UNLIKE_OURS = {
    "val_check_interval": "there is no validation loop; evaluation.checkpoints says how often the model is scored",
    "barebones": "a run reports to its folder, which Lightning then forbids",
}


def require_options(options: Mapping[str, Any], model: SeededModel) -> None:
    """Raise an ``OptionError`` for an option of the Trainer that this model cannot take."""
    name = type(model).__name__
    for option, why in UNLIKE_OURS.items():
        if options.get(option):
            raise OptionError(f"trainer.{option}={options[option]}: {why}")
    own = {option: options.get(option, usual) for option, usual in OURS.items()}
    for option in ("tf32", "compile"):
        expect(isinstance(own[option], bool), f"trainer.{option}", own[option], "true or false")
    seconds = own["processor_seconds"]
    fits = seconds is None or (isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < inf)
    expect(fits, "trainer.processor_seconds", seconds, "a finite number above zero, or null,")
    if own["compile"] and not list(model.compilable()):
        raise OptionError(f"trainer.compile=true: {name} has no network that can be compiled; leave the option out")
    if own["compile"] and which(compiler := os.environ.get("CXX", "g++")) is None:
        raise OptionError(f"trainer.compile=true: the C++ compiler {compiler} was not found; install it, or set CXX")
    whole("trainer.accumulate_grad_batches", options.get("accumulate_grad_batches", 1), least=1)
    alone = f"{name} steps its optimizers itself, so that Lightning can neither clip its gradients nor add them up"
    for option, usual, instead in (
        ("gradient_clip_val", None, "leave the option out"),
        ("accumulate_grad_batches", 1, "leave the option out and take a larger data.batch_size"),
    ):
        if options.get(option, usual) != usual and not model.automatic_optimization:
            raise OptionError(f"trainer.{option}={options[option]}: {alone}; {instead}")
    precision = options.get("precision")
    known = PRECISIONS.get(precision if precision is None else str(precision), precision)
    expect(
        known in model.precisions, "trainer.precision", precision, f"one of {', '.join(model.precisions)} for {name}"
    )


def made_trainer(
    options: Mapping[str, Any],
    model: SeededModel,
    callbacks: Sequence[pl.Callback],
    loggers: Sequence[Logger],
    instead: Strategy | None = None,
) -> pl.Trainer:
    """Return the trainer of a run; ``compile`` compiles networks of the model.

    Args:
        options: of the trainer.
        model: to be trained.
        callbacks: ours.
        loggers: of the trackers.
        instead: strategy in place of that of the options.

    Raises:
        OptionError: Lightning does not take the options, or not on this machine, or not for this model.
    """
    of_lightning = {option: value for option, value in options.items() if option not in OURS}
    own = OURS | dict(options)
    first: list[pl.Callback] = [TensorFloat(allowed=own["tf32"])]
    if own["processor_seconds"] is not None:
        first.append(ProcessorTime(own["processor_seconds"]))
    try:
        trainer: pl.Trainer = build(of_lightning, "trainer", late=True)(
            callbacks=[*first, *callbacks],
            logger=loggers,
            **({} if instead is None else {"strategy": instead}),
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
    if own["compile"]:
        for network in model.compilable():
            network.forward = torch.compile(network.forward)  # type: ignore[method-assign]
    return trainer
