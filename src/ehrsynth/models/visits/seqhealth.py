"""VAE-SeqHealth: a sequential variational autoencoder with temporal attention and latent regularisation.

A comparison of generators of electronic health records (2025) names a "sequential variational autoencoder [...] for EHR
time-series" with "temporal attention layers, latent regularization", without an equation, a size or code. So what these
words mean here is our choice, and nothing of that study is claimed to be reproduced. With z a latent vector of the
patient, u_t one of each visit (as in Chung et al., A recurrent latent variable model for sequential data, NeurIPS
2015), and h_t what attention makes of the row and the visits before t,

    p(record)  =  int p(z) prod over t of  p(there is a visit t | h_t)  int p(u_t | h_t, z) p(visit t | h_t, z, u_t)

is bounded by the evidence lower bound, in which q(z | record) and q(u_t | h_t, z, visit t) stand for the posteriors.

Temporal attention: what is read of earlier visits fades with the time between, at a rate of each head's own; what the
same shares read of their codes is added to the log odds of these, so that a code comes back from where it was seen; by
how much starts where counting puts it. Latent regularisation: the weight of the KL terms rises from zero to one, and a
vector pays nothing for its first ``free_nats`` (Bowman et al., CoNLL 2016; Kingma et al., NeurIPS 2016), else a decoder
that knows the past leaves the latent vectors unused. Each can be switched off, to measure what it is worth.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from typing_extensions import override

from ehrsynth.errors import expect
from ehrsynth.models import heads as likelihood
from ehrsynth.models import options
from ehrsynth.models.autoencoder import normal_draw
from ehrsynth.models.truncation import Truncation
from ehrsynth.models.visits.bounded import Bounded
from ehrsynth.models.visits.recurrence import Recurrence
from ehrsynth.models.visits.seqhealth_network import SeqHealthNetwork, Told
from ehrsynth.models.visits.stepwise import Step
from ehrsynth.models.visits.visit_states import VisitStates, clock
from ehrsynth.schema import Schema
from ehrsynth.visit_batch import VisitBatch
from ehrsynth.visits import Visits, VisitSchema


@dataclass(eq=False)
class SoFar:
    """What is known of k patients.

    Attributes:
        static: [k, s].
        firsts: float64 [k], days since 1970 of their first visits.
        told: their visits.
        z: latent vectors [k, latent]; drawn when first asked for, given the visits by then.
    """

    static: Tensor = field(repr=False)
    firsts: Tensor = field(repr=False)
    told: Told = field(repr=False)
    z: Tensor | None = field(repr=False, default=None)


@dataclass(frozen=True, eq=False)
class Bound:
    """The parts of the bound.

    Attributes:
        nats: [b], what the visits of each patient and their end take, given latent vectors.
        patient: [b, latent], KL terms of z; zero of patients without a visit.
        visits: [b, t, visit_latent], KL terms of u; zero of what is no visit.
    """

    nats: Tensor = field(repr=False)
    patient: Tensor = field(repr=False)
    visits: Tensor = field(repr=False)


class SeqHealth(Bounded[SoFar]):
    """A latent vector of the patient and of each visit, and attention to what was before.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        seed: of weights and draws.
        width: of the networks.
        heads: of the attention.
        latent: dimensions of a patient's latent vector.
        visit_latent: dimensions of a visit's.
        dropout: share of units left out in training.
        ranges: about how many ranges of equal share a number has.
        temporal_attention: else all earlier visits are read alike, whenever they were.
        latent_regularisation: else the loss is the evidence lower bound from the first batch.
        kl_warmup_steps: batches until the KL terms have their full weight.
        free_nats: of each latent vector, on average over a batch.
        learning_rate: of AdamW.
        warmup_steps: batches until it is reached.
        weight_decay: of AdamW.
        ema_decay: of the averaged weights, less at first.
        patience: epochs without a better bound of validation patients until training stops.
        temperature: of draws; 1 draws as learned.
        top_p: share of outcomes that draws keep, see ``Truncation``; 1 keeps all.

    Raises:
        OptionError: an option is not a value that can work.
    """

    sample_batch = 256  # whose visits are all kept
    network: SeqHealthNetwork
    best: SeqHealthNetwork

    def __init__(
        self,
        *,
        schema: Schema,
        visit_schema: VisitSchema,
        seed: int = 0,
        width: int = 128,
        heads: int = 4,
        latent: int = 16,
        visit_latent: int = 8,
        dropout: float = 0.2,
        ranges: int = 16,
        temporal_attention: bool = True,
        latent_regularisation: bool = True,
        kl_warmup_steps: int = 500,
        free_nats: float = 2.0,
        learning_rate: float = 2e-3,
        warmup_steps: int = 100,
        weight_decay: float = 0.01,
        ema_decay: float = 0.995,
        patience: int = 5,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> None:
        super().__init__(schema=schema, visit_schema=visit_schema, seed=seed, ranges=ranges)
        self.save_hyperparameters(ignore=["schema", "visit_schema"])
        options.whole(1, width=width, heads=heads, latent=latent, visit_latent=visit_latent, ranges=ranges)
        options.share(dropout=dropout)
        options.whole(0, kl_warmup_steps=kl_warmup_steps)
        options.number(0, free_nats=free_nats)
        expect(width % heads == 0, "model.width", width, f"a multiple of heads={heads}")
        self.latent, self.regularised = latent, latent_regularisation
        self.kl_warmup_steps, self.free_nats = kl_warmup_steps, free_nats
        self.truncation = Truncation(temperature, top_p)
        self.states = VisitStates(visit_schema, ranges)
        static, columns, codes = self.layout.width, self.states.layout.width, self.states.codes
        with self.seeded_init():
            network = SeqHealthNetwork(
                static, columns, codes, width, heads, latent, visit_latent, dropout, ranges, temporal_attention
            )
        self.follow(
            network,
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            weight_decay=weight_decay,
            ema_decay=ema_decay,
            patience=patience,
        )

    @override
    def observe(self, static: Tensor, visits: Visits) -> None:
        """Learn dates and ranges, and start the decoder at what visits are like at large."""
        super().observe(static, visits)
        self.network.closed.copy_(self.states.closed(self.calendar.numbers))
        usual = self.states.usual(visits, static, self.calendar.numbers)
        _, _, latest, _, never, _ = Recurrence.of(visits, self.states.codes).odds.to(usual.device)
        self.network.output.bias.data.copy_(torch.cat([never, usual[self.states.codes :]]))
        self.network.again.data.copy_((latest - never) / len(self.network.again))
        self.start()

    def training_step(self, batch: VisitBatch, batch_idx: int) -> Tensor:
        """Return the mean nats of a visit: those of the bound, its KL terms weighted if regularised."""
        with self.seeded_layers(batch_idx):
            bound = self._parts(self.network, batch, self.step_rng(batch_idx))
        visits = batch.lengths.sum().clamp(min=1)
        patients = (batch.lengths > 0).sum().clamp(min=1)
        of_patient, of_visit = bound.patient.sum() / patients, bound.visits.sum() / visits
        free, weight = 0.0, 1.0
        if self.regularised:
            free, weight = self.free_nats, min(1.0, (self.global_step + 1) / max(self.kl_warmup_steps, 1))
        paid = of_patient.clamp(min=free) * patients / visits + of_visit.clamp(min=free)
        total = bound.nats.sum() / visits + weight * paid
        self.log_losses(batch_idx, total=total, patient_kl=of_patient, visit_kl=of_visit)
        return total

    def bound(self, network: nn.Module, batch: VisitBatch, generator: torch.Generator) -> Tensor:
        """Return the negative evidence lower bound [b], by one draw of the latent vectors."""
        assert isinstance(network, SeqHealthNetwork)
        parts = self._parts(network, batch, generator)
        return parts.nats + parts.patient.sum(1) + parts.visits.sum((1, 2))

    def _parts(self, network: SeqHealthNetwork, batch: VisitBatch, generator: torch.Generator) -> Bound:
        batch = batch.to(self.device)
        rows, real = self.states.of_batch(batch, self.calendar.numbers), batch.real
        told = self._told(network, batch, rows)
        mean, log_variance = network.patients(told, batch.lengths)
        some = (batch.lengths > 0)[:, None]
        kl = _divergence(mean, log_variance, torch.zeros_like(mean), torch.zeros_like(mean)) * some
        state, odds = network.states(told)
        nats = network.endings.nats(state[:, 1:], batch, self.calendar.numbers)
        state = state[:, :-1] + network.from_patient(normal_draw(mean, log_variance, generator))[:, None]
        prior, posterior = network.before(state), network.after(state, told.visits[:, 1:])
        logits = network.logits(state, odds[:, :-1], normal_draw(*posterior, generator))
        surprise = likelihood.negative_log_likelihood(self.states.layout, rows, logits, logits[..., :0])
        return Bound(nats + (surprise * real).sum(1), kl, _divergence(*posterior, *prior) * real[:, :, None])

    def _told(self, network: SeqHealthNetwork, batch: VisitBatch, rows: Tensor) -> Told:
        """Return the start and all visits of a batch, whose rows are [b, t, B]."""
        told, t = self._begun(network, batch.static, batch.first), batch.longest
        elapsed = batch.gaps.cumsum(1)
        number = torch.arange(t, device=rows.device).expand(len(batch), -1)
        when = clock(number, batch.gaps, elapsed, batch.first[:, None].expand(-1, t), self.calendar.numbers)
        static = batch.static[:, None].expand(-1, t, -1)
        visits = network.visit(torch.cat([static, when, rows], dim=2))
        return Told(
            torch.cat([told.visits, visits], dim=1),
            torch.cat([told.codes, rows[:, :, : self.states.codes]], dim=1),
            torch.cat([told.days, elapsed], dim=1),
        )

    def _begun(self, network: SeqHealthNetwork, static: Tensor, firsts: Tensor) -> Told:
        none = torch.zeros(len(static), device=static.device)
        when = clock(none, none, none, firsts, self.calendar.numbers)
        start = network.start(torch.cat([static, when], dim=1))
        return Told(start[:, None], none[:, None, None].expand(-1, -1, self.states.codes), none[:, None])

    @override
    def begun(self, static: Tensor, firsts: Tensor) -> SoFar:
        return SoFar(static, firsts, self._begun(self.best, static, firsts))

    @override
    def after(self, state: SoFar, visit: Step) -> SoFar:
        told, numbers = state.told, self.calendar.numbers
        number = told.days.shape[1] - 1
        first = torch.full((len(state.static),), number == 0, device=self.device)
        rows, elapsed = self.states.rows(visit, first, numbers), told.days[:, -1] + visit.gaps.float()
        when = clock(torch.full_like(elapsed, number), visit.gaps.float(), elapsed, state.firsts, numbers)
        vector = self.best.visit(torch.cat([state.static, when, rows], dim=1))
        return SoFar(state.static, state.firsts, told.then(vector, rows[:, : self.states.codes], elapsed), state.z)

    @override
    def of_some(self, state: SoFar, rows: Tensor) -> SoFar:
        z = None if state.z is None else state.z[rows]
        return SoFar(state.static[rows], state.firsts[rows], state.told.of(rows), z)

    def _latent(self, state: SoFar, generator: torch.Generator) -> Tensor:
        """Return z [k, latent]: of patients without a visit from its prior, else given the visits."""
        if state.z is None:
            k, number = len(state.static), state.told.days.shape[1] - 1
            normal = torch.zeros(k, self.latent, device=self.device), torch.zeros(k, self.latent, device=self.device)
            if number:
                normal = self.best.patients(state.told, torch.full((k,), number, device=self.device))
            state.z = normal_draw(*normal, generator)
        return state.z

    @override
    def going_on(self, state: SoFar, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        known, _ = self.best.states(state.told, 1)
        return self.best.endings.drawn(known[:, 0], self.calendar.numbers, self.truncation, generator)

    @override
    def step(self, state: SoFar, generator: torch.Generator) -> Step:
        known, odds = self.best.states(state.told, 1)
        known = known[:, 0] + self.best.from_patient(self._latent(state, generator))
        logits = self.best.logits(known, odds[:, 0], normal_draw(*self.best.before(known), generator))
        logits = self.states.as_drawn(logits, self.truncation)
        rows = likelihood.draw(self.states.layout, logits, logits[:, :0], generator)
        first = torch.full((len(rows),), state.told.days.shape[1] == 1, device=self.device)
        return self.states.visit(rows, first, self.calendar.numbers, generator)


def _divergence(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other: Tensor) -> Tensor:
    """Return the KL divergence [..., d] of normal variables from others, dimension by dimension, in nats."""
    apart = (mean - other_mean).square() * (-other).exp()
    return 0.5 * (apart + (log_variance - other).exp() - 1 - (log_variance - other))
