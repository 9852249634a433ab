"""What a metric is: the one place that knows its direction, its range and how to read it."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher"]

JMIR = "Yan et al., JMIR AI 2024 (tutorial)"
BENCHMARK = "Yan et al., Nature Communications 2022"
EHRDIFF = "Yuan et al., TMLR 2024 (EHRDiff)"


@dataclass(frozen=True)
class Card:
    """The label on a metric.

    Attributes:
        name: ``family/metric``, as in ``report.json``.
        direction: whether lower or higher is better.
        low, high: the range of possible values; ``inf`` where there is no bound.
        definition: the formula in words, with the symbols of the docs (R, H, S, p, B, C).
        reading: plain language for a privacy officer, including what the metric cannot tell.
        paper: where it comes from.
        unit: of the value, empty for a pure number.
    """

    name: str
    direction: Direction
    low: float
    high: float
    definition: str
    reading: str
    paper: str
    unit: str = ""

    @property
    def family(self) -> str:
        """``fidelity``, ``utility``, ``privacy``, ``validity`` or ``fairness``."""
        return self.name.split("/", 1)[0]
