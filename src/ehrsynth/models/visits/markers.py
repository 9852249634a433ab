"""Of each code the measurement of the same visit that tells most of whether it begins, and from where on.

A diagnosis is made for what was measured. Who never had it and whose measurement is as usual will not have it, and of
so few events a network learns from its loss only that they are fewer. So codes start at what counting says of them: of
a code c that stands as s does, at first visits and at later ones if it never was, and its marker m, the log odds

    beyond(s, m, c)  =  logit p(c | s, m not measured, below its threshold, or at least that)  -  logit p(c | s).

The other way round a measurement is a sign of one code. What was measured before that began is out of date, and says
the contrary of what those who have it are like, see ``History.valid``.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ehrsynth.disclosure import LEAST
from ehrsynth.models.visits.companions import LEAST_GAIN, NONE, tells

BEGINS = 2  # the first of the states of ``History.features``: of first visits, and of what never was
THRESHOLDS = 15  # that are tried of each measurement, at as many quantiles
DEGREES = 3  # not measured, below, at least
BLOCK = 256  # codes looked at at a time


class Markers(NamedTuple):
    """What tells of each code, and what.

    Attributes:
        of: int64 [codes], the measurement that is its marker, or ``NONE``.
        at: [codes], the threshold.
        beyond: [BEGINS, DEGREES, codes], log odds that are added.
    """

    of: Tensor
    at: Tensor
    beyond: Tensor

    @classmethod
    def none(cls, codes: int) -> "Markers":
        """Return that nothing tells of any."""
        return cls(torch.full((codes,), NONE), torch.zeros(codes), torch.zeros(BEGINS, DEGREES, codes))


class Signs(nn.Module):
    """Of which code each measurement is a sign, and what it is of those who have it.

    Args:
        measurements: how many there are.

    Attributes:
        of: int64 [measurements], the code, or ``NONE``.
        usual: [measurements], the middle value of visits that have it.
    """

    of: Tensor
    usual: Tensor

    def __init__(self, measurements: int) -> None:
        super().__init__()
        self.register_buffer("of", torch.full((measurements,), NONE))
        self.register_buffer("usual", torch.zeros(measurements))

    def learn(self, gains: Tensor, there: Tensor, values: Tensor) -> None:
        """Take the code of which each measurement tells most, if ten who have it were measured.

        Args:
            gains: [measurements, codes], the nats that they tell of whether it begins.
            there: bool [k, codes], those of each visit.
            values: [k, measurements], NaN where not measured.
        """
        if not gains.shape[1]:
            return
        nats, codes = gains.max(1)
        self.of.copy_(codes.where(nats >= LEAST_GAIN, NONE))
        for place, code in enumerate(self.of.tolist()):
            theirs = values[there[:, code], place]
            if code == NONE or theirs.isfinite().sum() < LEAST:
                self.of[place] = NONE
            else:
                self.usual[place] = theirs.nanmedian()


def markers_of(there: Tensor, states: Tensor, values: Tensor, thresholds: Tensor) -> tuple[Markers, Tensor]:
    """Return what visits of as many patients say of codes by what was measured; of fewer than ten patients nothing.

    With it come the nats [measurements, codes] that each measurement tells of each code.

    Args:
        there: bool [k, codes], those of each visit.
        states: uint8 [k, codes], how each stands.
        values: [k, measurements], NaN where not measured.
        thresholds: [measurements, t], to choose from.
    """
    measurements, t = thresholds.shape
    found, gains, thresholds = Markers.none(there.shape[1]), [torch.zeros(measurements, 0)], thresholds.float()
    if not measurements:
        return found, torch.zeros(0, there.shape[1])
    unmeasured = values.isnan().float().T
    above = (values.float()[:, :, None] >= thresholds).flatten(1).float().T
    for start in range(0, there.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        gain, odds = torch.zeros(()), list[Tensor]()
        for state in range(BEGINS):
            exposed = (states[:, block] == state).float()
            having = exposed * there[:, block]
            by_presence = []
            for counts in (exposed - having, having):
                not_measured = (unmeasured @ counts).double().repeat_interleave(t, 0)
                at_least = (above @ counts).double()
                by_presence.append(torch.stack([not_measured, counts.sum(0) - not_measured - at_least, at_least]))
            nats, beyond = tells(torch.stack(by_presence, dim=1))
            gain = gain + nats
            odds.append(beyond)
        best, chosen = gain.max(0)
        worth, here = best >= LEAST_GAIN, torch.arange(len(best))
        found.of[block] = (chosen // t).where(worth, NONE)
        found.at[block] = thresholds.flatten()[chosen]
        found.beyond[:, :, block] = torch.stack(odds)[:, :, chosen, here].where(worth, 0.0).float()
        gains.append(gain.view(measurements, t, -1).amax(1).float())
    return found, torch.cat(gains, dim=1)
