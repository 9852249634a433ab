"""Patients as padded streams of tokens, whole as in training, or as far as they have been drawn."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from ehrsynth.models.visits.calendar import DIES, FIRST
from ehrsynth.models.visits.event_transformer_network import Read
from ehrsynth.models.visits.event_transformer_tokens import Tokens
from ehrsynth.models.visits.numbers import Numbers
from ehrsynth.models.visits.stepwise import Step
from ehrsynth.visit_batch import VisitBatch

YEAR, VISITS = 365.0, 8.0  # that days and numbers of visits are told against


@dataclass(frozen=True, eq=False)
class Stream:
    """The tokens of b patients, a start and l more at most.

    Attributes:
        row: [b, s], encoded.
        lengths: int64 [b], tokens of each beside the start.
        tokens: int64 [b, 1 + l].
        visit: int64 [b, 1 + l], the visit of each token among those of all; zero for starts.
        times: [b, 1 + l, TIMES].
        status: int64 [visits, codes], of the codes by rank before each visit.
    """

    row: Tensor = field(repr=False)
    lengths: Tensor = field(repr=False)
    tokens: Tensor = field(repr=False)
    visit: Tensor = field(repr=False)
    times: Tensor = field(repr=False)
    status: Tensor = field(repr=False)

    def blocks(self, most: int) -> Iterator[Tensor]:
        """Yield rows of similar length, whose tokens, padding included, are ``most`` or those of one row."""
        order = self.lengths.argsort(descending=True, stable=True)
        longest, start = self.lengths[order].tolist(), 0
        while start < len(order):
            size = max(most // (longest[start] + 1), 1)
            yield order[start : start + size]
            start += size


@dataclass(frozen=True, eq=False)
class SoFar:
    """What is known of k patients.

    Attributes:
        row: [k, s], encoded.
        first: [k], the place of the first visit's date in its law.
        number: int64 [k], visits so far.
        elapsed: [k], days from the first to the latest.
        ever, latest: bool [k, codes], the codes so far, and of the latest visit.
        read: what the network keeps of the tokens.
        h: [k, width], after the last of them.
    """

    row: Tensor = field(repr=False)
    first: Tensor = field(repr=False)
    number: Tensor = field(repr=False)
    elapsed: Tensor = field(repr=False)
    ever: Tensor = field(repr=False)
    latest: Tensor = field(repr=False)
    read: Read = field(repr=False)
    h: Tensor = field(repr=False)

    def of(self, rows: Tensor) -> "SoFar":
        """Return what is known of some of the patients."""
        some: dict[str, Any] = {}
        for each in fields(self):
            part = getattr(self, each.name)
            some[each.name] = part.of(rows) if isinstance(part, Read) else part[rows]
        return SoFar(**some)


def stream_of(batch: VisitBatch, vocabulary: Tokens, numbers: Numbers, order: Tensor, context: int) -> Stream:
    """Return the tokens of patients, of ``context`` beside the start at most.

    Args:
        batch: of the patients.
        vocabulary: of the tokens.
        numbers: whose ranges are told.
        order: int64 [codes], the code of each rank.
        context: tokens that are kept of a record, its first ones.
    """
    b, t, device = len(batch), batch.longest, batch.lengths.device
    hot = batch.multi_hot(len(order))
    real = batch.real.flatten().nonzero().flatten()
    owner, number = real // max(t, 1), real % max(t, 1)
    parts = (batch.gaps, batch.kinds, batch.stays, hot > 0, batch.values)
    flat = Step(*(part.flatten(0, 1) for part in parts)).of(real)
    visit, token = vocabulary.of_visits(flat, number == 0, numbers, order.argsort())
    some = batch.lengths > 0
    dies = batch.dies[some]
    death = (vocabulary.death.start + numbers.range_of(DIES, dies)).where(dies.isfinite(), vocabulary.end)
    visit, token = torch.cat([visit, (batch.lengths.cumsum(0) - 1)[some]]), torch.cat([token, death])
    sorting = visit.argsort(stable=True)  # what ends a record comes after its last visit
    visit, token = visit[sorting], token[sorting]

    patient = owner[visit]
    place, counts = places(patient, b)
    kept = place < context
    patient, place, visit, token = patient[kept], 1 + place[kept], visit[kept], token[kept]
    lengths = counts.clamp(max=context)
    tokens = torch.full((b, 1 + int(lengths.max())), vocabulary.start, device=device)
    tokens[patient, place] = token
    visits = torch.zeros_like(tokens)
    visits[patient, place] = visit
    first, elapsed = numbers.place_of(FIRST, batch.first), batch.gaps.cumsum(1).flatten()[real]
    none = torch.zeros_like(first)
    times = times_of(first, none, none)[:, None].repeat(1, tokens.shape[1], 1)
    times[patient, place] = times_of(first[patient], number[visit] + 1.0, elapsed[visit])

    before = (hot.cumsum(1) - hot).flatten(0, 1)[real] > 0
    latest = torch.cat([torch.zeros_like(hot[:, :1]), hot[:, :-1]], dim=1).flatten(0, 1)[real] > 0
    return Stream(batch.static, lengths, tokens, visits, times, status_of(before, latest)[:, order])


def places(owner: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return which of its owner's tokens each is, counted from 0, and how many each of k has; owners ascend."""
    counts = torch.bincount(owner, minlength=k)
    return torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner], counts


def status_of(ever: Tensor, latest: Tensor) -> Tensor:
    """Return what is known of codes [k, codes]: 0 never, 1 in the latest visit, 2 before only."""
    return torch.where(latest, 1, 2 * ever.long())


def times_of(first: Tensor, number: Tensor, elapsed: Tensor) -> Tensor:
    """Return when tokens are, [n, TIMES]: the place of the first visit's date, visits, and days in two ways."""
    days = elapsed.clamp(min=0)
    return torch.stack([first, number / (number + VISITS), days / (days + YEAR), days.log1p() / VISITS], dim=1).float()
