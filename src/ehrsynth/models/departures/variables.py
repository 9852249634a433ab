"""The variables of a record in the order in which they are drawn, and which of their states are no news."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ehrsynth.disclosure import LEAST
from ehrsynth.layout import Layout, Records
from ehrsynth.models.states import States
from ehrsynth.models.told import may_tell
from ehrsynth.schema import Column, Schema

FEWEST_CODES = 8  # that a domain must have to be counted
BLOCK = 64  # places that are looked at together
NEVER = 2**31  # a number of codes that no record has
NO_STATE = -1  # the usual state of a variable of which every state is news


@dataclass(frozen=True, eq=False)
class Variables:
    """How encoded records [n, p] become variables [n, V] and back.

    First come categories and numbers in the schema's order (a number is the range it lies in, see ``States``), then
    tallies, then codes by domain, the smallest domain first, by falling prevalence, and outcomes last. A tally is how
    many codes of a domain depart from what is usual, in ranges of ten training rows or more.

    Attributes:
        states: of the schema's columns.
        domains: of each code, the name of the domain that is tallied, or an empty one.
        order: int64 [d], the variable of ``states`` that is drawn at each place, tallies left out.
        usual: int64 [d], the state of each variable of ``order`` that most training rows have, or ``NO_STATE``.
        ranges: int64 [T, most ranges, 3], where the ranges of each tally start, and the least and the largest number
            that is drawn in it; filled up with ``NEVER``.
    """

    states: States
    domains: tuple[str, ...]
    order: Tensor = field(repr=False)
    usual: Tensor = field(repr=False)
    ranges: Tensor = field(repr=False)

    @property
    def alone(self) -> int:
        """Number of categories and numbers, which come first."""
        return len(self.order) - self.states.codes

    @property
    def tallies(self) -> slice:
        """The places of the tallies."""
        return slice(self.alone, self.alone + len(self.ranges))

    @cached_property
    def sizes(self) -> list[int]:
        """How many states the variable at each place has."""
        found = [self.states.sizes[variable] for variable in self.order.tolist()]
        tallies: list[int] = (self.ranges[:, :, 0] != NEVER).sum(1).tolist()
        return [*found[: self.alone], *tallies, *found[self.alone :]]

    @cached_property
    def starts(self) -> Tensor:
        """The number of the first state [V] of each variable, among those of all."""
        return torch.tensor([0, *self.sizes[:-1]], device=self.order.device).cumsum(0)

    @cached_property
    def leveled(self) -> Tensor:
        """The places of variables whose departure does not say to which state, ascending."""
        several = torch.tensor(self.sizes, device=self.order.device) > 2
        return (several | (self.no_news == NO_STATE)).nonzero().flatten()

    @cached_property
    def certain(self) -> Tensor:
        """Which places [V] have a variable that cannot depart, for it has one state."""
        return (torch.tensor(self.sizes, device=self.order.device) == 1) & (self.no_news != NO_STATE)

    @cached_property
    def stops(self) -> list[slice]:
        """All places in order: each of a variable of which every state is news alone, the others some at a time."""
        found: list[slice] = []
        for place, usual in enumerate(self.no_news.tolist()):
            last = found[-1] if found else slice(0, 0)
            grows = 0 < last.stop - last.start < BLOCK and NO_STATE not in (usual, int(self.no_news[last.start]))
            if grows and place != self.alone:
                found[-1] = slice(last.start, place + 1)
            else:
                found.append(slice(place, place + 1))
        return found

    @cached_property
    def hazards(self) -> list[slice]:
        """Those of ``stops`` whose variables mostly are as usual."""
        return [places for places in self.stops if int(self.no_news[places.start]) != NO_STATE]

    @cached_property
    def no_news(self) -> Tensor:
        """The usual state [V] at each place; every tally is news."""
        return self._with_tallies(self.usual[None], NO_STATE)[0]

    @cached_property
    def tally_of(self) -> Tensor:
        """Which tally counts the variable at each place [V], or -1."""
        tallied = {name: number for number, name in enumerate(tallied_domains(self.domains))}
        found = [tallied.get(self.domains[code], -1) for code in self.order[self.alone :].tolist()]
        return torch.tensor([*[-1] * self.tallies.stop, *found], device=self.order.device)

    def told_counts(self, x: Tensor) -> Tensor:
        """Return the number of codes [n, T] that the tallies of variables [n, V] tell, of a range the least."""
        found = [ranges[x[:, self.tallies.start + tally], 1] for tally, ranges in enumerate(self.ranges)]
        return torch.stack(found, dim=1) if found else x.new_zeros(len(x), 0)

    def nats_within(self, x: Tensor, known: Tensor) -> Tensor:
        """Return what it takes [n] in nats to tell the numbers of codes, given their ranges in variables [n, V].

        Nothing where all that is counted is ``known`` [n, V].
        """
        total = torch.zeros(len(x), device=x.device)
        for tally, ranges in enumerate(self.ranges):
            _, low, high = ranges[x[:, self.tallies.start + tally]].unbind(1)
            open_ = (~known & (self.tally_of == tally)).any(1)
            total += (high - low + 1).log() * open_
        return total

    def possible(self, tally: int, x: Tensor, known: Tensor) -> Tensor:
        """Return which states [n, k] a tally can have, given what is ``known`` [n, V] of variables ``x`` [n, V]."""
        counted = self.tally_of == tally
        least = ((x != self.no_news) & known & counted).sum(1)
        most = least + (~known & counted).sum(1)
        starts = self.ranges[tally, : self.sizes[self.tallies.start + tally], 0]
        ends = torch.cat([starts[1:] - 1, starts.new_tensor([NEVER])])
        return (starts <= most[:, None]) & (ends >= least[:, None])

    def places_of(self, columns: Collection[str]) -> Tensor:
        """Return which places [V] are those of some of the schema's columns."""
        chosen = torch.tensor([name in columns for name in self.states.columns], device=self.order.device)
        return self._with_tallies(chosen[None, self.order], False)[0]

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the variables [n, V] of encoded records [n, p], and how many [n, T] codes of each tally depart."""
        found = self.of_states(self.states.of(Records.of_dense(self.states.layout, rows)))
        counts = self.counted(found != self.no_news)
        found[:, self.tallies] = self.ranges_of(counts)
        return found, counts

    def of_states(self, states: Tensor) -> Tensor:
        """Return variables [n, V] of the schema's states [n, d]; tallies are zero."""
        return self._with_tallies(states[:, self.order], 0)

    def to_states(self, variables: Tensor) -> Tensor:
        """Return the schema's states [n, d] of variables [n, V]."""
        ordered = torch.cat([variables[:, : self.alone], variables[:, self.tallies.stop :]], dim=1)
        return torch.empty_like(ordered).index_copy_(1, self.order, ordered)

    def counted(self, departed: Tensor) -> Tensor:
        """Return how many [n, T] codes of each tally depart, of bool [n, V]."""
        if not len(self.ranges):
            return departed.new_zeros(len(departed), 0, dtype=torch.int64)
        return torch.stack([(departed & (self.tally_of == number)).sum(1) for number in range(len(self.ranges))], dim=1)

    def ranges_of(self, counts: Tensor) -> Tensor:
        """Return the state [n, T] of each tally."""
        return torch.searchsorted(self.ranges[:, :, 0].contiguous(), counts.T.contiguous(), right=True).T - 1

    def counts_in(self, tally: int, states: Tensor, generator: torch.Generator) -> Tensor:
        """Return a number [n] of codes for each of the ``states`` [n] of a tally, drawn evenly."""
        _, low, high = self.ranges[tally, states].unbind(1)
        within = torch.rand(len(states), generator=generator, device=states.device)
        return low + (within * (high - low + 1)).long()

    def known(self, chances: Tensor) -> tuple[Tensor, Tensor]:
        """Return what evidence leaves no choice of.

        Args:
            chances: [n, S], that each state of each variable of ``states`` meets what is asked, see
                ``States.evidence``.

        Returns:
            Variables [n, V], and which places [n, V] of them are known.
        """
        parts = chances.split(self.states.sizes, dim=1)
        only = torch.stack([(part > 0).sum(1) == 1 for part in parts], dim=1)
        found = torch.stack([part.argmax(1) for part in parts], dim=1)
        return self.of_states(found), self._with_tallies(only[:, self.order], False)

    def _with_tallies(self, ordered: Tensor, value: int) -> Tensor:
        tallies = ordered.new_full((len(ordered), len(self.ranges)), value)
        return torch.cat([ordered[:, : self.alone], tallies, ordered[:, self.alone :]], dim=1)


