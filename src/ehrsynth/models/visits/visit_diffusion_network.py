"""The networks of Visit Diffusion: a recurrent encoding of earlier visits, heads on it, and what reveals a visit."""

import torch
from torch import Tensor, nn

from ehrsynth.models.diffusion.partly_known import Revealer
from ehrsynth.models.visits.endings import Endings
from ehrsynth.models.visits.visit_states import CLOCK

MEMORY = 3  # features of each code


def memory(latest: Tensor, times: Tensor, number: Tensor) -> Tensor:
    """Return what was before of each code, [..., MEMORY, codes].

    Whether the latest visit had it, whether one before that had and the latest not, and the share of visits that had.

    Args:
        latest: [..., codes], 1 for the codes of the latest visit.
        times: [..., codes], how many visits had each.
        number: [...], visits so far.
    """
    once = (times > 0).to(times.dtype) * (1 - latest)
    return torch.stack([latest, once, times / number[..., None].clamp(min=1)], dim=-2)


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
        self.codes = codes
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

    def revealed(self, seen: Tensor, g: Tensor, memory: Tensor) -> Tensor:
        """Return the logits [n, columns] of a visit, given what is seen of it and what was before."""
        found = self.revealer(seen, g) + self.closed
        again = ((self.every[:, None] + self.usual + self.each) * memory).sum(-2)
        return torch.cat([found[:, : self.codes] + again, found[:, self.codes :]], dim=1)
