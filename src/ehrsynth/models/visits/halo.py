"""HALO: a transformer over visits, and within a visit each code given those before it.

Theodorou, Xiao and Sun, Synthesize high-dimensional longitudinal electronic health records via hierarchical
autoregressive language model, Nature Communications 14, 2023. A record is a sequence of multi-hot vectors: a start, the
labels (here the row of the patient), then its visits, whose last one has the bit that ends the record,

    P(record)  =  prod over t, c of P(v_t,c | v_<t, v_t,<c)

h_t of a GPT-2 reads the vectors before t; a head of two masked layers says each bit of a vector from h_t and the bits
before it. The loss is the binary cross-entropy of all bits. As in the paper's continuous form, numbers are bits of
ranges: the gap before a visit, its stay, what is measured; and its kind. Deaths are none of its bits, so here they come
from a law of their own, whatever the record is.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from typing_extensions import override

from ehrsynth.errors import expect
from ehrsynth.layout import refuse_nan
from ehrsynth.models import options
from ehrsynth.models.chow_liu import ChowLiu
from ehrsynth.models.noisy_looks import CODES, NoisySums, within
from ehrsynth.models.truncation import Truncation
from ehrsynth.models.visits.halo_network import HaloNetwork, MadeHead, SquareHead
from ehrsynth.models.visits.halo_records import HaloRecords
from ehrsynth.models.visits.halo_vectors import Vectors
from ehrsynth.models.visits.stepwise import Step, Stepwise
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng
from ehrsynth.visit_batch import VisitBatch, batch_of, in_blocks
from ehrsynth.visits import Integers, Visits, VisitSchema

TRACE = 1e-9
RANGES = 8  # of a number, about; the paper has 15 of each, chosen by hand
MARGINALS = 2000  # patients whose shares of bits the network starts at
PATIENTS = 64  # whose likelihood is computed at a time


@dataclass(frozen=True, eq=False)
class SoFar:
    """What is known of k patients.

    Attributes:
        vectors: [k, positions, bits], start, row and visits.
        h: [k, width], what the transformer makes of them.
        before: [k, width], what it made of them without the latest visit.
    """

    vectors: Tensor = field(repr=False)
    h: Tensor = field(repr=False)
    before: Tensor = field(repr=False)


class Halo(Stepwise[SoFar]):
    """Visits given visits, codes given codes.

    Beside the paper's: numbers in ranges of equal share and not chosen by hand; rows of patients are drawn as for all
    models here, though their bits are part of the loss; of a record longer than ``visits`` only the first are seen, as
    in its code; with validation patients the weights of the epoch are kept that are best for them. A private training
    keeps the last, and has a patient with all its visits as its unit, see ``record_losses``.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        seed: of weights and draws.
        width: of the transformer.
        layers: of it.
        heads: of its attention.
        head: of the bits of a visit: ``square``, the paper's, two masked layers as wide as transformer and vector
            together; or ``made`` (Germain et al., ICML 2015), ``hidden`` units and a masked direct layer.
        hidden: units of ``made``.
        order: of the codes in a vector: ``random``, the paper's, or by falling ``prevalence``.
        visits: of a record, at most.
        learning_rate: of Adam.
        temperature: of draws; 1 draws as learned.
        top_p: share of outcomes that draws keep, see ``Truncation``; 1 keeps all.

    Raises:
        OptionError: an option is not a value that can work.
    """

    keeps_best = True
    private = "gradients"
    noisy_looks = Stepwise.noisy_looks + 1
    sample_batch = 256  # whose vectors are all kept
    order: Tensor  # the code at each place
    least: Tensor  # nats of a validation record, at best

    def __init__(
        self,
        *,
        schema: Schema,
        visit_schema: VisitSchema,
        seed: int = 0,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        head: Literal["square", "made"] = "made",
        hidden: int = 256,
        order: Literal["random", "prevalence"] = "prevalence",
        visits: int = 48,
        learning_rate: float = 1e-3,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> None:
        super().__init__(schema=schema, visit_schema=visit_schema, seed=seed, ranges=RANGES)
        self.save_hyperparameters(ignore=["schema", "visit_schema"])
        options.whole(1, width=width, layers=layers, heads=heads, hidden=hidden, visits=visits)
        options.choice(("square", "made"), head=head)
        options.choice(("random", "prevalence"), order=order)
        options.positive(learning_rate=learning_rate)
        expect(width % heads == 0, "model.width", width, f"a multiple of heads={heads}")
        self.by_prevalence, self.visits, self.learning_rate = order == "prevalence", visits, learning_rate
        self.truncation = Truncation(temperature, top_p)
        codes = len(visit_schema.codes)
        self.register_buffer("order", torch.randperm(codes, generator=torch_rng(seed, "order of codes")))
        self.register_buffer("least", torch.tensor(torch.inf))
        self.vectors = Vectors(schema, visit_schema, self.statics, RANGES)
        with self.seeded_init():
            bits = self.vectors.width
            last = SquareHead(width, bits) if head == "square" else MadeHead(width, bits, hidden)
            self.network = HaloNetwork(bits, width, layers, heads, visits + 2, last)
        self.best = copy.deepcopy(self.network).requires_grad_(False)
        # In a tuple, for it is no part of the model: all its weights are the network's.
        self._records: tuple[HaloRecords, ...] = (HaloRecords(self.network),) if head == "made" else ()
        self.unseen: tuple[Tensor, Visits] | None = None

    @override
    def observe(self, static: Tensor, visits: Visits) -> None:
        super().observe(static, visits)
        if self.by_prevalence:
            counts = np.bincount(visits.codes, minlength=len(self.order))
            self.order.copy_(torch.from_numpy(counts).argsort(descending=True, stable=True))

        if isinstance(self.network.head, MadeHead):  # a start that costs nothing; the paper's head has none
            some = np.arange(min(len(visits), MARGINALS))
            vectors, real = self.encoded(batch_of(visits, static, len(self.visit_schema.measurements), some))
            share = (vectors[:, 1:] * real[:, :, None]).sum((0, 1)) / real.sum()
            self._start_at(share)

    @override
    def observe_noisily(self, static: Tensor, visits: Visits, noisy: NoisySums, statics: ChowLiu) -> None:
        """Start at noisy shares of bits: each patient counts with the mean of its vectors, no longer than ``most``.

        Codes come in the order of the vocabulary, and records have ``visits`` at most, which tell of nobody.
        """
        super().observe_noisily(static, visits, noisy, statics)
        self.calendar.most.fill_(self.visits)
        if self.by_prevalence:
            self.order.copy_(torch.arange(len(self.order)))

        def shares(rows: Integers) -> Tensor:
            vectors, real = self.encoded(batch_of(visits, static, len(self.visit_schema.measurements), rows))
            mean = (vectors[:, 1:] * real[:, :, None]).sum(1) / real.sum(1, keepdim=True)
            return within(mean.double(), most)

        most = CODES**0.5
        blocks = (np.arange(len(visits))[start : start + PATIENTS] for start in range(0, len(visits), PATIENTS))
        empty = torch.zeros(self.vectors.width, dtype=torch.float64)
        told = noisy.told("shares of codes and numbers", map(shares, blocks), empty, most)
        self._start_at((told / len(visits)).clamp(0.5 / len(visits), 1 - 0.5 / len(visits)).float())

    def _start_at(self, share: Tensor) -> None:
        """Let the network say these chances [bits] of bits, whatever was before them."""
        assert isinstance(self.network.head, MadeHead)
        self.network.head.start.bias.data.copy_(torch.logit(share, eps=1e-4))
        self.best.load_state_dict(self.network.state_dict())

    @override
    def hold_out(self, static: Tensor, visits: Visits) -> None:
        self.unseen = static, visits

    def training_step(self, batch: VisitBatch, batch_idx: int) -> Tensor:
        """Return the mean nats of a vector, rows and visits; the paper divides by bits and places, padding included."""
        nats, real = self.nats(self.network, batch)
        loss = (nats * real).sum() / real.sum()
        self.log_losses(batch_idx, total=loss)
        return loss

    @override
    def prevents_privacy(self) -> str | None:
        return None if self._records else "head=square: the norms of gradients are known of head=made alone; use it"

    @override
    def record_modules(self) -> Iterator[nn.Module]:
        yield from self._records

    @override
    def record_losses(self, batch: VisitBatch, generator: torch.Generator, draws: int) -> Tensor:
        """Return the nats [n] of the row and all visits of each patient, of ``visits`` at most; it draws nothing."""
        nats, real = self.nats(self._records[0], batch)
        return (nats * real).sum(1)

    def nats(self, network: HaloNetwork | HaloRecords, batch: VisitBatch) -> tuple[Tensor, Tensor]:
        """Return the nats [b, 1 + t] of the row and of each visit, and which of the places are real, bool."""
        vectors, real = self.encoded(batch)
        logits = network(vectors)
        return binary_cross_entropy_with_logits(logits, vectors[:, 1:], reduction="none").sum(2), real

    def encoded(self, batch: VisitBatch) -> tuple[Tensor, Tensor]:
        """Return the vectors of records, and which of them but the start are real, see ``Vectors.of_batch``."""
        return self.vectors.of_batch(batch, self.visits, self.calendar.numbers, self.order)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam at a steady rate, as in the paper's code."""
        return torch.optim.Adam(self.network.parameters(), self.learning_rate)

    @override
    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After an epoch keep the weights if validation records are likelier, or if there are none."""
        if self.trainer.is_last_batch:
            found = torch.tensor(-torch.inf, device=self.device)
            if self.unseen is not None:
                found = -self._likelihood_by(self.network, *self.unseen).mean()
                self.log_losses(batch_idx, validation=found)
            if found < self.least or self.unseen is None:
                self.least.copy_(found)
                self.best.load_state_dict(self.network.state_dict())
        super().on_train_batch_end(outputs, batch, batch_idx)

    @override
    def log_likelihood(self, static: Tensor, visits: Visits) -> Tensor:
        """Return log p(visits | row) [n] in nats, of records longer than ``visits`` that of their first ones."""
        return self._likelihood_by(self.best, static, visits)

    @torch.no_grad()
    def _likelihood_by(self, network: HaloNetwork, static: Tensor, visits: Visits) -> Tensor:
        def of_some(rows: Integers) -> Tensor:
            batch = batch_of(visits, static, len(self.visit_schema.measurements), rows).to(self.device)
            nats, real = self.nats(network, batch)
            return self.calendar.nats_of_number(batch.lengths) - (nats * real)[:, 1:].sum(1)

        return in_blocks(visits, PATIENTS, of_some)

    @override
    def begun(self, static: Tensor, firsts: Tensor) -> SoFar:
        vectors = torch.stack([self.vectors.starts(len(static), self.device), self.vectors.rows(static)], dim=1)
        h = self.best.histories(vectors)
        return SoFar(vectors, h[:, -1], h[:, -2])

    @override
    def after(self, state: SoFar, visit: Step) -> SoFar:
        first = torch.full((len(state.h),), state.vectors.shape[1] == 2, device=self.device)
        vector = self.vectors.visits(visit, first, self.calendar.numbers, self.order)
        vectors = torch.cat([state.vectors, vector[:, None]], dim=1)[:, : self.visits + 2]
        return SoFar(vectors, self.best.histories(vectors)[:, -1], state.h)

    @override
    def of_some(self, state: SoFar, rows: Tensor) -> SoFar:
        return SoFar(state.vectors[rows], state.h[rows], state.before[rows])

    @override
    def going_on(self, state: SoFar, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        k, full = len(state.h), state.vectors.shape[1] >= self.visits + 2
        logits = self.truncation.bits(self.best.head(state.before, state.vectors[:, -1])[:, self.vectors.end])
        refuse_nan(logits)
        chance = torch.rand(k, generator=generator, device=self.device)
        return (chance >= logits.sigmoid()) & (not full), self.calendar.deaths(k, generator)

    @override
    def step(self, state: SoFar, generator: torch.Generator) -> Step:
        """Draw gap and kind, then all other bits, then those again that look at one that has changed.

        A bit is there if a place drawn for it lies below its chance, which depends on bits before it alone: when none
        changes any more all are as if drawn one after another, after about as many rounds as a visit has codes. Of
        the ranges of a gap one is drawn, by the chances that each is the first, given that there is one; so of kinds.
        """
        k, device = len(state.h), self.device
        bits = torch.zeros(k, self.vectors.width, device=device)
        for part in self.vectors.wanted(self.calendar.numbers)[state.vectors.shape[1] == 2 :]:  # no gap at first visits
            chances = self._chances(state.h, bits)[:, part]
            none_before = torch.cat([torch.ones_like(chances[:, :1]), (1 - chances).cumprod(1)[:, :-1]], dim=1)
            one = torch.multinomial(chances * none_before + TRACE, 1, generator=generator)
            bits.scatter_(1, one + part.start, 1.0)
        fixed = bits.clone()
        place = torch.rand(k, self.vectors.end, generator=generator, device=device)
        rows = torch.arange(k, device=device)
        while len(rows):
            drawn = torch.zeros(len(rows), self.vectors.width, device=device)
            drawn[:, : self.vectors.end] = (place[rows] < self._chances(state.h[rows], bits[rows])).float()
            drawn = self.vectors.cleaned(drawn, self.calendar.numbers) + fixed[rows]
            changed = (drawn != bits[rows]).any(1)
            bits[rows] = drawn
            rows = rows[changed]
        return self.vectors.told(bits, self.calendar.numbers, self.order, generator)

    def _chances(self, h: Tensor, bits: Tensor) -> Tensor:
        """Return the chance [k, end] of each bit of a visit but its end, given those before it."""
        logits = self.best.head(h, bits)[:, : self.vectors.end]
        refuse_nan(logits)
        return self.truncation.bits(logits).sigmoid()

    @override
    def remarks(self, steps: float) -> Iterator[str]:
        """Say that longer records are cut, if there are ten or more."""
        if int(self.calendar.most) > self.visits:
            yield (
                f"model.visits={self.visits}: training records have up to {int(self.calendar.most)} visits, of which"
                " only the first are seen; set more, which costs memory"
            )
