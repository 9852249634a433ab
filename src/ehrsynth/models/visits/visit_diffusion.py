"""Visit Diffusion: masked diffusion of one visit after the other, given what was before.

Our own, of known parts. A comparison of generators of electronic health records (2025) names a "Diffusion EHR" with
"cross-modal conditioning, noise scheduling", without an equation, a size or code; this is what these words can mean.
Masked diffusion (Sahoo et al., NeurIPS 2024; see ``models.masked_diffusion``) is applied to a visit given the past:

    -log p(record)  <=  sum over t of  -log p(there is a visit t | g) - log p(kind | g) - log p(gap | kind, g)
                        + E_s E_y sum_j k_j / s [y_j is hidden] (-log p(x_j | y, kind, gap, g))

where g is a recurrent encoding of the row and the visits before t, and y a visit t of which each code, the stay and
each measurement is hidden with probability s ** k_j. Noise scheduling: k_j grows with entropy, so what varies most is
revealed first. Cross-modal conditioning: diagnoses, medication, procedures and measurements are revealed together in
``steps`` passes, each given all that is known by then, so they condition on each other; of some training visits whole
domains are told, and any of them may be given (``complete``).
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from typing_extensions import override

from ehrsynth.errors import OptionError, expect
from ehrsynth.layout import refuse_nan
from ehrsynth.models import options
from ehrsynth.models.diffusion.masking import Masking, spread_times
from ehrsynth.models.truncation import Truncation
from ehrsynth.models.visits.bounded import Bounded
from ehrsynth.models.visits.recurrence import Recurrence
from ehrsynth.models.visits.stepwise import Step
from ehrsynth.models.visits.visit_diffusion_network import Before, VisitDiffusionNetwork
from ehrsynth.models.visits.visit_states import VisitStates, clock
from ehrsynth.schema import Schema
from ehrsynth.visit_batch import VisitBatch
from ehrsynth.visits import Visits, VisitSchema

DRAWS = 4  # times at which the bound is looked at
MEASURED = "measurements"  # names stay and measurements among the domains


class VisitDiffusion(Bounded[Before]):
    """Codes and measurements of a visit revealed a share at a time, given a recurrent encoding of the past.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        seed: of weights and draws.
        width: of the encoding of the past.
        reveal_width: of the network that reveals a visit.
        depth: of its residual layers.
        dropout: share of units of the encoding left out in training.
        ranges: about how many ranges of equal share a number has.
        spread: exponent of the variable of largest entropy; one of no entropy has 1, and with 1 all are alike.
        told: share of training visits of which whole domains are told.
        steps: in which a visit is revealed, as many network calls.
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

    completes = True
    network: VisitDiffusionNetwork
    best: VisitDiffusionNetwork

    def __init__(
        self,
        *,
        schema: Schema,
        visit_schema: VisitSchema,
        seed: int = 0,
        width: int = 128,
        reveal_width: int = 256,
        depth: int = 2,
        dropout: float = 0.3,
        ranges: int = 16,
        spread: float = 2.0,
        told: float = 0.2,
        steps: int = 16,
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
        options.whole(1, width=width, reveal_width=reveal_width, depth=depth, ranges=ranges, steps=steps)
        options.share(dropout=dropout, told=told)
        options.number(1, spread=spread)
        self.spread, self.told, self.steps = spread, told, steps
        self.truncation = Truncation(temperature, top_p)
        self.states = VisitStates(visit_schema, ranges)
        self.masking = Masking(self.states.layout)
        codes, kinds = self.states.codes, len(visit_schema.kinds)
        self.known = slice(codes, codes + 2)  # the variables kind and gap, which are drawn before all others
        with self.seeded_init():
            network = VisitDiffusionNetwork(
                self.layout.width, self.states.layout.width, self.masking.count, codes, kinds, width, reveal_width,
                depth, dropout, ranges,
            )  # fmt: skip
        self.follow(
            network,
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            weight_decay=weight_decay,
            ema_decay=ema_decay,
            patience=patience,
        )

    @property
    def domains(self) -> dict[str, slice]:
        """The variables of each domain of codes, and those of stay and measurements."""
        return {**self.visit_schema.domains, MEASURED: slice(self.known.stop, self.masking.count)}

    @override
    def observe(self, static: Tensor, visits: Visits) -> None:
        """Learn dates, ranges and the schedule, and start the logits at what visits are like at large."""
        super().observe(static, visits)
        others = self.states.usual(visits, static, self.calendar.numbers)[self.states.codes :]
        self.network.closed.copy_(self.states.closed(self.calendar.numbers))
        _, _, *odds, never, any_ = Recurrence.of(visits, self.states.codes).odds.to(others.device)
        self.network.usual[: len(odds)] = torch.stack(odds) - never
        self.network.revealer.output.bias.data.copy_(torch.cat([never, others]))
        self.masking.observe(self.states.layout.activate(torch.cat([any_, others])), self.spread)
        self.start()

    def training_step(self, batch: VisitBatch, batch_idx: int) -> Tensor:
        """Return the mean nats of a visit: those of its end, kind and gap, and the bound of the rest."""
        generator = self.step_rng(batch_idx)
        with self.seeded_layers(batch_idx):
            heads, before, rows, _ = self._encoded(self.network, batch)
            hidden = self._some_told(len(rows), generator)
            bound = self._bound(self.network, before, rows, hidden, generator)
        visits = batch.lengths.sum().clamp(min=1)
        told, revealed = heads.sum() / visits, bound.sum() / visits
        total = told + revealed
        self.log_losses(batch_idx, total=total, heads=told, revealed=revealed)
        return total

    def bound(self, network: nn.Module, batch: VisitBatch, generator: torch.Generator) -> Tensor:
        """Return the negative evidence lower bound [b], by ``DRAWS`` times of each visit."""
        assert isinstance(network, VisitDiffusionNetwork)
        heads, before, rows, owner = self._encoded(network, batch)
        for _ in range(DRAWS):
            found = self._bound(network, before, rows, self._hidden(len(rows)), generator)
            heads = heads.index_add(0, owner, found / DRAWS)
        return heads

    def _encoded(self, network: VisitDiffusionNetwork, batch: VisitBatch) -> tuple[Tensor, Before, Tensor, Tensor]:
        """Return what heads say of a batch, and its visits with what was before each.

        Returns:
            Nats [b] of endings, kinds and gaps; what was before the visits; these as rows [m, B]; whose they are, [m].
        """
        batch = batch.to(self.device)
        numbers, t, real = self.calendar.numbers, batch.longest, batch.real
        rows = self.states.of_batch(batch, numbers)
        number, elapsed = torch.arange(t, device=self.device).expand(len(batch), -1), batch.gaps.cumsum(1)
        firsts = batch.first[:, None].expand(-1, t)
        when = clock(number, batch.gaps, elapsed, firsts, numbers)
        static = batch.static[:, None].expand(-1, t, -1)
        start = self._start(network, batch.static, batch.first)
        g = network.histories(start, torch.cat([static, when, rows], dim=2))
        heads = network.endings.nats(network.dropout(g), batch, numbers)
        codes = rows[:, :, : self.states.codes]
        latest = codes.roll(1, 1) * (number > 0)[:, :, None]  # of padding nothing is told: it is not real
        before = Before(
            static[real],
            firsts[real],
            number[real],
            (elapsed - batch.gaps)[real],
            network.dropout(torch.cat([start[:, None], g[:, : max(t - 1, 0)]], dim=1)[:, :t][real]),
            latest[real],
            (codes.cumsum(1) - codes)[real],
        )
        owner, rows = real.nonzero()[:, 0], rows[real]
        kind, gap = rows[:, self.states.kind], rows[:, self.states.gap]
        nats = -(kind * network.kind(before.g).log_softmax(1)).sum(1)
        nats = nats - (gap * network.gaps(before.g, kind).log_softmax(1)).sum(1)  # none at first visits
        return heads.index_add(0, owner, nats), before, rows, owner

    def _start(self, network: VisitDiffusionNetwork, static: Tensor, firsts: Tensor) -> Tensor:
        none = torch.zeros(len(static), device=static.device)
        found: Tensor = network.start(
            torch.cat([static, clock(none, none, none, firsts, self.calendar.numbers)], dim=1)
        )
        return found

    def _hidden(self, n: int) -> Tensor:
        """Return which variables [n, V] are to be revealed: all but kind and gap."""
        hidden = torch.ones(n, self.masking.count, dtype=torch.bool, device=self.device)
        hidden[:, self.known] = False
        return hidden

    def _some_told(self, n: int, generator: torch.Generator) -> Tensor:
        """Return the same for training, each domain told by half in a share ``told`` of the visits."""
        hidden = self._hidden(n)
        some = torch.rand(n, generator=generator, device=self.device) < self.told
        for places in self.domains.values():
            this = torch.rand(n, generator=generator, device=self.device) < 0.5
            hidden[:, places] &= ~(some & this)[:, None]
        return hidden

    def _bound(
        self,
        network: VisitDiffusionNetwork,
        before: Before,
        rows: Tensor,
        to_reveal: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Return the bound [m] of what is to be revealed of visits, given the rest, at a random time of each."""
        time = spread_times(len(rows), generator)
        hidden = (self.masking.times(len(rows), generator) < time) & to_reveal
        logits = network.revealed(self.masking.seen(rows, hidden), before)
        return self.masking.bound(rows, logits, hidden, time)

    @override
    def begun(self, static: Tensor, firsts: Tensor) -> Before:
        number = torch.zeros(len(static), dtype=torch.int64, device=self.device)
        none = torch.zeros(len(static), self.states.codes, device=self.device)
        start = self._start(self.best, static, firsts)
        return Before(static, firsts, number, torch.zeros(len(static), device=self.device), start, none, none)

    @override
    def after(self, state: Before, visit: Step) -> Before:
        numbers, gaps = self.calendar.numbers, visit.gaps.float()
        rows, elapsed = self.states.rows(visit, state.number == 0, numbers), state.elapsed + gaps
        when = clock(state.number, gaps, elapsed, state.firsts, numbers)
        g = self.best.histories(state.g, torch.cat([state.static, when, rows], dim=1)[:, None])[:, 0]
        codes = rows[:, : self.states.codes]
        return Before(state.static, state.firsts, state.number + 1, elapsed, g, codes, state.times + codes)

    @override
    def of_some(self, state: Before, rows: Tensor) -> Before:
        return Before(*(part[rows] for part in vars(state).values()))

    @override
    def going_on(self, state: Before, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.best.endings.drawn(state.g, self.calendar.numbers, self.truncation, generator)

    @override
    def step(self, state: Before, generator: torch.Generator) -> Step:
        rows = torch.zeros(len(state.g), self.states.layout.width, device=self.device)
        self._one(rows, self.states.kind, self.best.kind(state.g), generator)
        gaps = self.best.gaps(state.g, rows[:, self.states.kind])
        self._one(rows, self.states.gap, gaps, generator)
        first = state.number == 0
        rows[:, self.states.gap] *= ~first[:, None]
        rows = self._revealed(rows, self._hidden(len(rows)), state, generator)
        return self.states.visit(rows, first, self.calendar.numbers, generator)

    @override
    @torch.no_grad()
    def complete(self, visits: Visits, static: Tensor, domains: Collection[str], generator: torch.Generator) -> Visits:
        for name in domains:
            expect(name in self.domains, "complete", name, f"one of {', '.join(self.domains)}")
        given = [name for name in self.domains if name not in domains]

        def draw(state: Before, visit: Step) -> Step:
            return self.completed(state, visit, given, generator)

        return self._redrawn(visits, static, draw, MEASURED in domains)

    def completed(self, state: Before, visit: Step, given: Collection[str], generator: torch.Generator) -> Step:
        """Return visits with the rest drawn given when they are, their kind, and some of their domains.

        Args:
            state: what was before them.
            visit: one of each of the patients.
            given: domains of codes, and ``measurements``, which includes stays; what is there of others is replaced.
            generator: of the draws.

        Raises:
            OptionError: a name is none of the domains.
        """
        for name in given:
            if name not in self.domains:
                raise OptionError(f"given {name!r}: one of {', '.join(self.domains)} was expected")
        first, numbers = state.number == 0, self.calendar.numbers
        rows, hidden = self.states.rows(visit, first, numbers), self._hidden(len(first))
        for name in given:
            hidden[:, self.domains[name]] = False
        drawn = self.states.visit(self._revealed(rows, hidden, state, generator), first, numbers, generator)
        measured = visit if MEASURED in given else drawn
        return Step(visit.gaps, visit.kinds, measured.stays, drawn.codes, measured.values)

    def _one(self, rows: Tensor, part: slice, logits: Tensor, generator: torch.Generator) -> None:
        refuse_nan(logits)
        level = torch.multinomial(self.truncation.levels(logits).softmax(1), 1, generator=generator)
        rows.scatter_(1, level + part.start, 1.0)

    def _revealed(self, rows: Tensor, hidden: Tensor, state: Before, generator: torch.Generator) -> Tensor:
        """Return visits as rows [k, B] with what is hidden drawn, given the rest and what was before."""
        passes = self.masking.passes(hidden, self.steps, generator)
        for step in range(self.steps):
            now = hidden & (passes == step)
            if not now.any():
                continue
            logits = self.best.revealed(self.masking.seen(rows, hidden), state)
            refuse_nan(logits)
            drawn = self.masking.draw(self.states.as_drawn(logits, self.truncation), generator)
            rows = torch.where(self.masking.of_columns(now), drawn, rows)
            hidden = hidden & ~now
        return rows
