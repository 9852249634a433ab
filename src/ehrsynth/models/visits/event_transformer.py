"""Event transformer: a patient as a stream of tokens, each drawn given those before it, by a grammar.

After CEHR-GPT (Pang et al., arXiv 2402.04400, 2024), whose visits are a start, a kind, codes and an end with a token
of time between two of them, and ETHOS (Renc et al., npj Digital Medicine 7, 2024), where numbers are tokens of their
ranges. Next tokens are learned by cross-entropy,

    log p(record)  =  sum over i of  log p(token_i | tokens before, row),     p zero for what the grammar forbids

Different from both: the mask of the grammar is part of the softmax in training too, so what is learned is proper and no
draw has to be thrown away as malformed; a gap or value is drawn within its range by its law there, where ETHOS takes
the mean of the range and CEHR-GPT one day for it; the network is told at each token how many visits and days
have gone by; and, unless ``recurrence`` is false, of each code whether the patient had it before.
"""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from ehrsynth.disclosure import LEAST
from ehrsynth.errors import expect
from ehrsynth.layout import refuse_nan
from ehrsynth.models import options
from ehrsynth.models.nn import warmup_cosine
from ehrsynth.models.truncation import Truncation
from ehrsynth.models.visits.calendar import DIES, FIRST, GAP
from ehrsynth.models.visits.event_transformer_network import EventNetwork, Read
from ehrsynth.models.visits.event_transformer_stream import SoFar, Stream, places, status_of, stream_of, times_of
from ehrsynth.models.visits.event_transformer_tokens import Tokens
from ehrsynth.models.visits.recurrence import Recurrence
from ehrsynth.models.visits.stepwise import Step, Stepwise
from ehrsynth.schema import Schema
from ehrsynth.visit_batch import VisitBatch, batch_of, in_blocks
from ehrsynth.visits import Integers, Visits, VisitSchema

PATIENTS = 64  # whose likelihood is computed at a time
FEW_STEPS = 500  # of a training that ends before it has learned much
A_VISIT = 4  # tokens beside codes and values: its kind, stay and end, and a gap or what ends the record


