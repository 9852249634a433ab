"""The networks of VAE-SeqHealth: attention that knows how long ago visits were, an encoder, a decoder, two latents."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ehrsynth.models.visits.endings import Endings
from ehrsynth.models.visits.visit_states import CLOCK

MONTH = 30.0  # days
FAR = 6.0  # least log variance of a latent, below zero: a spike would say more than can be learned


class TemporalAttention(nn.Module):
    """Attention to earlier visits, which fades with the time between.

        share(s)  is proportional to  exp(q . k_s / sqrt(d) - r log(1 + months since s)),  of each head

    Args:
        width: of visits.
        heads: of it.
        temporal: else all earlier visits have the same share, whatever they are and whenever they were.
    """

    def __init__(self, width: int, heads: int, temporal: bool) -> None:
        super().__init__()
        self.heads, self.temporal = heads, temporal
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)
        self.rate = nn.Parameter(torch.linspace(-2.0, 2.0, heads))

    def forward(self, asking: Tensor, visits: Tensor, since: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is read [b, q, width], and the shares [b, heads, q, t].

        Args:
            asking: [b, q, width].
            visits: [b, t, width].
            since: days from each visit to each of the q, [b, q, t].
            seen: which visits each may read, bool [b or 1, q, t], at least one.
        """
        if self.temporal:
            query, key = self._split(self.query(asking)), self._split(self.key(visits))
            fading = softplus(self.rate)[:, None, None] * (since / MONTH).clamp(min=0).log1p()[:, None]
            scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5 - fading
        else:
            scores = since.new_zeros(len(visits), self.heads, asking.shape[1], visits.shape[1])
        shares = scores.float().masked_fill(~seen[:, None], -torch.inf).softmax(-1)
        read = shares.to(visits.dtype) @ self._split(self.value(visits)).to(visits.dtype)
        found: Tensor = self.output(read.transpose(1, 2).flatten(2))
        return found, shares

    def _split(self, x: Tensor) -> Tensor:
        found: Tensor = x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
        return found


@dataclass(frozen=True, eq=False)
class Told:
    """The start and the first t visits of b patients.

    Attributes:
        visits: [b, 1 + t, width], what the network makes of each by itself; the start first, which tells the row.
        codes: [b, 1 + t, codes], none at the start.
        days: [b, 1 + t], from the first visit.
    """

    visits: Tensor = field(repr=False)
    codes: Tensor = field(repr=False)
    days: Tensor = field(repr=False)

    def of(self, rows: Tensor) -> "Told":
        """Return those of some of the patients."""
        return Told(self.visits[rows], self.codes[rows], self.days[rows])

    def then(self, visit: Tensor, codes: Tensor, days: Tensor) -> "Told":
        """Return them with a further visit of each: [b, width], [b, codes] and [b]."""
        pairs = ((self.visits, visit), (self.codes, codes), (self.days, days))
        return Told(*(torch.cat([before, more[:, None]], dim=1) for before, more in pairs))


class SeqHealthNetwork(nn.Module):
    """All that is learned, see ``SeqHealth``.

    Args:
        static: columns of the patients' rows.
        columns: of visits as rows, codes first.
        codes: how many of them are codes.
        width: of what visits are made to.
        heads: of the attention.
        latent: dimensions of the patient's latent vector.
        visit_latent: of each visit's.
        dropout: share of units left out in training.
        ranges: about how many a number has.
        temporal: whether attention is.
    """

    closed: Tensor  # [columns], see VisitStates

    def __init__(
        self,
        static: int,
        columns: int,
        codes: int,
        width: int,
        heads: int,
        latent: int,
        visit_latent: int,
        dropout: float,
        ranges: int,
        temporal: bool,
    ) -> None:
        super().__init__()
        self.codes = codes
        self.start = _layers(static + CLOCK, width, width, dropout)
        self.visit = _layers(static + CLOCK + columns, width, width, dropout)
        self.reading, self.recalling = (TemporalAttention(width, heads, temporal) for _ in range(2))
        self.patient = _layers(2 * width, width, 2 * latent, dropout)
        self.state = _layers(2 * width, width, width, dropout)
        self.endings = Endings(width, ranges)
        self.from_patient = nn.Linear(latent, width, bias=False)
        self.prior = _layers(width, width, 2 * visit_latent, dropout)
        self.posterior = _layers(2 * width, width, 2 * visit_latent, dropout)
        self.decoder = _layers(width + visit_latent, 2 * width, columns, dropout)
        self.again = nn.Parameter(torch.ones(heads, codes))
        self.register_buffer("closed", torch.zeros(columns))

    @property
    def output(self) -> nn.Linear:
        """The last layer, whose biases start at what visits are like at large."""
        last = self.decoder[-1]
        assert isinstance(last, nn.Linear)
        return last

    def patients(self, told: Told, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance [b, latent] of the patients' latent vectors, given all their visits."""
        last = told.days.gather(1, lengths[:, None])
        place = torch.arange(told.days.shape[1], device=lengths.device)
        seen = place <= lengths[:, None]
        newest = told.visits[torch.arange(len(lengths), device=lengths.device), lengths]
        since = (last - told.days)[:, None]
        read, _ = self.reading(newest[:, None], told.visits, since, seen[:, None])
        return _normal(self.patient(torch.cat([newest, read[:, 0]], dim=1)))

    def states(self, told: Told, latest: int | None = None) -> tuple[Tensor, Tensor]:
        """Return what is known after the start and after each visit, or after the ``latest`` few of them.

        Returns:
            States [b, q, width], and log odds [b, q, codes] of what comes again.
        """
        places = torch.arange(told.days.shape[1], device=told.days.device)
        asked = places if latest is None else places[-latest:]
        asking = told.visits[:, asked]
        since = told.days[:, asked, None] - told.days[:, None]
        read, shares = self.recalling(asking, told.visits, since, (places <= asked[:, None])[None])
        odds = torch.zeros_like(told.codes[:, asked])
        for head, weights in enumerate(self.again):
            odds = odds + shares[:, head] @ told.codes * weights
        return self.state(torch.cat([asking, read], dim=2)), odds

    def logits(self, state: Tensor, odds: Tensor, visit_latent: Tensor) -> Tensor:
        """Return the logits [..., columns] of visits, given states that know of the patient, and latent vectors."""
        found = self.decoder(torch.cat([state, visit_latent], dim=-1)) + self.closed
        return torch.cat([found[..., : self.codes] + odds, found[..., self.codes :]], dim=-1)

    def before(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the latent vector of a visit that is not known yet."""
        return _normal(self.prior(state))

    def after(self, state: Tensor, visit: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of a visit that is known."""
        return _normal(self.posterior(torch.cat([state, visit], dim=-1)))


def _normal(told: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_variance = told.float().chunk(2, dim=-1)
    return mean, FAR * torch.tanh(log_variance / FAR)


def _layers(inputs: int, width: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, outputs))
