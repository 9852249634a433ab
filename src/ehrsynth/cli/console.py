"""What a person at a terminal sees: progress bars on stderr, results on stdout."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ehrsynth.cli.tables import checkpoint_line
from ehrsynth.study.watch import Advance, Step, Watch

WIDTH = None if sys.stdout.isatty() else 140  # a file or a pipe has no width of its own; 80 would cut the tables

err = Console(stderr=True, highlight=False, markup=False)
# At a terminal both are one, or a line of results would be written into a bar that is still shown.
together = sys.stdout.isatty() and sys.stderr.isatty()
out = err if together else Console(highlight=False, markup=False, soft_wrap=True, width=WIDTH)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Advance]:
    """Show a bar while the block runs, if stderr is a terminal.

    Yields:
        A function ``advance(done, total)`` that sets the bar; ``total=None`` keeps the one given here.
    """
    with _bar() as bar:
        task = bar.add_task(what, total=total)

        def advance(done: int, new_total: int | None = None) -> None:
            bar.update(task, completed=done, total=total if new_total is None else new_total)

        yield advance


@contextmanager
def steps(what: str, total: int | None = None) -> Iterator[Step]:
    """Like ``progress`` for named steps: every call finishes one and names the next."""
    with _bar() as bar:
        task = bar.add_task(what, total=total)
        done = 0

        def step(name: str) -> None:
            nonlocal done
            bar.update(task, completed=done, description=f"{what}: {name}")
            done += 1

        yield step


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


WATCH = Watch(
    say=lambda line: out.print(line),
    warn=lambda line: out.print(f"WARNING: {line}", style="bold red"),
    checkpoint=lambda row: out.print(checkpoint_line(row)),
    bar=progress,
    steps=steps,
)
