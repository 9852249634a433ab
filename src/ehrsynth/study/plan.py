"""Which runs a study is to have: noted before the first begins, so that the missing can be told from the unasked."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ehrsynth.files import read_object, write_json
from ehrsynth.study.shared import owned

FILE = "plan.json"


@dataclass(frozen=True)
class Planned:
    """A run of a study.

    Attributes:
        run: its folder below the study's, ``MODEL/RUN_ID``; empty if the job was refused before it had one.
        command: that asks for it.
        refused: why it cannot begin, if so.
    """

    run: str
    command: str
    refused: str = ""

    @property
    def known_by(self) -> str:
        """What tells it from the others."""
        return self.run or self.command


def planned(study: Path) -> list[Planned]:
    """Return the runs that were asked for in a study, in this order; none if it grew one by one.

    Raises:
        FileError: the note is damaged.
    """
    file = study / FILE
    if not file.is_file():
        return []
    wanted = {"run": str, "command": str, "refused": str}
    return [Planned(**{name: entry[name] for name in wanted}) for entry in read_object(file, runs=[wanted])["runs"]]


def plan(study: Path, asked: Iterable[Planned], say: Callable[[str], None]) -> None:
    """Add runs to those that were asked for; one that was refused and is asked for in other words stays refused."""
    with owned(study / f".{FILE}.lock", f"planning {study}", say):
        known = {each.known_by: each for each in planned(study)}
        new = {each.known_by: each for each in asked}
        begun = {each.command for each in new.values() if each.run}
        kept = {key: each for key, each in known.items() if each.run or each.command not in begun}
        write_json(study / FILE, {"version": 1, "runs": [asdict(each) for each in (kept | new).values()]})
