"""What a person at a terminal sees: progress bars on stderr, results on stdout.

Whatever is shown may hold names from strangers' tables and folders, so nothing of it can steer the terminal.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment

from ehrsynth.cli.tables import checkpoint_line
from ehrsynth.study.watch import Advance, Step, Watch
from ehrsynth.words import printable


class _Harmless(RenderHook):
    """Show what is printed without the escapes that stand in its texts; Rich's own are none of these."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Wrap everything."""
        return [_Shown(renderable) for renderable in renderables]


class _Shown:
    def __init__(self, renderable: ConsoleRenderable) -> None:
        self.renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.renderable, options):
            yield segment if segment.control else Segment(printable(segment.text, keep="\n"), segment.style)


class Terminal(Console):
    """A console for texts as they are: nothing in them is markup, or obeyed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)
        self.push_render_hook(_Harmless())

    def on_broken_pipe(self) -> None:
        """Go on in silence when nobody reads any more, as after ``| head``: the results are on the disk."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()  # None where it was closed


WIDTH = None if _is_terminal(sys.stdout) else 140  # a file or a pipe has no width of its own; 80 would cut the tables

err = Terminal(stderr=True)
# At a terminal both are one, or a line of results would be written into a bar that is still shown.
together = _is_terminal(sys.stdout) and _is_terminal(sys.stderr)
out = err if together else Terminal(soft_wrap=True, width=WIDTH)


def say(*lines: str, style: str | None = None) -> None:
    """Print lines of results; a name in them makes no further line."""
    out.print("\n".join(map(printable, lines)), style=style)


def warn(line: str) -> None:
    """Print what must not be overlooked."""
    say(f"WARNING: {line}", style="bold red")


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Advance]:
    """Show a bar while the block runs, if stderr is a terminal.

    Yields:
        A function ``advance(done, total)`` that sets the bar; ``total=None`` keeps the one given here.
    """
    with _bar() as bar:
        task = bar.add_task(printable(what), total=total)

        def advance(done: int, new_total: int | None = None) -> None:
            bar.update(task, completed=done, total=total if new_total is None else new_total)

        yield advance


@contextmanager
def steps(what: str, total: int | None = None) -> Iterator[Step]:
    """Like ``progress`` for named steps: every call finishes one and names the next."""
    with _bar() as bar:
        task = bar.add_task(printable(what), total=total)
        done = 0

        def step(name: str) -> None:
            nonlocal done
            bar.update(task, completed=done, description=printable(f"{what}: {name}"))
            done += 1

        yield step


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


WATCH = Watch(
    say=say,
    warn=warn,
    checkpoint=lambda row: say(checkpoint_line(row)),
    bar=progress,
    steps=steps,
)
