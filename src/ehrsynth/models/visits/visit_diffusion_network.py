"""The networks of Visit Diffusion: a recurrent encoding of earlier visits, heads on it, and what reveals a visit."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ehrsynth.models.diffusion.partly_known import Revealer
from ehrsynth.models.visits.endings import Endings
from ehrsynth.models.visits.visit_states import CLOCK

MEMORY = 4  # features of each code


@dataclass(frozen=True, eq=False)
class Before:
    """What was before a visit of each of n patients.

    Attributes:
        static: [n, s].
        firsts: float64 [n], days since 1970 of their first visits.
        number: int64 [n], visits so far.
        elapsed: [n], days from the first to the latest.
        g: [n, width], the encoding of it.
        latest: [n, codes], 1 for the codes of the latest visit.
        times: [n, codes], how many visits had each.
    """

    static: Tensor = field(repr=False)
    firsts: Tensor = field(repr=False)
    number: Tensor = field(repr=False)
    elapsed: Tensor = field(repr=False)
    g: Tensor = field(repr=False)
    latest: Tensor = field(repr=False)
    times: Tensor = field(repr=False)

    def memory(self) -> Tensor:
        """Return what was before of each code, [n, MEMORY, codes].

        Whether the latest visit had it, whether one before that had and the latest not; then how many visits had it
        against one more than there were, since a single one says little, and the log of one more than had it.
        """
        once = (self.times > 0).to(self.times.dtype) * (1 - self.latest)
        share = self.times / (self.number[:, None] + 1)
        return torch.stack([self.latest, once, share, self.times.log1p()], dim=1)


class VisitDiffusionNetwork(nn.Module):
    """All that is learned, see ``VisitDiffusion``.

        g_t      =  GRU(g_t-1, f(visit t, when, row)),   g_0 = s(row)
        fate     =  softmax(F g),  kind = softmax(K g),  gap = softmax(G [g, kind])
        odds_c  +=  sum over f of (a_f + w_fc) memory_f(c)

    Args:
        static: columns of the patients' rows.
        columns: of visits as rows, codes first.
        variables: of them.
        codes: how many of them are codes.
        kinds: of visits.
        width: of the encoding.
        reveal_width: of what reveals a visit.
        depth: of its residual layers.
        dropout: share of units of the encoding left out in training.
        ranges: about how many a number has.
    """

    closed: Tensor  # [columns], see VisitStates
    usual: Tensor  # u, [MEMORY, codes]

    def __init__(
        self,
        static: int,
        columns: int,
        variables: int,
        codes: int,
        kinds: int,
        width: int,
        reveal_width: int,
        depth: int,
        dropout: float,
        ranges: int,
    ) -> None:
        super().__init__()
        self.codes, self.gap_columns = codes, slice(codes + kinds, codes + kinds + 2 * ranges)
        self.start = nn.Sequential(nn.Linear(static + CLOCK, width), nn.Tanh())
        self.visit = nn.Sequential(nn.Linear(static + CLOCK + columns, width), nn.GELU(), nn.Dropout(dropout))
        self.recurrence = nn.GRU(width, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.endings = Endings(width, ranges)
        self.kind = nn.Linear(width, kinds)
        self.gap = nn.Sequential(nn.Linear(width + kinds, width), nn.GELU(), nn.Linear(width, 2 * ranges))
        self.revealer = Revealer(columns + variables, width, columns, reveal_width, depth)
        self.every = nn.Parameter(torch.zeros(MEMORY))
        self.each = nn.Parameter(torch.zeros(MEMORY, codes))
        self.register_buffer("closed", torch.zeros(columns))
        self.register_buffer("usual", torch.zeros(MEMORY, codes))

    def histories(self, start: Tensor, visits: Tensor) -> Tensor:
        """Return g [b, t, width] after each of the visits [b, t, ...], given g [b, width] before them."""
        if not visits.shape[1]:
            return start[:, None][:, :0]
        found: Tensor = self.recurrence(self.visit(visits), start[None].contiguous())[0]
        return found

    def gaps(self, g: Tensor, kind: Tensor) -> Tensor:
        """Return the logits [n, levels] of gaps, given kinds as indicators [n, kinds]."""
        found: Tensor = self.gap(torch.cat([g, kind], dim=1)) + self.closed[self.gap_columns]
        return found

    def revealed(self, seen: Tensor, before: Before) -> Tensor:
        """Return the logits [n, columns] of a visit, given what is seen of it and what was before."""
        found = self.revealer(seen, before.g) + self.closed
        again = ((self.every[:, None] + self.usual + self.each) * before.memory()).sum(1)
        return torch.cat([found[:, : self.codes] + again, found[:, self.codes :]], dim=1).float()