def variables_of(schema: Schema, states: States, train: Records) -> Variables:
    """Return the variables of a schema, in the order that the training rows give them."""
    counts = torch.zeros(sum(states.sizes), dtype=torch.int64)
    starts = torch.tensor([0, *states.sizes[:-1]]).cumsum(0)
    for block in states.blocks(train):
        counts += torch.bincount((block + starts).flatten(), minlength=len(counts))
    shares = [part / len(train) for part in counts.split(states.sizes)]
    found = variables_by(schema, states, shares)
    if not len(found.ranges):
        return found
    counted = [found.counted(found.of_states(block) != found.no_news) for block in states.blocks(train)]
    ranges = [_ranges(column) for column in torch.cat(counted).T]
    return replace(found, ranges=pad_sequence(ranges, batch_first=True, padding_value=NEVER))


def variables_by(schema: Schema, states: States, shares: list[Tensor]) -> Variables:
    """Return the variables by the shares of the states of each; of what is tallied nothing is known yet."""
    usual = torch.tensor([int(part.argmax()) if part.max() > 0.5 else NO_STATE for part in shares])
    for code in range(states.codes):  # the more usual of two states, always
        usual[code] = int(shares[code][1] > 0.5)
    order, domains = _order(schema, states, shares, usual), domains_of(schema, states.layout)
    return Variables(states, domains, order, usual[order], uncounted(domains))


