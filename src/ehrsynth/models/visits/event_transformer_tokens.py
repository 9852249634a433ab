"""Patients as streams of tokens, and the grammar of what may follow what."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from ehrsynth.models.visits.calendar import DIES, GAP, MEASURED, STAY
from ehrsynth.models.visits.numbers import Numbers
from ehrsynth.models.visits.stepwise import Step
from ehrsynth.visits import VisitSchema


class Tokens(nn.Module):
    """Which token says what.

    A record is a start, and then

        visit start, of a kind -> its codes -> its stay -> what is measured -> visit end -> a gap and the next visit,
                                                                                           or the end, or death

    Tokens lie in the vocabulary in that order, codes by their rank, so within a visit and up to what follows it they
    rise. What may follow a token is therefore a range of the vocabulary, from ``low`` to ``high``, and no record that
    keeps to it has a code twice, a visit that does not end, or anything after death.

    Args:
        visit_schema: of the visits.
        ranges: about how many a number has; there are tokens for twice as many, the most that come of them.

    Attributes:
        size: of the vocabulary.
        kind, codes, stay, values, gap, death: places of tokens; the last of ``stay`` says that nobody wrote it down.
        visit_end, end, start: tokens.
    """

    low: Tensor
    high: Tensor

    def __init__(self, visit_schema: VisitSchema, ranges: int) -> None:
        super().__init__()
        self.most, self.measurements = 2 * ranges, len(visit_schema.measurements)
        sizes = [len(visit_schema.kinds), len(visit_schema.codes), self.most + 1, self.most * self.measurements]
        ends = torch.tensor([0, *sizes, 1, 1, self.most, self.most, 1]).cumsum(0).tolist()
        parts = [slice(start, end) for start, end in pairwise(ends)]
        self.kind, self.codes, self.stay, self.values, visit_end, end, self.death, self.gap, start = parts
        self.visit_end, self.end, self.start, self.size = visit_end.start, end.start, start.start, start.stop
        low = torch.zeros(self.size, dtype=torch.int64)
        high = torch.zeros(self.size, dtype=torch.int64)  # nothing follows end and death
        low[self.start], high[self.start] = self.kind.start, self.kind.stop
        low[self.gap], high[self.gap] = self.kind.start, self.kind.stop
        low[self.kind], high[self.kind] = self.codes.start, self.stay.stop
        low[self.codes], high[self.codes] = torch.arange(self.codes.start, self.codes.stop) + 1, self.stay.stop
        low[self.stay], high[self.stay] = self.values.start, self.visit_end + 1
        for i in range(self.measurements):
            mine = self.value(i)
            low[mine], high[mine] = mine.stop, self.visit_end + 1
        low[self.visit_end], high[self.visit_end] = self.end, self.gap.stop
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def value(self, measurement: int) -> slice:
        """Return the places of the ranges of a measurement."""
        start = self.values.start + self.most * measurement
        return slice(start, start + self.most)

    def usable(self, numbers: Numbers) -> Tensor:
        """Return which tokens there are, bool [size]: numbers may have fewer ranges than there are tokens for."""
        found, sizes = torch.ones(self.size, dtype=torch.bool, device=self.low.device), numbers.sizes
        told = [(self.stay, STAY), (self.death, DIES), (self.gap, GAP)]
        told += [(self.value(i), MEASURED + i) for i in range(self.measurements)]
        for part, number in told:
            found[part.start + sizes[number] : part.start + self.most] = False
        return found

    def may_follow(self, tokens: Tensor, usable: Tensor) -> Tensor:
        """Return which tokens may come after each of ``tokens`` [n], bool [n, size]."""
        place = torch.arange(self.size, device=tokens.device)
        return (self.low[tokens, None] <= place) & (place < self.high[tokens, None]) & usable

    def of_visits(self, visit: Step, first: Tensor, numbers: Numbers, rank: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens of k visits in their order, each with its gap before it.

        Args:
            visit: the visits.
            first: bool [k], which are first visits, without a gap.
            numbers: whose ranges are told.
            rank: int64 [codes], of each code among them.

        Returns:
            The visit of each token, int64 [n], and the tokens, int64 [n].
        """
        each = torch.arange(len(first), device=first.device)
        later = (~first).nonzero().flatten()
        stays = numbers.range_of(STAY, visit.stays).where(visit.stays.isfinite(), self.most)
        of_code, code = visit.codes.nonzero(as_tuple=True)
        parts = [
            (2 * later, self.gap.start + numbers.range_of(GAP, visit.gaps)[later]),
            (2 * each + 1, self.kind.start + visit.kinds),
            (2 * of_code + 1, self.codes.start + rank[code]),
            (2 * each + 1, self.stay.start + stays),
            (2 * each + 1, torch.full_like(each, self.visit_end)),
        ]
        for i in range(self.measurements):
            values = visit.values[:, i]
            measured = values.isfinite().nonzero().flatten()
            parts.append((2 * measured + 1, self.value(i).start + numbers.range_of(MEASURED + i, values[measured])))
        place, token = (torch.cat(columns) for columns in zip(*parts, strict=True))
        order = (place * self.size + token).argsort()
        return place[order] // 2, token[order]

    def visits(self, said: Tensor, gaps: Tensor, numbers: Numbers, order: Tensor, generator: torch.Generator) -> Step:
        """Return the visits in which some tokens were said, bool [k, size]; numbers are drawn within their ranges.

        Args:
            said: by each visit.
            gaps: [k], days before them.
            numbers: in whose ranges.
            order: int64 [codes], the code of each rank.
            generator: of the draws.
        """

        def number(part: slice, which: int) -> Tensor:
            drawn = numbers.drawn(which, said[:, part].float().argmax(1), generator)
            return drawn.where(said[:, part].any(1), torch.nan)

        codes = torch.zeros(len(said), len(order), dtype=torch.bool, device=said.device)
        codes[:, order] = said[:, self.codes]
        known = slice(self.stay.start, self.stay.stop - 1)
        values = [number(self.value(i), MEASURED + i) for i in range(self.measurements)]
        return Step(
            gaps=gaps,
            kinds=said[:, self.kind].float().argmax(1),
            stays=number(known, STAY),
            codes=codes,
            values=torch.stack(values, dim=1) if values else gaps.new_zeros(len(said), 0),
        )
