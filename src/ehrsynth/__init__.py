"""ehrsynth: train, judge, choose and hand over generators of synthetic electronic health records.

``ehrsynth.evaluate(train, holdout, synthetic)`` scores any synthetic table; the rest is the ``ehrsynth`` command.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ehrsynth.cli.library import Evaluation as Evaluation
    from ehrsynth.cli.library import evaluate as evaluate

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what evaluates when it is first asked for, so that the command starts in no time."""
    if name in ("evaluate", "Evaluation"):
        return getattr(import_module("ehrsynth.cli.library"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
