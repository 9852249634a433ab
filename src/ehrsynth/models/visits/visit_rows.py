"""A visit, and what was before it, as a row of a table: so a model of rows can say what visits are like."""

import torch
from torch import Tensor

from ehrsynth.layout import Layout
from ehrsynth.models.visits.calendar import GAP, MEASURED, SEASON, STAY, towards_season
from ehrsynth.models.visits.history import YEAR, History
from ehrsynth.models.visits.markers import Signs
from ehrsynth.models.visits.numbers import Numbers
from ehrsynth.models.visits.stepwise import Step
from ehrsynth.schema import Column, Schema
from ehrsynth.visits import VisitSchema

VISITS = 8.0  # that a number of visits is told against
PAST, STATIC, CODE = "past ", "row ", "code "  # how names of columns begin; what is known before a visit, and codes
WINDOW = 100_000.0  # days since 1970, to both sides


class VisitRows:
    """The columns of visits: of the patient's row, of the past, and of the visit itself, which alone is to be drawn.

    Numbers of visits stand as places in their law, so they are all from 0 to 1.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        signs: of measurements.
    """

    def __init__(self, schema: Schema, visit_schema: VisitSchema, signs: Signs) -> None:
        self.signs = signs
        self.static = Layout.of(schema)
        self.kinds, self.codes = len(visit_schema.kinds), len(visit_schema.codes)
        self.measurements = len(visit_schema.measurements)
        kinds = tuple(map(str, range(self.kinds)))
        numbers = [f"{PAST}{name}" for name in ("number", "elapsed", "date", *SEASON)]
        maybe = [
            f"{PAST}gap",
            f"{PAST}stay",
            *(f"{PAST}{of} {i}" for of in ("value", "mean") for i in range(self.measurements)),
        ]
        maybe += ["gap", "stay"]
        maybe += [f"value {i}" for i in range(self.measurements)]
        columns = [  # outcomes, for ``Tally`` counts none of these
            Column(f"{CODE}{i}", "binary", role="outcome", domain=code.domain)
            for i, code in enumerate(visit_schema.codes)
        ]
        columns += [_of_row(column) for column in schema.columns]
        columns += [Column(f"{PAST}kind", "categorical", (*kinds, "none")), Column("kind", "categorical", kinds)]
        columns += [Column(name, "continuous", bounds=(0, 1)) for name in numbers]
        columns += [Column(name, "continuous", bounds=(0, 1), missing=True) for name in maybe]
        self.schema = Schema(tuple(columns))
        self.layout = Layout.of(self.schema)
        self.known = [name for name in self.schema.names if name.startswith((PAST, STATIC))]

    @property
    def latest_kinds(self) -> slice:
        """The places of the kinds of the visit before among the levels of all categories."""
        groups = self.layout.groups
        start = groups[f"{PAST}kind"].start - min(group.start for group in groups.values())
        return slice(start, start + self.kinds + 1)

    def of_past(self, past: History, numbers: Numbers) -> Tensor:
        """Return rows [k, p] of visits of which only what was before is known."""
        rows = torch.zeros(len(past.static), self.layout.width, device=past.static.device)
        for name, places in self.static.places.items():
            rows[:, self.layout.places[f"{STATIC}{name}"]] = past.static[:, places]
        self._level(rows, f"{PAST}kind", past.kinds)
        number = past.number.float()
        self._number(rows, f"{PAST}number", number / (number + VISITS))
        self._number(rows, f"{PAST}elapsed", past.elapsed / (past.elapsed + YEAR))
        date = (past.firsts + past.elapsed).float()
        self._number(rows, f"{PAST}date", ((date + WINDOW) / (2 * WINDOW)).clamp(0, 1))
        for name, towards in zip(SEASON, towards_season(past.firsts + past.elapsed).T, strict=True):
            self._number(rows, f"{PAST}{name}", (1 + towards) / 2)
        self._number(rows, f"{PAST}gap", numbers.place_of(GAP, past.gaps))
        self._number(rows, f"{PAST}stay", numbers.place_of(STAY, past.stays))  # a gap is from start to start
        values = past.valid(self.signs.of, self.signs.usual)
        for i in range(self.measurements):
            self._number(rows, f"{PAST}value {i}", numbers.place_of(MEASURED + i, values[:, i]))
            self._number(rows, f"{PAST}mean {i}", numbers.place_of(MEASURED + i, past.means[:, i]))
        return rows

    def filled(self, rows: Tensor, visit: Step, numbers: Numbers, first: Tensor) -> Tensor:
        """Return rows [k, p] of what was before with a visit of each added; ``first`` bool [k] has no gap."""
        rows = rows.clone()
        rows[:, : self.codes] = visit.codes.float()
        self._level(rows, "kind", visit.kinds)
        self._number(rows, "gap", numbers.place_of(GAP, visit.gaps.float().where(~first, torch.nan)))
        self._number(rows, "stay", numbers.place_of(STAY, visit.stays))
        for i in range(self.measurements):
            self._number(rows, f"value {i}", numbers.place_of(MEASURED + i, visit.values[:, i]))
        return rows

    def visit(self, rows: Tensor, numbers: Numbers, first: Tensor) -> Step:
        """Return the visits of rows [k, p]; those of a patient's first visit have no gap, whatever was drawn."""
        values = [self._value(rows, f"value {i}", MEASURED + i, numbers) for i in range(self.measurements)]
        gaps = self._value(rows, "gap", GAP, numbers).where(~first, 0.0)
        return Step(
            gaps=gaps.nan_to_num(0.0),
            kinds=rows[:, self.layout.groups["kind"]].argmax(1),
            stays=self._value(rows, "stay", STAY, numbers),
            codes=rows[:, : self.codes] > 0.5,
            values=torch.stack(values, dim=1) if values else rows.new_zeros(len(rows), 0),
        )

    def _level(self, rows: Tensor, name: str, levels: Tensor) -> None:
        rows[torch.arange(len(rows), device=rows.device), self.layout.groups[name].start + levels] = 1.0

    def _number(self, rows: Tensor, name: str, places: Tensor) -> None:
        *gap, value = self.layout.places[name]
        if gap:
            rows[:, gap[0]] = places.isnan().float()
        rows[:, value] = places.nan_to_num(0.0)

    def _value(self, rows: Tensor, name: str, number: int, numbers: Numbers) -> Tensor:
        gap, value = self.layout.places[name]
        return numbers.value_at(number, rows[:, value].where(rows[:, gap] < 0.5, torch.nan))


def _of_row(column: Column) -> Column:
    """Return a column of the patient's row as one that is known at each visit, and that nobody counts as a code."""
    return Column(
        f"{STATIC}{column.name}", column.kind, column.levels, column.bounds, column.missing, "outcome", column.domain
    )
