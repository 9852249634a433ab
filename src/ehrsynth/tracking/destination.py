"""What a tracker is told of a run, whichever it is: who the run is, what it was made of, how it came out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pytorch_lightning.loggers import Logger

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.score import ANCHORS, Score

Ending = Literal["finished", "failed", "interrupted"]
Say = Callable[[str], None]
Asked = Mapping[str, Any]  # ``logger`` of a configuration: the options of all trackers that are asked for


@dataclass(frozen=True)
class About:
    """Who a run is.

    Attributes:
        study: its runs are compared with one another.
        model: that it trains.
        seed: of weights, batches and samples.
        data: name of the matrix.
        fingerprint: of the matrix.
        run_id: identity of the run, so that a resumed one continues.
    """

    study: str
    model: str
    seed: int
    data: str
    fingerprint: str
    run_id: str

    @property
    def name(self) -> str:
        """Display name of the run."""
        return f"{self.model}-seed{self.seed}-{self.run_id}"


@dataclass(frozen=True)
class Outcome:
    """How a run came out.

    Attributes:
        scores: of the chosen checkpoint, with their anchors.
        figures: PNG files by name.
        documents: the report, the privacy page, the card.
    """

    scores: Sequence[Score]
    figures: Mapping[str, Path]
    documents: Sequence[Path]

    @property
    def numbers(self) -> dict[str, float]:
        """``final/METRIC``, and beside it ``anchor/NAME/METRIC`` for each stand-in."""
        found = {f"final/{score.metric}": score.value for score in self.scores}
        found |= {f"anchor/{name}/{score.metric}": score.anchors.get(name) for score in self.scores for name in ANCHORS}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def table(self) -> tuple[list[str], list[list[str | float | None]]]:
        """Columns and rows of the scores; why one failed stays in the report, for a library's words may quote data."""
        columns = ["metric", "value", "low", "high", *ANCHORS, "direction", "status"]
        rows = [
            [s.metric, s.value, *(s.ci or (None, None)), *map(s.anchors.get, ANCHORS), s.direction, s.status]
            for s in self.scores
        ]
        return columns, rows


class Destination(ABC):
    """A place where a run is told, besides its own folder.

    Attributes:
        title: of the place, for messages.
        logger: for the Trainer; a step of it is an epoch, which means the same in every model.

    Args:
        asked: the options of all trackers.
        about: who the run is.
        folder: of the run.
        say: takes a line about where the run is told, and what could not be.

    Raises:
        OptionError: the place does not take the run.
    """

    title: ClassVar[str]
    logger: Logger

    @abstractmethod
    def __init__(self, asked: Asked, about: About, folder: Path, say: Say) -> None: ...

    @classmethod
    @abstractmethod
    def wanted(cls, asked: Asked) -> bool:
        """Whether it is asked for."""

    @classmethod
    @abstractmethod
    def require(cls, asked: Asked) -> None:
        """Raise an ``OptionError`` if it cannot be had, before anything that takes time."""

    @abstractmethod
    def log_config(self, config: Mapping[str, Any]) -> None:
        """Log what the run was made of."""

    def expect(self, cards: Sequence[Card]) -> None:  # noqa: B027  # not every place knows better from worse
        """Learn which scores checkpoints will have, and which way they are better."""

    @abstractmethod
    def log_outcome(self, outcome: Outcome) -> None:
        """Log how the run came out."""

    @abstractmethod
    def close(self, ending: Ending, reason: str) -> None:
        """Mark how the run ended, and why if it has not finished; nothing is told after it."""


def nested(config: Any) -> Any:
    """Return a configuration with lists of objects as mappings, so that two of them differ option by option."""
    if isinstance(config, Mapping):
        return {str(key): nested(value) for key, value in config.items()}
    if (
        isinstance(config, list)
        and config
        and all(isinstance(entry, Mapping) and "_target_" in entry for entry in config)
    ):
        names = [str(entry["_target_"]).rpartition(".")[2] for entry in config]
        counted = [f"{name} {names[:place].count(name) + 1}" for place, name in enumerate(names)]
        return {name.removesuffix(" 1"): nested(entry) for name, entry in zip(counted, config, strict=True)}
    return config