class EventTransformer(Stepwise[SoFar]):
    """Tokens given tokens.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        seed: of weights and draws.
        width: of the transformer.
        layers: of it.
        heads: of its attention.
        dropout: share of units left out in training.
        ranges: about how many ranges of equal share a number has.
        context: tokens of a record that are learned from, its first ones, and that a draw looks back to, about.
        tokens: that are in memory at a time, padding included; a step of more is made in parts.
        recurrence: whether codes are told whether the patient had them before.
        learning_rate: of AdamW, after ``warmup_steps``.
        warmup_steps: batches until then; a cosine to zero over the rest of the budget follows.
        weight_decay: of AdamW.
        patience: epochs without better likelihood of validation patients until training stops.
        temperature: of draws; 1 draws as learned.
        top_p: share of outcomes that draws keep, see ``Truncation``; 1 keeps all.

    Raises:
        OptionError: an option is not a value that can work.
    """

    keeps_best = True
    sample_batch = 256  # of whose tokens all keys and values are kept
    order: Tensor  # the code of each rank
    least: Tensor  # nats of a validation record, at best
    waited: Tensor  # epochs since

    def __init__(
        self,
        *,
        schema: Schema,
        visit_schema: VisitSchema,
        seed: int = 0,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        ranges: int = 16,
        context: int = 1024,
        tokens: int = 8192,
        recurrence: bool = True,
        learning_rate: float = 1e-3,
        warmup_steps: int = 100,
        weight_decay: float = 0.1,
        patience: int = 4,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> None:
        super().__init__(schema=schema, visit_schema=visit_schema, seed=seed, ranges=ranges)
        self.save_hyperparameters(ignore=["schema", "visit_schema"])
        options.whole(1, width=width, layers=layers, heads=heads, ranges=ranges, context=context, tokens=tokens)
        options.whole(1, warmup_steps=warmup_steps, patience=patience)
        options.share(dropout=dropout)
        options.positive(learning_rate=learning_rate)
        options.number(0, weight_decay=weight_decay)
        expect(width % (2 * heads) == 0, "model.width", width, f"a multiple of two times heads={heads}")
        self.context, self.at_a_time, self.patience = context, tokens, patience
        self.learning_rate, self.warmup_steps, self.weight_decay = learning_rate, warmup_steps, weight_decay
        self.truncation = Truncation(temperature, top_p)
        self.tokens = Tokens(visit_schema, ranges)
        self.register_buffer("order", torch.arange(len(visit_schema.codes)))
        self.register_buffer("least", torch.tensor(torch.inf))
        self.register_buffer("waited", torch.tensor(0))
        with self.seeded_init():
            self.network = EventNetwork(
                self.tokens.size, self.tokens.codes, self.layout.width, width, layers, heads, dropout, recurrence
            )
        self.best = copy.deepcopy(self.network).requires_grad_(False)
        self.unseen: tuple[Tensor, Visits] | None = None
        self.longest = 0  # tokens that ten training records have

    @override
    def observe(self, static: Tensor, visits: Visits) -> None:
        """Learn dates and ranges, rank codes by prevalence, and start at how often each comes again."""
        super().observe(static, visits)
        per_visit = A_VISIT + visits.codes_per_visit + visits.values_per_visit
        lengths = np.bincount(visits.patient, per_visit, len(visits))
        self.longest = int(np.sort(lengths)[-min(LEAST, len(visits)) :][0])
        odds = Recurrence.of(visits, len(self.order)).odds
        self.order.copy_(odds[-1].argsort(descending=True, stable=True))
        if self.network.usual is not None:
            _, _, latest, before, never, _ = odds.sigmoid().log()[:, self.order.cpu()]
            self.network.usual.data.copy_(torch.stack([never, latest, before]))
        self.best.load_state_dict(self.network.state_dict())

    @override
    def hold_out(self, static: Tensor, visits: Visits) -> None:
        self.unseen = static, visits

    def training_step(self, batch: VisitBatch, batch_idx: int) -> Tensor:
        """Return the mean nats of a token."""
        with self.seeded_layers(batch_idx):
            nats, count = self.nats(self.network, batch)
        loss = nats.sum() / count.clamp(min=1)
        self.log_losses(batch_idx, total=loss)
        return loss

    def nats(self, network: EventNetwork, batch: VisitBatch) -> tuple[Tensor, Tensor]:
        """Return the nats [b] of the tokens of each patient, and how many these are."""
        stream = stream_of(batch, self.tokens, self.calendar.numbers, self.order, self.context)
        blocks = list(stream.blocks(self.at_a_time))
        found = torch.zeros(len(batch), device=self.device)
        for rows in blocks:
            if len(blocks) > 1 and torch.is_grad_enabled():  # only one of them is in memory at a time
                nats = checkpoint(self._nats_of, network, stream, rows, use_reentrant=False)
            else:
                nats = self._nats_of(network, stream, rows)
            found = found.index_add(0, rows, nats)
        return found, stream.lengths.sum()

    def _nats_of(self, network: EventNetwork, stream: Stream, rows: Tensor) -> Tensor:
        """Return the nats [k] of some of the patients."""
        lengths = stream.lengths[rows]
        longest = max(int(lengths.max()), 1)
        tokens = stream.tokens[rows, :longest]
        h, _ = network.read(tokens, stream.row[rows], stream.times[rows, :longest])
        real = torch.arange(longest, device=self.device) < lengths[:, None]
        logits = network.logits(h[real], stream.status[stream.visit[rows, :longest][real]])
        allowed = self.tokens.may_follow(tokens[real], self.tokens.usable(self.calendar.numbers))
        wanted = stream.tokens[rows, 1 : longest + 1][real]
        nats = cross_entropy(logits.masked_fill(~allowed, -torch.inf), wanted, reduction="none")
        return nats.new_zeros(len(rows)).index_add(0, real.nonzero()[:, 0], nats)

    def configure_optimizers(self) -> Any:
        """AdamW: a warm-up, then a cosine to zero at the end of the budget."""
        steps = self.trainer.estimated_stepping_batches
        optimizer = torch.optim.AdamW(
            self.network.parameters(), self.learning_rate, betas=(0.9, 0.95), weight_decay=self.weight_decay
        )
        rate = partial(warmup_cosine, self.warmup_steps, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, rate), "interval": "step"}}

    @override
    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After an epoch keep the weights if validation records are likelier, or stop if they long are not."""
        if self.trainer.is_last_batch:
            found = torch.tensor(-torch.inf, device=self.device)
            if self.unseen is not None:
                found = -self._likelihood_by(self.network, *self.unseen).mean()
                self.log_losses(batch_idx, validation=found)
            self.waited += 1
            if found < self.least or self.unseen is None:
                self.least.copy_(found)
                self.waited.zero_()
                self.best.load_state_dict(self.network.state_dict())
            self.trainer.should_stop |= int(self.waited) >= self.patience
        super().on_train_batch_end(outputs, batch, batch_idx)

    @override
    def log_likelihood(self, static: Tensor, visits: Visits) -> Tensor:
        """Return log p(visits | row) [n] in nats, of records longer than ``context`` that of their first tokens."""
        return self._likelihood_by(self.best, static, visits)

    @torch.no_grad()
    def _likelihood_by(self, network: EventNetwork, static: Tensor, visits: Visits) -> Tensor:
        was_training = network.training
        network.eval()

        def of_some(rows: Integers) -> Tensor:
            batch = batch_of(visits, static, len(self.visit_schema.measurements), rows).to(self.device)
            return self.calendar.nats_of_number(batch.lengths) - self.nats(network, batch)[0]

        found = in_blocks(visits, PATIENTS, of_some)
        network.train(was_training)
        return found

    @override
    def begun(self, static: Tensor, firsts: Tensor) -> SoFar:
        k, first = len(static), self.calendar.numbers.place_of(FIRST, firsts)
        number, elapsed = torch.zeros(k, dtype=torch.int64, device=self.device), torch.zeros_like(first)
        none = torch.zeros(k, len(self.order), dtype=torch.bool, device=self.device)
        tokens = torch.full((k, 1), self.tokens.start, device=self.device)
        h, read = self.best.read(tokens, static, times_of(first, number, elapsed)[:, None])
        return SoFar(static, first, number, elapsed, none, none, read, h[:, -1])

    @override
    def after(self, state: SoFar, visit: Step) -> SoFar:
        k, number = len(state.h), state.number + 1
        elapsed = state.elapsed + visit.gaps.float().where(state.number > 0, 0.0)
        owner, token = self.tokens.of_visits(visit, state.number == 0, self.calendar.numbers, self.order.argsort())
        place, counts = places(owner, k)
        tokens = torch.full((k, int(counts.max())), self.tokens.visit_end, device=self.device)
        tokens[owner, place] = token
        times = times_of(state.first, number, elapsed)[:, None].expand(-1, tokens.shape[1], -1)
        valid = torch.arange(tokens.shape[1], device=self.device) < counts[:, None]
        h, read = self.best.read(tokens, state.row, times, valid, state.read)
        h = h[torch.arange(k, device=self.device), counts - 1]
        read, ever = read.packed(self.context), state.ever | visit.codes
        return SoFar(state.row, state.first, number, elapsed, ever, visit.codes, read, h)

    @override
    def of_some(self, state: SoFar, rows: Tensor) -> SoFar:
        return state.of(rows)

    @override
    def going_on(self, state: SoFar, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw what follows a visit: the end, death, or any gap, which is then drawn again given that there is one."""
        numbers, death = self.calendar.numbers, self.tokens.death
        ends = torch.full((len(state.h),), self.tokens.visit_end, device=self.device)
        token = self._drawn(state.h, None, self._allowed(ends), generator)
        ranges = (token - death.start).clamp(0, numbers.sizes[DIES] - 1)
        died = (token >= death.start) & (token < death.stop)
        return token >= self.tokens.gap.start, numbers.drawn(DIES, ranges, generator).where(died, torch.nan)

    @override
    def step(self, state: SoFar, generator: torch.Generator) -> Step:
        k, numbers, gap = len(state.h), self.calendar.numbers, self.tokens.gap
        h, read = state.h, state.read
        token = torch.full((k,), self.tokens.start, device=self.device)
        gaps = torch.zeros(k, dtype=torch.float64, device=self.device)
        number, elapsed = state.number + 1, state.elapsed
        if int(state.number.max()):  # so they have all had visits: those of a batch go on together
            only = torch.zeros(self.tokens.size, dtype=torch.bool, device=self.device)
            only[gap] = True
            token = self._drawn(h, None, (only & self.tokens.usable(numbers)).expand(k, -1), generator)
            gaps = numbers.drawn(GAP, token - gap.start, generator)
            elapsed = elapsed + gaps.float()
            times = times_of(state.first, number, elapsed)
            h, read = self._next(token, state.row, times, read)
        times, status = times_of(state.first, number, elapsed), status_of(state.ever, state.latest)[:, self.order]
        said = torch.zeros(k, self.tokens.size, dtype=torch.bool, device=self.device)
        rows = torch.arange(k, device=self.device)  # whose visits have not ended
        while True:
            token = self._drawn(h, status[rows], self._allowed(token), generator)
            said[rows, token] = True
            going = (token != self.tokens.visit_end).nonzero().flatten()
            if not len(going):
                return self.tokens.visits(said, gaps, numbers, self.order, generator)
            if len(going) < len(rows):
                rows, token, read = rows[going], token[going], read.of(going)
            h, read = self._next(token, state.row[rows], times[rows], read)

    def _next(self, token: Tensor, row: Tensor, times: Tensor, read: Read) -> tuple[Tensor, Read]:
        """Return h [k, width] after one more token of each."""
        h, read = self.best.read(token[:, None], row, times[:, None], before=read)
        return h[:, -1], read

    def _allowed(self, token: Tensor) -> Tensor:
        return self.tokens.may_follow(token, self.tokens.usable(self.calendar.numbers))

    def _drawn(self, h: Tensor, status: Tensor | None, allowed: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a token [k] of those that may come."""
        logits = self.best.logits(h, status)
        refuse_nan(logits)
        chances = self.truncation.levels(logits.masked_fill(~allowed, -torch.inf)).softmax(1)
        return torch.multinomial(chances, 1, generator=generator).squeeze(1)

    @override
    def remarks(self, steps: float) -> Iterator[str]:
        """Say that a training ends before it has learned much, or that longer records are cut, if ten or more are."""
        if self.longest > self.context:
            yield (
                f"model.context={self.context}: training records have up to {self.longest:,} tokens, of which only the"
                " first are learned from; set more, which costs time"
            )
        if steps < FEW_STEPS:
            yield (
                f"trainer.max_epochs: the training has {steps:.0f} steps, {FEW_STEPS} or more are wanted; set more"
                " epochs (it stops by itself when validation patients get no likelier), or a smaller data.batch_size"
            )