def with_tallies(variables: Variables, rows: Tensor, least: float) -> Variables:
    """Return the variables with the ranges of numbers of codes that ``rows`` [T, most + 1] have, see ``_ranges``.

    No range is of less than ``least`` rows; they need not be whole.
    """
    ranges = []
    for here in rows:
        enough = (here.flip(0).cumsum(0).flip(0) >= least).nonzero()
        most = int(enough.max()) if len(enough) else 0
        ranges.append(_ranges_of([*here[:most].tolist(), float(here[most:].sum())], least))
    return replace(variables, ranges=pad_sequence(ranges, batch_first=True, padding_value=NEVER))


def log_odds_by_level(variables: Variables, train: Records) -> Tensor:
    """Return how each level of each category moves the log odds [levels, codes] that a code departs.

    Of pairs that may not be told (see ``told``) it is zero. That a level never has a code is told if five rows or more
    were to be expected; as it then most likely cannot, it counts as a twentieth of a row and not as half of one.
    """
    places, groups = variables.tallies.stop, len(variables.states.layout.groups)
    sizes = variables.sizes[:groups]
    rows, both = torch.zeros(sum(sizes)), torch.zeros(sum(sizes), len(variables.sizes) - places)
    for block in variables.states.blocks(train):
        x = variables.of_states(block)
        levels = torch.zeros(len(x), sum(sizes)).scatter(1, x[:, :groups] + variables.starts[:groups], 1.0)
        departed = (x != variables.no_news)[:, places:].float()
        rows += levels.sum(0)
        both += levels.T @ departed
    total = both[: sizes[0]].sum(0) if sizes else torch.zeros(both.shape[1])
    n = len(train)
    expected = rows[:, None] * total / n
    tellable = torch.from_numpy(may_tell(both.numpy(), expected.numpy()))
    rest = rows[:, None] - both
    some = torch.where(both > 0, 0.5, 0.05)
    moved = ((both + some) / (rest + 0.5)).log() - ((total + 0.5) / (n - total + 0.5)).log()
    return moved.where(tellable & (rows[:, None] >= LEAST), 0.0)


def tallied_domains(domains: tuple[str, ...]) -> list[str]:
    """Return the domains that are tallied, the smallest first, of those of each code."""
    names = sorted({name for name in domains if name}, key=lambda name: (domains.count(name), name))
    return [name for name in names if domains.count(name) >= FEWEST_CODES]


def uncounted(domains: tuple[str, ...]) -> Tensor:
    """Return the ranges of tallies of which nothing is known: one each."""
    return torch.zeros(len(tallied_domains(domains)), 1, 3, dtype=torch.int64)


def domains_of(schema: Schema, layout: Layout) -> tuple[str, ...]:
    """Return the domain of each code; outcomes have an empty one, for nobody counts them."""
    columns = [schema.by_name[encoded.column] for encoded in layout.fields if encoded.kind == "bit"]
    return tuple("" if column.role == "outcome" else column.domain for column in columns)


def _order(schema: Schema, states: States, shares: list[Tensor], usual: Tensor) -> Tensor:
    """Return which variable of ``states`` is drawn at each place."""
    bits = [schema.by_name[encoded.column] for encoded in states.layout.fields if encoded.kind == "bit"]
    sizes: dict[str, int] = {}
    for column in bits:
        sizes[column.domain] = sizes.get(column.domain, 0) + 1

    def rank(code: int) -> tuple[bool, int, str, float]:
        column: Column = bits[code]
        return column.role == "outcome", sizes[column.domain], column.domain, float(shares[code][usual[code]])

    return torch.tensor([*range(states.codes, len(shares)), *sorted(range(states.codes), key=rank)])


def _ranges(counts: Tensor) -> Tensor:
    """Return the ranges [r, 3] of a count [n]: none is of less than ``LEAST`` rows, or of none.

    A number that so many rows have stands alone, and is what is drawn. Rarer ones next to each other are drawn evenly,
    if together they are enough; if not, they count as the next number that is. The ten largest count as the least of
    them.
    """
    most = int(counts.sort(descending=True).values[:LEAST][-1])  # so many have ten, or more
    return _ranges_of(torch.bincount(counts.clamp(max=most)).tolist(), LEAST)


def _ranges_of(rows: list[float], least: float) -> Tensor:
    """Return the ranges [r, 3] of which none is of less than ``least`` of the rows of each number from 0."""
    found: list[tuple[int, int, int]] = []
    start, within = 0, 0.0
    for number, here in enumerate(rows):
        within += here
        if here >= least:
            found.append((start, number, number))
        elif within >= least:
            found.append((start, start, number))
        else:
            continue
        start, within = number + 1, 0.0
    return torch.tensor(found or [(0, 0, 0)])
