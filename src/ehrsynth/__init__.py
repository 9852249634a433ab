"""ehrsynth: train, judge, choose and hand over generators of synthetic electronic health records.

``prepare``, ``train``, ``generate``, ``evaluate``, ``rank``, ``compare``, ``search``, ``federate`` and ``verify`` are
what the verbs of the ``ehrsynth`` command call.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ehrsynth.study.compare import compare as compare
    from ehrsynth.study.evaluate import evaluate as evaluate
    from ehrsynth.study.evaluate_trajectories import evaluate_trajectories as evaluate_trajectories
    from ehrsynth.study.federate.carry_out import federate as federate
    from ehrsynth.study.generate import generate as generate
    from ehrsynth.study.judge import Evaluation as Evaluation
    from ehrsynth.study.prepare import prepare as prepare
    from ehrsynth.study.rank import rank as rank
    from ehrsynth.study.search import search as search
    from ehrsynth.study.train import train as train
    from ehrsynth.study.verify import verify as verify
    from ehrsynth.study.watch import Watch as Watch

__version__ = "0.1.0"

_HOMES = (
    {"Evaluation": "judge", "Watch": "watch", "evaluate_trajectories": "evaluate_trajectories"}
    | {"federate": "federate.carry_out"}
    | {verb: verb for verb in ("prepare", "train", "generate", "evaluate", "rank", "compare", "search", "verify")}
)


def __getattr__(name: str) -> Any:
    """Import a verb when it is first asked for, so that the command starts in no time."""
    if name in _HOMES:
        return getattr(import_module(f"ehrsynth.study.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
