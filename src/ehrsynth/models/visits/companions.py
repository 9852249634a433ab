"""Of each code the one that tells most of it: of the same visit, or of all visits before.

A drug is given to who has its diagnosis, whether or not it was given before; a complication begins with who has the
disease. What counting says of a code and its own past knows nothing of that, and a network that starts there has to
undo it first, of events so rare that its loss hardly sees them. So it starts at what pairs of codes say as well: of a
code c that stands as s does (see ``History.features``) and its companion d, the log odds

    beyond(s, d, c)  =  logit p(c | s, d there or not)  -  logit p(c | s).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ehrsynth.disclosure import LEAST
from ehrsynth.models.told import may_tell

CANDIDATES = 512  # the most frequent codes, of which companions are chosen
BLOCK = 256  # codes looked at at a time
LEAST_GAIN = 15.0  # nats of all visits, for which a companion is worth having
SOME = 0.5  # visits added to each count
NONE = -1


class Companions(NamedTuple):
    """Who tells of each code, and what.

    Attributes:
        of: int64 [codes], its companion, or ``NONE``.
        beyond: [states, 2, codes], log odds that are added if the companion is not there, and if it is.
    """

    of: Tensor
    beyond: Tensor


def companions_of(there: Tensor, states: Tensor, given: Tensor, allowed: Tensor, kinds: int) -> Companions:
    """Return what visits of as many patients say of codes two by two; of fewer than ten patients nothing.

    Args:
        there: bool [k, codes], those of each visit.
        states: uint8 [k, codes], how each stands, from 0 to below ``kinds``.
        given: bool [k, codes], those that may tell.
        allowed: bool [codes, codes], which may tell (rows) of which.
        kinds: of states.
    """
    codes = there.shape[1]
    candidates = given.sum(0).argsort(descending=True, stable=True)[:CANDIDATES]
    told_by, allowed = given[:, candidates].float(), allowed[candidates]
    of, beyond = torch.full((codes,), NONE), torch.zeros(kinds, 2, codes)
    for start in range(0, codes, BLOCK):
        block = slice(start, min(start + BLOCK, codes))
        here, b = torch.arange(block.stop - block.start), block.stop - block.start
        gain = torch.zeros(len(candidates), b, dtype=torch.float64)
        odds = torch.zeros(kinds, 2, len(candidates), b, dtype=torch.float64)
        for kind in range(kinds):
            exposed = (states[:, block] == kind).float()
            events = exposed * there[:, block]
            both, with_given = ((told_by.T @ counts).double() for counts in (events, exposed))
            every, all_of_them = events.sum(0).double(), exposed.sum(0).double()
            cells = torch.stack(
                [
                    torch.stack([all_of_them - with_given - every + both, every - both]),
                    torch.stack([with_given - both, both]),
                ]
            )  # whether the companion is there, then whether the code is
            found, odds[kind] = tells(cells)
            gain += found
        gain = gain.where(allowed[:, block], 0.0)
        best, chosen = gain.max(0)
        worth = best >= LEAST_GAIN
        of[block] = candidates[chosen].where(worth, NONE)
        beyond[:, :, block] = odds[:, :, chosen, here].where(worth, 0.0).float()
    return Companions(of, beyond)


def tells(cells: Tensor) -> tuple[Tensor, Tensor]:
    """Return what it tells of whether codes are there that something else is, or is not, or to which degree.

    Args:
        cells: float64 [d, 2, g, c], visits by degree of each of g others, then by whether each of c codes is there.

    Returns:
        The nats [g, c] of all visits, and the log odds [d, g, c] beyond those of all of them; zeros where a cell is of
        too few. Of a cell of one to nine no more is told than that there are few, if ten were to be expected.
    """
    alone = cells.sum(1, keepdim=True) * cells.sum(0, keepdim=True) / cells.sum((0, 1)).clamp(min=1)
    empty = cells.sum(1, keepdim=True) == 0
    cells, told = as_told(cells, alone)
    told = told | empty
    information = (torch.xlogy(cells, cells) - torch.xlogy(cells, alone)).sum((0, 1))
    without, having = cells.sum(0)
    own = ((having + SOME) / (without + SOME)).log()
    odds = ((cells[:, 1] + SOME) / (cells[:, 0] + SOME)).log() - own
    told = told.all(1).all(0)
    return information.where(told, 0.0), odds.where(told, 0.0)


def as_told(counts: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    """Return float64 counts as they may be told, and which may.

    Of one to nine no more is told than that there are few, if ten were to be expected.
    """
    few = (counts > 0) & (counts < LEAST) & (expected >= LEAST)
    return counts.masked_fill(few, LEAST / 2), torch.from_numpy(may_tell(counts.numpy(), expected.numpy())) | few
