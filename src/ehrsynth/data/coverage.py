"""What was understood of a source, by which means, and what fell through: on the screen, in provenance, in cohort.html.

A source says it of its events (``Source.coverage``), a feature of the words it met (``Feature.reconsidered``). What
fewer than ten subjects share is not named.
"""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ehrsynth.disclosure import LEAST


@dataclass(frozen=True)
class Coverage:
    """How many of some things are known by one means, or by none.

    Attributes:
        what: the things, such as ``events`` or ``race``.
        means: how they are known, or what became of them.
        count, of: how many, of how many.
        option: what on the command line would catch or change them, ready to be pasted; empty if nothing would.
        people: these are subjects, so that a count below ``LEAST`` is not told.
        domain: of the events, if this is worth telling only where no feature asks for that domain.
    """

    what: str
    means: str
    count: int
    of: int
    option: str = ""
    people: bool = False
    domain: str = ""

    @property
    def share(self) -> str:
        """Count and percentage in words."""
        if self.people and 0 < self.count < LEAST:
            return f"<{LEAST}"
        return f"{self.count:,} of {self.of:,} ({100 * self.count / self.of:.1f} %)"


def reported(lines: Iterable[Coverage], asked: Collection[str]) -> list[dict[str, Any]]:
    """Return the lines worth telling as plain data; ``asked`` are the domains that features ask for."""
    return [asdict(line) for line in lines if line.count and line.domain not in asked]
