"""The departure network with all prefixes of a record beside each other, so that a private training can tell records.

The same sums as in ``network``, whose ragged prefixes know no records: here every product is one of a tensor whose
first dimension are records, through a module of its own. What is looked up in a table is a product with how often it
is. So hooks find the norm of each record's gradient from what goes into a product and what comes back to it (Li et al.,
ICLR 2022), and the weights are those of the network.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from ehrsynth.models.departures.network import KNOTS, DepartureNetwork, StateTable, _Block, _Prefixes, knots_of
from ehrsynth.models.departures.variables import NO_STATE, Variables
from ehrsynth.models.private_layers import AffineOf, PerRecord, TableProduct, TableRows


class PaddedDepartures:
    """Computes what ``DepartureNetwork.surprise`` does, of a network that knows no pairs.

    Args:
        network: to be trained.
        variables: of the records.
    """

    def __init__(self, network: DepartureNetwork, variables: Variables) -> None:
        self.network, self.variables = network, variables
        self.start, self.level_bias = PerRecord(network.start), PerRecord(network.level_bias)
        self.hazard = AffineOf(network.hazard)
        self.left, self.by_level = TableProduct(network.left), TableProduct(network.by_level)
        places = torch.repeat_interleave(
            torch.arange(len(variables.sizes), device=variables.order.device),
            torch.tensor(variables.sizes, device=variables.order.device),
        )
        state = torch.arange(len(places), device=places.device) - variables.starts[places]
        self.leveled = torch.isin(places, variables.leveled).nonzero().flatten()  # states to which variables depart
        self.place_of = places.masked_fill(state == variables.no_news[places], NO_STATE)[self.leveled]
        self.at_leveled = torch.full_like(places, NO_STATE).index_copy(
            0, self.leveled, torch.arange(len(self.leveled), device=places.device)
        )
        self.arrived, self.known, self.level = (
            _waves(table) for table in (network.arrived, network.known, network.level)
        )
        self.arrived_own, self.arrived_waves = TableRows(network.arrived.own), TableProduct(network.arrived.shared)
        self.known_own, self.known_waves = TableProduct(network.known.own), TableProduct(network.known.shared)
        self.level_own = TableProduct(network.level.own, scores=True, of=self.leveled)
        self.level_waves = TableProduct(network.level.shared, scores=True)

    def modules(self) -> Iterator[nn.Module]:
        """Yield what all products go through."""
        yield from (self.start, self.level_bias, self.hazard, self.network.blocks)
        yield from (self.arrived_own, self.arrived_waves, self.known_own, self.known_waves, self.level_own)
        yield from (self.level_waves, self.left, self.by_level)

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
        arrived = x.new_full((len(x), longest), -1)  # with each prefix but the first one more
        arrived[rows, news.cumsum(1)[rows, places]] = v.starts[places] + x[rows, places]
        told = torch.zeros(len(x), 1, len(self.arrived), device=x.device)
        rows, places = known.nonzero(as_tuple=True)
        told[rows, 0, v.starts[places] + x[rows, places]] = 1.0
        ids, weights = knots_of(prefixes.left, prefixes.told)
        left = torch.zeros(len(ids), len(v.ranges) * len(KNOTS), device=x.device).scatter_add(1, ids, weights)
        so_far = self.arrived_own(arrived.view(len(x) // draws, -1)).view(len(x), longest, -1)
        waves = self.arrived[arrived.clamp(min=0)] * (arrived >= 0)[..., None]
        so_far = (so_far + self._by_record(self.arrived_waves, waves)).cumsum(1)
        given = self._by_record(self.known_own, told) + self._by_record(self.known_waves, told @ self.known)
        start = self._by_record(self.start, torch.zeros(len(x), 1, len(self.network.start), device=x.device))
        sums = start + given + so_far
        h = self._states(sums + self._by_record(self.left, padded(left, 0)), generator)
        end = padded(prefixes.end, -1)  # one that is none ends before all places
        which = news.cumsum(1) - news.long()  # the prefix before each place, which asks whether it departs
        return self._of_hazards(h, x, which, news, known) + self._of_levels(h, x, end)

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

    def _of_hazards(self, h: Tensor, x: Tensor, which: Tensor, news: Tensor, known: Tensor) -> Tensor:
        """Return the nats [n] of which variables depart."""
        v, groups = self.variables, len(self.variables.states.layout.groups)
        levels = torch.zeros(len(x), 1, len(self.network.by_level), device=x.device)
        levels[torch.arange(len(x))[:, None], 0, v.starts[:groups] + x[:, :groups]] = 1.0
        of_categories = pad(self._by_record(self.by_level, levels), (v.tallies.stop, 0)).squeeze(1)
        n, k, width = h.shape
        together = h.reshape(n // self.draws, self.draws * k, width)
        which = which.view(-1, self.draws, which.shape[1]) + k * torch.arange(self.draws, device=x.device)[:, None]
        logits: Tensor = self.hazard(together, which).view(x.shape) + of_categories
        asked = (v.no_news != NO_STATE) & ~known
        return (softplus(logits) * asked - logits * (asked & news)).sum(1)

    def _of_levels(self, h: Tensor, x: Tensor, end: Tensor) -> Tensor:
        """Return the nats [n] of the states to which variables depart."""
        v = self.variables
        logits = self._by_record(self.level_own, h)
        logits = logits + self._by_record(self.level_waves, h) @ self.level[self.leveled].T
        bias = self._by_record(self.level_bias, torch.zeros(len(x), 1, len(self.level), device=x.device))
        logits = logits + bias[..., self.leveled]
        if not len(self.leveled):
            return logits.sum((1, 2))  # nothing, but of the tables
        several = torch.isin(end, v.leveled)
        possible = (self.place_of == end[..., None]) | ~several[..., None]
        total = logits.masked_fill(~possible, -torch.inf).logsumexp(2)
        place = end.clamp(0, len(v.sizes) - 1)
        target = self.at_leveled[v.starts[place] + x.gather(1, place)].clamp(min=0)
        nats = total - logits.gather(2, target[..., None]).squeeze(2)
        return nats.where(several, 0.0).sum(1)

    def _by_record(self, module: nn.Module, parts: Tensor) -> Tensor:
        """Return what a module makes of parts [n draws, k, a], all of a record at once."""
        n, k, width = parts.shape
        found: Tensor = module(parts.reshape(n // self.draws, self.draws * k, width))
        return found.view(n, k, found.shape[2])


def _waves(table: StateTable) -> Tensor:
    """Return how much [S, numbers * WAVES] of each shared wave is in the vector of a state."""
    numbers, most, waves = table.waves.shape
    places = torch.eye(numbers, device=table.waves.device)[:, None, :, None]
    spread = (places * table.waves[:, :, None]).view(numbers * most, numbers * waves)
    return spread.new_zeros(len(table.own), numbers * waves).index_add(0, table.rows, spread)
