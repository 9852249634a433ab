"""A network that reads the departures of a record one after another, and says what departs next."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, embedding_bag, linear, softplus

from ehrsynth.models.departures.pairs import Pairs
from ehrsynth.models.departures.past import Past
from ehrsynth.models.departures.variables import NO_STATE, Variables

WAVES = 8  # of a number
OWN = 0.2  # of the deviation that vectors start with, what a range has of its own
KNOTS = (*range(13), 14, 16, 18, 21, 24, 28, 32, 40, 48, 64, 96, 128, 256, 512, 1024)  # numbers of codes still to come


class DepartureNetwork(nn.Module):
    """The chances of all variables after the latest departure.

        sum     =  start + sum of A[departures so far] + sum of K[known in advance] + sum of L[codes still to come]
        h       =  relu(sum), then h + MLP(LayerNorm(h)) a few times
        hazard  =  sigmoid(w_v h + b_v + sum of D_v[categories]), that variable v departs if nothing between has
        level   =  softmax(U_v h + c_v + sum of P_v[states of its parents]), the state to which

    A, K and U have a row for each state; those of a number are smooth in the place of its range, see ``StateTable``. D
    is of codes alone: what each level of each category makes of them, to begin with as training rows have it, so that
    what no man has is not for the network to find out. P is the same of categories and numbers, see ``Pairs``; it is
    not learned.

    Between two departures nothing is computed anew: a record costs as much as it has departures.

    Args:
        variables: of the records.
        pairs: of their categories and numbers.
        width: of h.
        depth: number of residual blocks.
        dropout: share of units left out in training, of h and within blocks; the same in all states of a record.
    """

    stay = frozenset({"by_level"})  # weights that do not decay, beside biases: they start at what training rows have
    parents: Tensor  # see Pairs
    tables_of_pairs: Tensor

    def __init__(self, variables: Variables, pairs: Pairs, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("parents", pairs.parents, persistent=False)
        self.register_buffer("tables_of_pairs", pairs.tables, persistent=False)
        self.sizes = variables.sizes
        places, total = len(self.sizes), sum(self.sizes)
        self.start = nn.Parameter(0.1 * torch.randn(width))
        self.arrived = StateTable(variables, width, 0.3)
        self.known = StateTable(variables, width, 0.0)  # so that what is known changes nothing yet
        self.level = StateTable(variables, width, 0.15 / width**0.5)
        self.level_bias = nn.Parameter(torch.zeros(total))
        self.left = nn.Parameter(0.1 * torch.randn(len(variables.ranges), len(KNOTS), width))
        self.hazard = nn.Linear(width, places)
        nn.init.normal_(self.hazard.weight, std=0.15 / width**0.5)
        levels = sum(variables.sizes[: len(variables.states.layout.groups)])
        self.by_level = nn.Parameter(torch.zeros(levels, places - variables.tallies.stop))
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(depth))
        self.dropout = _Dropout(dropout)

    def start_at(self, variables: Variables, shares: Tensor, by_level: Tensor) -> None:
        """Let the chances be the training shares of all states [S], and of codes by category as ``by_level`` has it."""
        self.by_level.data.copy_(by_level)
        self.level_bias.data.copy_(shares.log())
        usual = (variables.starts + variables.no_news)[variables.no_news != NO_STATE]
        self.hazard.bias.data[variables.no_news != NO_STATE] = torch.logit(1 - shares[usual])

    def tables(self) -> "Tables":
        """Return what states are looked up in, made once for many records."""
        pairs = Pairs(self.parents, self.tables_of_pairs)
        return Tables(self.arrived(), self.known(), self.level(), pairs.of(self.sizes))

    def given(self, tables: "Tables", variables: Variables, x: Tensor, known: Tensor) -> Tensor:
        """Return the sums [n, width] of records of which ``known`` [n, V] of ``x`` [n, V] are known in advance."""
        rows, places = known.nonzero(as_tuple=True)
        bags = _starts(known.sum(1))
        return self.start + embedding_bag(variables.starts[places] + x[rows, places], tables.known, bags, mode="sum")

    def still_to_come(self, left: Tensor, told: Tensor) -> Tensor:
        """Return L [m, width] of how many [m, T] codes are still to come, as far as it is ``told`` [m, T]."""
        ids, weights = knots_of(left, told)
        bags = torch.arange(len(left), device=left.device) * (2 * len(self.left))  # without tallies, all empty
        vectors = self.left.flatten(0, 1)
        return embedding_bag(ids.flatten(), vectors, bags, per_sample_weights=weights.flatten(), mode="sum")

    def states(self, sums: Tensor, owner: Tensor | None = None) -> Tensor:
        """Return h [m, width] of sums [m, width], in training of prefixes of the records ``owner`` [m]."""
        h = sums.relu()
        for block in self.blocks:
            h = h + block(h, owner)
        return self.dropout(h, owner)  # type: ignore[no-any-return]

    def hazards(self, h: Tensor, places: slice) -> Tensor:
        """Return the log odds [m, b] that the variables at some places depart, whatever the categories are."""
        return linear(h, self.hazard.weight[places], self.hazard.bias[places])

    def of_categories(self, variables: Variables, x: Tensor) -> Tensor:
        """Return what the categories of records [n, V] add to the log odds of all places [n, V]."""
        groups = len(variables.states.layout.groups)
        found = x.new_zeros(x.shape, dtype=self.by_level.dtype)
        for place in range(groups):
            found[:, variables.tallies.stop :] += self.by_level[variables.starts[place] + x[:, place]]
        return found

    def levels(self, tables: "Tables", variables: Variables, h: Tensor, place: int, x: Tensor) -> Tensor:
        """Return logits [m, k] of the states of the variable at a place of records [m, V], given that it departs."""
        start = int(variables.starts[place])
        of = slice(start, start + variables.sizes[place])
        logits = linear(h, tables.level[of], self.level_bias[of])
        for parent, table in tables.pairs.get(place, ()):
            logits = logits + table[x[:, parent]]
        if (usual := int(variables.no_news[place])) == NO_STATE:
            return logits
        return logits.index_fill(1, torch.tensor([usual], device=h.device), -torch.inf)

    def possible(self, logits: Tensor, variables: Variables, place: int, x: Tensor, known: Tensor) -> Tensor:
        """Return logits [m, k] of the states of a variable without numbers of codes that what is known rules out.

        Args:
            logits: of the variable at a place.
            variables: of the records.
            place: of the variable.
            x: [m, V], the records.
            known: [m, V], what is known of them.
        """
        if not variables.tallies.start <= place < variables.tallies.stop:
            return logits
        return logits.masked_fill(~variables.possible(place - variables.tallies.start, x, known), -torch.inf)

    def surprise(
        self, variables: Variables, x: Tensor, counts: Tensor, known: Tensor, past: Past | None = None
    ) -> Tensor:
        """Return the nats [n] of what is not ``known`` [n, V] of records ``x`` [n, V] with tallies of ``counts``."""
        known = known | variables.certain
        prefixes = _Prefixes.of(variables, x, counts, known)
        tables = self.tables()
        h = self.states(self._sums(tables, variables, prefixes, x, known, past), prefixes.owner)
        categories = self.of_categories(variables, x)
        if past is not None:
            categories = categories + past.odds + past.told_by(x)
        nats = h.new_zeros(len(h), dtype=torch.float32)
        for places in variables.hazards:
            here = ((prefixes.begin < places.stop) & (prefixes.end >= places.start)).nonzero().flatten()
            begin, end = prefixes.begin[here], prefixes.end[here]
            logits = self.hazards(h.index_select(0, here), places).float() + categories[prefixes.owner[here], places]
            place = torch.arange(places.start, places.stop, device=x.device)
            asked = (place >= begin[:, None]) & (place <= end[:, None]) & ~known[prefixes.owner[here], places]
            found = (softplus(logits) * asked).sum(1)
            hit = (end < places.stop).nonzero().flatten()
            found = found.index_add(0, hit, -logits[hit, end[hit] - places.start])
            nats = nats.index_add(0, here, found)
        order = prefixes.end.argsort(stable=True)
        first, last = (torch.searchsorted(prefixes.end[order], variables.leveled, right=side) for side in (False, True))
        for place, start, stop in zip(variables.leveled.tolist(), first.tolist(), last.tolist(), strict=True):
            here = order[start:stop]
            of = x[prefixes.owner[here]]
            logits = self.levels(tables, variables, h.index_select(0, here), place, of).float()
            if not self.training:  # which is of everything, whatever is known
                logits = self.possible(logits, variables, place, of, known[prefixes.owner[here]])
            nats = nats.index_add(0, here, cross_entropy(logits, of[:, place], reduction="none"))
        return nats.new_zeros(len(x)).index_add(0, prefixes.owner, nats)

    def _sums(
        self,
        tables: "Tables",
        variables: Variables,
        prefixes: "_Prefixes",
        x: Tensor,
        known: Tensor,
        past: Past | None,
    ) -> Tensor:
        """Return the sums [m, width] of all prefixes."""
        given = self.given(tables, variables, x, known)
        if past is not None:
            given = given + past.sums
        given = given.index_select(0, prefixes.owner)
        arrived = embedding_bag(prefixes.so_far, tables.arrived, prefixes.bags, mode="sum")
        return given + arrived + self.still_to_come(prefixes.left, prefixes.told)


def knots_of(left: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
    """Return the vectors, ids [m, 2 T] and weights, between which numbers of codes ``left`` [m, T] lie, where told."""
    tallies, knots = left.shape[1], torch.tensor(KNOTS, device=left.device)
    above = torch.searchsorted(knots, left, right=True).clamp(1, len(KNOTS) - 1)
    start, end = knots[above - 1], knots[above]
    share = ((left - start) / (end - start)).clamp(0, 1)
    ids = above + torch.arange(tallies, device=left.device) * len(KNOTS)
    return torch.cat([ids - 1, ids], dim=1), torch.cat([(1 - share) * told, share * told], dim=1)


class Tables(NamedTuple):
    """Vectors [S, width] of all states, A, K and U of ``DepartureNetwork``, and P, see ``Pairs.of``."""

    arrived: Tensor
    known: Tensor
    level: Tensor
    pairs: dict[int, list[tuple[int, Tensor]]]


class StateTable(nn.Module):
    """A vector for each state. That of a number's range is a sum of waves over its places, and something of its own.

        row_r  =  own_r + sum over f of cos(pi f t_r) / sqrt(f) wave_f,    t_r the middle of range r, from 0 to 1

    so ranges next to each other have much in common, and a table of few rows teaches all of them.

    Args:
        variables: of the records.
        width: of a vector.
        std: of what it starts with.
    """

    waves: Tensor  # [numbers, most ranges, WAVES]
    rows: Tensor  # [numbers * most ranges], the states they belong to

    def __init__(self, variables: Variables, width: int, std: float) -> None:
        super().__init__()
        states = variables.states
        numbers = range(variables.alone - len(states.ranges), variables.alone)
        waves = torch.zeros(len(states.ranges), max(states.ranges, default=0), WAVES)
        rows = torch.zeros(waves.shape[:2], dtype=torch.int64)
        for number, (place, ranges) in enumerate(zip(numbers, states.ranges, strict=True)):
            middle, frequency = (torch.arange(ranges) + 0.5)[:, None] / ranges, torch.arange(WAVES) + 1
            waves[number, :ranges] = (torch.pi * middle * frequency).cos() / frequency.sqrt()
            rows[number, :ranges] = int(variables.starts[place]) + torch.arange(ranges)
        self.register_buffer("waves", waves, persistent=False)  # those beyond a number's ranges add zero to the first
        self.register_buffer("rows", rows.flatten(), persistent=False)
        self.own = nn.Parameter(std * torch.randn(sum(variables.sizes), width))
        self.own.data[self.rows] *= OWN
        self.shared = nn.Parameter(std * torch.randn(len(rows), WAVES, width))

    def forward(self) -> Tensor:
        """Return the table [S, width]."""
        if not len(self.rows):
            return self.own
        return self.own.index_add(0, self.rows, (self.waves @ self.shared).flatten(0, 1).to(self.own.dtype))


@dataclass(frozen=True, eq=False)
class _Prefixes:
    """All prefixes of the departures of records: of a record with k of them, k + 1.

    Attributes:
        owner: the record of each prefix.
        begin, end: the place after its last departure, and that of the next one; the number of places for none.
        so_far, bags: the states to which it departed, those of each prefix after those of the one before, and where
            they start.
        left, told: how many [m, T] codes of each tally are still to come, and whether that is known by then.
    """

    owner: Tensor = field(repr=False)
    begin: Tensor = field(repr=False)
    end: Tensor = field(repr=False)
    so_far: Tensor = field(repr=False)
    bags: Tensor = field(repr=False)
    left: Tensor = field(repr=False)
    told: Tensor = field(repr=False)

    @classmethod
    def of(cls, variables: Variables, x: Tensor, counts: Tensor, known: Tensor) -> "_Prefixes":
        n, width = x.shape
        news = x != variables.no_news
        rows, places = (news & ~known).nonzero(as_tuple=True)
        number = torch.bincount(rows, minlength=n)
        first = _starts(number + 1)  # the prefix of each record without any departure
        owner = torch.repeat_interleave(torch.arange(n, device=x.device), number + 1)
        after = torch.arange(len(rows), device=x.device) + rows + 1  # the prefix that each departure ends
        begin = torch.zeros_like(owner).index_copy(0, after, places + 1)
        end = torch.full_like(owner, width).index_copy(0, after - 1, places)
        length = torch.arange(len(owner), device=x.device) - first[owner]
        bags, of_record = _starts(length), (first - torch.arange(n, device=x.device))[owner]
        item = torch.arange(int(length.sum()), device=x.device) + torch.repeat_interleave(of_record - bags, length)
        so_far = (variables.starts[places] + x[rows, places])[item]
        tally = torch.arange(len(variables.ranges), device=x.device)
        used = counts.new_zeros(len(owner), len(tally))
        used[after] = (variables.tally_of[places, None] == tally).to(used.dtype)
        used[first] = variables.counted(news & known)
        up_to = used.cumsum(0)
        used = up_to - (up_to[first] - used[first])[owner]
        told = begin[:, None] > variables.tallies.start + tally
        return cls(owner, begin, end, so_far, bags, (counts[owner] - used).clamp(min=0), told)


def _starts(lengths: Tensor) -> Tensor:
    """Return where runs of these lengths start that follow one another."""
    return lengths.cumsum(0) - lengths


class _Block(nn.Module):
    """LayerNorm, then an MLP of one hidden layer that starts at zero."""

    def __init__(self, width: int, share: float) -> None:
        super().__init__()
        self.norm, self.first, self.last = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = _Dropout(share)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, h: Tensor, owner: Tensor | None) -> Tensor:
        """Return what is added to h [m, width]."""
        return self.last(self.dropout(self.first(self.norm(h)).relu(), owner))  # type: ignore[no-any-return]


class _Dropout(nn.Module):
    """Leaves out the same units in all prefixes of a record: Gal and Ghahramani (NeurIPS 2016), and fewer draws."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, h: Tensor, owner: Tensor | None) -> Tensor:
        """Return h [m, width] of prefixes of the records ``owner`` [m], ascending."""
        if not self.training or owner is None:
            return h
        kept = dropout(h.new_ones(int(owner[-1]) + 1, h.shape[1]), self.share)
        return h * kept.index_select(0, owner)
