"""Records drawn departure by departure."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ehrsynth.layout import refuse_nan
from ehrsynth.models.departures.network import DepartureNetwork, Tables
from ehrsynth.models.departures.past import Past
from ehrsynth.models.departures.variables import NO_STATE, Variables
from ehrsynth.models.truncation import Truncation

Odds = Callable[[Tensor], Tensor]  # of variables [n, V], of which categories and numbers are drawn: log odds [n, V]
Fits = Callable[[Tensor, Tensor], Tensor]  # which rows [m], of these numbers, of variables [m, V] fit, bool [m]


def drawn(
    network: DepartureNetwork,
    variables: Variables,
    x: Tensor,
    known: Tensor,
    generator: torch.Generator,
    fits: Fits | None = None,
    tries: int = 1,
    past: Past | None = None,
    then: Odds | None = None,
    truncation: Truncation = Truncation(),  # noqa: B008 (frozen)
) -> tuple[Tensor, Tensor]:
    """Draw what is not known of records.

    Args:
        network: in evaluation mode.
        variables: of the records.
        x: int64 [n, V], variables; only what is known counts.
        known: bool [n, V].
        generator: of the draws.
        fits: which records fit, as far as their categories and numbers go; those are drawn until they do. None takes
            all.
        tries: times that they are drawn at most.
        past: of the records.
        then: what their categories and numbers, once drawn, add to the log odds of the past.
        truncation: of all draws.

    Returns:
        The variables [n, V], and which rows did not fit in any try.
    """
    tables = network.tables()
    known, x = known | variables.certain, x.masked_fill(variables.certain, 0)
    drawing = _Drawing.of(network, tables, variables, x, known, past, truncation)
    if fits is None:
        drawing.draw(slice(0, variables.alone), generator)
        waiting = torch.zeros(0, dtype=torch.int64, device=x.device)
    else:
        waiting = torch.arange(len(x), device=x.device)
        for _ in range(tries):
            several = waiting.repeat(len(x) // len(waiting))  # so that the last rows do not take a round each
            before = None if past is None else past.of(several)
            part = _Drawing.of(network, tables, variables, x[several], known[several], before, truncation)
            part.draw(slice(0, variables.alone), generator)
            met = fits(part.x, several).view(-1, len(waiting))
            done, first = met.any(0), met.to(torch.uint8).argmax(0)
            taken = first * len(waiting) + torch.arange(len(waiting), device=x.device)
            drawing.put(waiting[done], part, taken[done])
            waiting = waiting[~done]
            if not len(waiting):
                break
    if past is not None and then is not None:
        drawing.past = past._replace(odds=past.odds + then(drawing.x))
    drawing.draw(slice(variables.alone, x.shape[1]), generator)
    return drawing.x, waiting


@dataclass(eq=False)
class _Drawing:
    """Records of which a part is drawn: their variables [n, V], sums and h [n, width], and codes still to come."""

    network: DepartureNetwork = field(repr=False)
    tables: Tables = field(repr=False)
    variables: Variables = field(repr=False)
    x: Tensor = field(repr=False)
    known: Tensor = field(repr=False)
    sums: Tensor = field(repr=False)
    h: Tensor = field(repr=False)
    left: Tensor = field(repr=False)
    told: Tensor = field(repr=False)
    past: Past | None = field(repr=False)
    truncation: Truncation

    @classmethod
    def of(
        cls,
        network: DepartureNetwork,
        tables: Tables,
        variables: Variables,
        x: Tensor,
        known: Tensor,
        past: Past | None,
        truncation: Truncation,
    ) -> "_Drawing":
        usual = variables.no_news.clamp(min=0).expand_as(x)
        sums = network.given(tables, variables, x, known)
        if past is not None:
            sums = sums + past.sums
        left = -variables.counted((x != variables.no_news) & known)  # to which the tally is added
        told = torch.zeros(left.shape[1], device=x.device)
        x, h = torch.where(known, x, usual), network.states(sums)
        return cls(network, tables, variables, x, known, sums, h, left, told, past, truncation)

    def put(self, rows: Tensor, other: "_Drawing", places: Tensor) -> None:
        """Replace some rows by those of another drawing that has got as far."""
        for name in ("x", "sums", "h", "left"):
            getattr(self, name)[rows] = getattr(other, name)[places]

    def draw(self, places: slice, generator: torch.Generator) -> None:
        """Draw the variables at some places."""
        for part in self.variables.stops:
            if places.start <= part.start < places.stop:
                if int(self.variables.no_news[part.start]) == NO_STATE:
                    self._draw_news(part.start, generator)
                else:
                    self._draw_hazards(part, generator)

    def _draw_news(self, place: int, generator: torch.Generator) -> None:
        """Draw a variable of which every state is news."""
        variables = self.variables
        open_ = (~self.known[:, place]).nonzero().flatten()
        self._depart(open_, place, self._level(open_, place, generator))
        if variables.tallies.start <= place < variables.tallies.stop:
            tally = place - variables.tallies.start
            self.left[:, tally] += variables.counts_in(tally, self.x[:, place], generator)
            self.told[tally] = 1
        self._refresh(open_)

    def _draw_hazards(self, places: slice, generator: torch.Generator) -> None:
        """Draw a run of variables of which most are as usual."""
        variables = self.variables
        rows = torch.arange(len(self.x), device=self.x.device)
        place = torch.arange(places.start, places.stop, device=self.x.device)
        begin = torch.full_like(rows, places.start)
        categories = self.network.of_categories(variables, self.x)[:, places]
        if self.past is not None:
            categories = categories + self.past.odds[:, places]
        while len(rows):
            logits = self.network.hazards(self.h[rows], places) + categories[rows]
            if self.past is not None:
                logits = logits + self.past.told_by(self.x, places)[rows]
            refuse_nan(logits)
            chance = torch.rand(logits.shape, generator=generator, device=logits.device)
            hit = (
                (chance < self.truncation.bits(logits).sigmoid())
                & (place >= begin[:, None])
                & ~self.known[rows, places]
            )
            some = hit.any(1)
            rows, found = rows[some], hit[some].to(torch.uint8).argmax(1) + places.start
            for at in found[torch.isin(found, variables.leveled)].unique().tolist():
                here = rows[found == at]
                self._depart(here, at, self._level(here, at, generator))
            flipped = ~torch.isin(found, variables.leveled)
            self._depart(rows[flipped], found[flipped], 1 - variables.no_news[found[flipped]])
            self._refresh(rows)
            rows, begin = rows[found + 1 < places.stop], found[found + 1 < places.stop] + 1

    def _level(self, rows: Tensor, place: int, generator: torch.Generator) -> Tensor:
        """Draw the state of a variable that departs."""
        if not len(rows):
            return rows
        logits = self.network.levels(self.tables, self.variables, self.h[rows], place, self.x[rows])
        refuse_nan(logits)
        logits = self.network.possible(logits, self.variables, place, self.x[rows], self.known[rows])
        chances = self.truncation.levels(logits).softmax(1)
        return torch.multinomial(chances, 1, generator=generator).squeeze(1)

    def _depart(self, rows: Tensor, places: Tensor | int, states: Tensor) -> None:
        """Note departures, one of each row."""
        variables = self.variables
        self.x[rows, places] = states
        self.sums[rows] += self.tables.arrived[variables.starts[places] + states]
        tally = variables.tally_of[places].expand(len(rows))
        counted = (tally >= 0).nonzero().flatten()
        self.left[rows[counted], tally[counted]] -= 1

    def _refresh(self, rows: Tensor) -> None:
        left = self.left[rows].clamp(min=0)
        self.h[rows] = self.network.states(
            self.sums[rows] + self.network.still_to_come(left, self.told.expand_as(left))
        )
