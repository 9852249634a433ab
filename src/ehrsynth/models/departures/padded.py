"""The departure network with all prefixes of a record beside each other, so that a private training can tell records.

The same sums as in ``network``, whose ragged prefixes know no records: here every product is one of a tensor whose
first dimension are records, through a module of its own. What is looked up in a table is a product with how often it
is. So hooks find the norm of each record's gradient from what goes into a product and what comes back to it (Li et al.,
ICLR 2022), and the weights are those of the network.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from ehrsynth.models.departures.network import KNOTS, DepartureNetwork, StateTable, _Block, _Prefixes, knots_of
from ehrsynth.models.departures.variables import NO_STATE, Variables
from ehrsynth.models.private import PerRecord, TableProduct

ByRecord = Callable[[nn.Module, Tensor], Tensor]


class PaddedDepartures:
    """Computes what ``DepartureNetwork.surprise`` does, of a network that knows no pairs.

    Args:
        network: to be trained.
        variables: of the records.
    """

    def __init__(self, network: DepartureNetwork, variables: Variables) -> None:
        self.network, self.variables = network, variables
        self.start, self.level_bias = PerRecord(network.start), PerRecord(network.level_bias)
        self.arrived, self.known = _Table(network.arrived), _Table(network.known)
        self.level = _Table(network.level, scores=True)
        self.left, self.by_level = TableProduct(network.left), TableProduct(network.by_level)
        places = torch.repeat_interleave(
            torch.arange(len(variables.sizes), device=variables.order.device),
            torch.tensor(variables.sizes, device=variables.order.device),
        )
        state = torch.arange(len(places), device=places.device) - variables.starts[places]
        self.place_of = places.masked_fill(state == variables.no_news[places], NO_STATE)  # of a state of a departure

    def modules(self) -> Iterator[nn.Module]:
        """Yield what all products go through."""
        yield from (self.start, self.level_bias, self.network.hazard, self.network.blocks)
        yield from (*self.arrived.modules(), *self.known.modules(), *self.level.modules(), self.left, self.by_level)

    def surprise(self, x: Tensor, counts: Tensor, known: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Return the nats [n] of what is not ``known`` [n, V] of records ``x`` [n, V] with tallies of ``counts``.

        Args:
            x: variables, ``draws`` rows of each record one after another.
            counts: of them.
            known: what is known in advance.
            draws: of each record.
            generator: of dropout.
        """
        self.draws, v = draws, self.variables
        prefixes = _Prefixes.of(v, x, counts, known)
        number = torch.bincount(prefixes.owner, minlength=len(x))
        at = torch.arange(len(prefixes.owner), device=x.device) - (number.cumsum(0) - number)[prefixes.owner]
        longest = int(number.max())

        def padded(parts: Tensor, filling: int) -> Tensor:
            found = parts.new_full((len(x), longest, *parts.shape[1:]), filling)
            found[prefixes.owner, at] = parts
            return found

        news = (x != v.no_news) & ~known
        rows, places = news.nonzero(as_tuple=True)
        arrived = torch.zeros(len(x), longest, len(self.place_of), device=x.device)
        arrived[rows, news.cumsum(1)[rows, places], v.starts[places] + x[rows, places]] = 1.0
        told = torch.zeros(len(x), 1, len(self.place_of), device=x.device)
        rows, places = known.nonzero(as_tuple=True)
        told[rows, 0, v.starts[places] + x[rows, places]] = 1.0
        ids, weights = knots_of(prefixes.left, prefixes.told)
        left = torch.zeros(len(ids), len(v.ranges) * len(KNOTS), device=x.device).scatter_add(1, ids, weights)
        width = len(self.network.start)
        sums = self._by_record(self.start, arrived.new_zeros(len(x), longest, width))
        sums = sums + self.arrived.of(arrived.cumsum(1), self._by_record) + self.known.of(told, self._by_record)
        h = self._states(sums + self._by_record(self.left, padded(left, 0)), generator)
        begin, end = padded(prefixes.begin, 0), padded(prefixes.end, -1)  # one that is none ends before all places
        return self._of_hazards(h, x, known, begin, end) + self._of_levels(h, x, end)

    def _states(self, sums: Tensor, generator: torch.Generator) -> Tensor:
        share, h = self.network.dropout.share, sums.relu()

        def dropped(h: Tensor) -> Tensor:
            kept = torch.rand(len(h), 1, h.shape[2], generator=generator, device=h.device) >= share
            return h * kept / (1 - share)

        for block in self.network.blocks:
            assert isinstance(block, _Block)
            inner = dropped(self._by_record(block.first, self._by_record(block.norm, h)).relu())
            h = h + self._by_record(block.last, inner)
        return dropped(h)

    def _of_hazards(self, h: Tensor, x: Tensor, known: Tensor, begin: Tensor, end: Tensor) -> Tensor:
        """Return the nats [n] of which variables depart."""
        v, groups = self.variables, len(self.variables.states.layout.groups)
        levels = torch.zeros(len(x), 1, len(self.network.by_level), device=x.device)
        levels[torch.arange(len(x))[:, None], 0, v.starts[:groups] + x[:, :groups]] = 1.0
        of_categories = pad(self._by_record(self.by_level, levels), (v.tallies.stop, 0))
        logits = self._by_record(self.network.hazard, h) + of_categories
        place = torch.arange(len(v.sizes), device=x.device)
        may = (v.no_news != NO_STATE) & ~known[:, None]
        asked = may & (place >= begin[..., None]) & (place <= end[..., None])
        departs = asked & (place == end[..., None])
        return (softplus(logits) * asked - logits * departs).sum((1, 2))

    def _of_levels(self, h: Tensor, x: Tensor, end: Tensor) -> Tensor:
        """Return the nats [n] of the states to which variables depart."""
        v = self.variables
        logits = self.level.of(h, self._by_record)
        logits = logits + self._by_record(self.level_bias, torch.zeros_like(logits))
        several = torch.isin(end, v.leveled)
        possible = (self.place_of == end[..., None]) | ~several[..., None]
        total = logits.masked_fill(~possible, -torch.inf).logsumexp(2)
        place = end.clamp(0, len(v.sizes) - 1)
        target = v.starts[place] + x.gather(1, place)
        nats = total - logits.gather(2, target[..., None]).squeeze(2)
        return nats.where(several, 0.0).sum(1)

    def _by_record(self, module: nn.Module, parts: Tensor) -> Tensor:
        """Return what a module makes of parts [n draws, k, a], all of a record at once."""
        n, k, width = parts.shape
        found: Tensor = module(parts.reshape(n // self.draws, self.draws * k, width))
        return found.view(n, k, found.shape[2])


class _Table:
    """Products with a ``StateTable``, or for ``scores`` with the transposed one; shared waves have one of their own."""

    def __init__(self, table: StateTable, scores: bool = False) -> None:
        self.scores = scores
        self.own = TableProduct(table.own, transposed=scores)
        self.shared = TableProduct(table.shared, transposed=scores)
        numbers, most, waves = table.waves.shape
        places = torch.eye(numbers, device=table.waves.device)[:, None, :, None]
        spread = (places * table.waves[:, :, None]).view(numbers * most, numbers * waves)
        self.waves = spread.new_zeros(len(table.own), numbers * waves).index_add(0, table.rows, spread)

    def modules(self) -> Iterator[nn.Module]:
        yield from (self.own, self.shared)

    def of(self, parts: Tensor, by_record: ByRecord) -> Tensor:
        found = by_record(self.own, parts)
        if self.scores:
            return found + by_record(self.shared, parts) @ self.waves.T
        return found + by_record(self.shared, parts @ self.waves)
