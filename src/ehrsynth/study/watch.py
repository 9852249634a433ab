"""How a person follows what the functions of this room do; by default nobody does, and nothing is printed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from ehrsynth.schema import Schema

Advance = Callable[[int, int | None], None]
Step = Callable[[str], None]


def _nothing(*told: object) -> None:
    pass


@contextmanager
def _no_bar(what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    yield _nothing


@dataclass(frozen=True)
class Watch:
    """What is told, to whom.

    Attributes:
        say: takes a line about what happens.
        warn: takes what a reader must know before any number.
        schema: takes the columns that were inferred from a table.
        checkpoint: takes the scores of a checkpoint, by metric, with ``epoch``.
        bar: opens a bar ``(what, total)`` and gives a function ``(done, total)`` that sets it.
        steps: opens a bar ``(what, total)`` and gives a function that names the next step.
    """

    say: Callable[[str], None] = _nothing
    warn: Callable[[str], None] = _nothing
    schema: Callable[[Schema], None] = _nothing
    checkpoint: Callable[[Mapping[str, Any]], None] = _nothing
    bar: Callable[[str, int | None], AbstractContextManager[Advance]] = _no_bar
    steps: Callable[[str, int | None], AbstractContextManager[Step]] = _no_bar


NOBODY = Watch()
