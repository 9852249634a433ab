"""What was before records, and how many codes that makes expected: so tallies and odds start where counting puts them.

A tally of k codes left is to be shared between codes of which some nearly always come and others hardly ever. Of codes
with chances p_v, of which all that count are m = sum of p_v and q = sum of p_v^2, their number is told by the binomial
law with the same mean and variance, that of n = m^2 / q codes of the chance m / n each. Hence

    log p(k)  =  log binomial(k; n, m / n)                             where the network of a tally starts, and
    odds_v   +=  logit(k / n) - logit(m / n)                           of the codes from v on, if k of them come,

as in conditional Bernoulli sampling: Chen, Dempster and Liu, Biometrika 81, 1994. Codes that are rare get log(k / m)
more, those that are all but sure to come are not made rarer by rare ones that may come as well.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ehrsynth.models.departures.variables import NEVER, Variables

SOME = 0.03  # codes, that no number is certain
BEYOND = 3.0  # nats, that each code costs of which there are more than n
IMPOSSIBLE = -20.0
LEAST_CHANCE = 1e-3


class Past(NamedTuple):
    """What was before each of n records, beside their own variables.

    Attributes:
        sums: [n, width], added to what the network reads.
        odds: [n, V], added to the log odds that variables depart.
        again: bool [n, V], which codes would come again; tallies count these apart.
        companions: int64 [V], the place of a code that is drawn before, and tells of the one here.
        beside: [n, 2, V], added to the log odds where that code is absent, and where it is present.
    """

    sums: Tensor
    odds: Tensor
    again: Tensor
    companions: Tensor
    beside: Tensor

    def of(self, rows: Tensor) -> "Past":
        """Return what was before some of the records."""
        return Past(self.sums[rows], self.odds[rows], self.again[rows], self.companions, self.beside[rows])

    def told_by(self, x: Tensor, places: slice = slice(None)) -> Tensor:
        """Return what the codes of records x [n, V] add to the log odds [n, b] of those whose companions they are."""
        beside = self.beside[:, :, places]
        return torch.where(x[:, self.companions[places]] == 1, beside[:, 1], beside[:, 0])


@dataclass(frozen=True, eq=False)
class Expected:
    """Codes of n records that are expected.

    Attributes:
        tally: int64 [n, V], that each variable belongs to, or -1.
        mean: [n, V], m of the codes of the same tally from each place on; zero of what no tally counts.
        among: [n, V], likewise n.
        first: int64 [n, T], the place of the first code of each tally.
        most: int64 [n, T], how many codes it has.
    """

    tally: Tensor = field(repr=False)
    mean: Tensor = field(repr=False)
    among: Tensor = field(repr=False)
    first: Tensor = field(repr=False)
    most: Tensor = field(repr=False)

    @classmethod
    def of(cls, variables: Variables, odds: Tensor, again: Tensor) -> "Expected":
        """Return what log odds [n, V] make expected, of codes of which some would come ``again``, bool [n, V]."""
        chances, tally = odds.sigmoid(), variables.tally_in(again)
        mean, square = torch.zeros_like(odds), torch.zeros_like(odds)
        first, most = [], []
        for number in range(len(variables.ranges)):
            places = variables.places_of_tally(number)
            own = tally[:, places] == number
            chance = chances[:, places] * own
            mean[:, places] += _from_here_on(chance) * own
            square[:, places] += _from_here_on(chance * chance) * own
            first.append(places.start + own.to(torch.uint8).argmax(1))
            most.append(own.sum(1))
        among = mean * mean / square.clamp(min=1e-9)
        return cls(tally, mean, among, torch.stack(first, dim=1), torch.stack(most, dim=1))

    def odds(self, left: Tensor, owner: Tensor, places: slice) -> Tensor:
        """Return what is added to the log odds of the codes at some places.

        Args:
            left: int64 [m, T], codes of each tally that are still to come.
            owner: int64 [m], of which record.
            places: those b of the codes.

        Returns:
            [m, b].
        """
        tally, mean, among = (each[owner, places] for each in (self.tally, self.mean, self.among))
        wanted = left.gather(1, tally.clamp(min=0)).to(mean.dtype)
        rest, others = ((among - each).clamp(min=0) + SOME for each in (wanted, mean))
        return ((wanted + SOME) * others / (rest * (mean + SOME))).log().where(tally >= 0, 0.0)

    def law(self, variables: Variables, tally: int, owner: Tensor) -> Tensor:
        """Return log chances [m, ranges], but for a constant, of the numbers of codes of a tally."""
        _, low, high = (variables.ranges[tally, variables.ranges[tally, :, 0] != NEVER]).T
        number, wide = (low + high) / 2, (high - low + 1).log()
        first, most = self.first[owner, tally, None], self.most[owner, tally, None]
        mean, among = (each[owner].gather(1, first).where(most > 0, 0.0) for each in (self.mean, self.among))
        chance = (mean / among.clamp(min=SOME)).clamp(LEAST_CHANCE, 1 - LEAST_CHANCE)
        over, rest = (number - among).clamp(min=0), (among - number).clamp(min=0)
        ways = torch.lgamma(among + over + 1) - torch.lgamma(number + 1) - torch.lgamma(rest + 1)
        found = ways + number * chance.log() + rest * (1 - chance).log() + wide - BEYOND * over
        return torch.where(low <= most, found.clamp(min=IMPOSSIBLE), IMPOSSIBLE)


def _from_here_on(x: Tensor) -> Tensor:
    return x.flip(1).cumsum(1).flip(1)
