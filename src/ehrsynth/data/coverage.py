"""What was understood of a source, by which means, and what fell through: on the screen, in provenance, in cohort.html.

A source says it of its events (``Source.coverage``), a feature of the words it met (``Feature.reconsidered``), and
the steps of preparation say which columns they left out or changed much (``changed``). What fewer than ten subjects
share is not named.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ehrsynth.disclosure import LEAST
from ehrsynth.schema import in_words

UNFIT = "dates, identifiers, free text"
CLIPPED = "numbers clipped to shared bounds"
RARE_WORDS = "levels that training rarely or never has"
EMPTY = "columns mostly missing"
_LEFT_OUT = {  # by step: why a column is, and the option
    UNFIT: (f"left out: {UNFIT}, or too many different words", ""),
    EMPTY: ("left out: mostly missing in training", "preprocess.max_missing=1"),
}
_CHANGED = {  # by step: what became of cells, from which share of a column's rows it is told, and the option
    CLIPPED: ("clipped to what ten training rows share", 0.1, "preprocess.bounds=exact"),
    RARE_WORDS: ("other, or a gap: words of too few training rows", 0.25, "preprocess.min_level=1"),
}


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
    return [asdict(line) for line in lines if line.count and not (line.domain and line.domain in asked)]


def changed(steps: Iterable[Mapping[str, Any]], training: int) -> list[Coverage]:
    """Return which steps left columns out, or changed so many cells of a column that its reader must know.

    Columns without any value in the ``training`` rows are nothing to miss.
    """
    lines = []
    for step in steps:
        found, rows = step["detail"], step["rows"]
        if step["step"] == EMPTY:
            found = {name: gaps for name, gaps in found.items() if gaps < training}
        if step["step"] in _LEFT_OUT and found:
            n, (means, option) = len(found), _LEFT_OUT[step["step"]]
            lines.append(Coverage(f"columns: {in_words(list(found))}", means, n, n + step["columns"], option))
        elif step["step"] in _CHANGED:
            means, least, option = _CHANGED[step["step"]]
            if many := {name: count for name, count in found.items() if count > least * rows}:
                what = f"cells of {in_words(list(many))}"
                lines.append(Coverage(what, means, sum(many.values()), rows * len(many), option))
    return lines
