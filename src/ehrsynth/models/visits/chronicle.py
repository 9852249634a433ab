"""Chronicle: each visit as Tally says a record, given what was before it.

Our own. A visit is a row whose columns are kind, gap, stay, measurements and codes, beside those that are known
before: the patient's row, the latest visit's kind, gap and values, how many visits there were and over how long. So

    p(record)  =  prod over visits t of  p(there is a visit t | past)  p(visit t | past)

where a visit has the likelihood of Tally (see ``models.tally``): codes one after the other, each a departure from what
is usual, and numbers by ranges with what training rows say of them two by two, such as this value and the last.

What makes it a model of time is recurrence, told code by code: whether one never was, was in the latest visit, or
before only, how often, how long ago. The odds of codes start where counting puts them (a Markov chain, in which each
code may have a companion of the same visit and one of the past, see ``companions``, and begins by what is measured, see
``markers``, and by how long ago the latest visit was), and are corrected.

Each visit is drawn from visits that were drawn, so errors too small for the likelihood to see add up, in the end to
prevalences that are a tenth off. That drift is taken out at the end, see ``Chronicle.settle``.
``experiments/trajectories/run.sh ablation`` shows what each part buys.

Codes are not counted by domain first, as Tally does: with tallies of those that come again and of new ones, visits were
less likely.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from typing_extensions import override

from ehrsynth.layout import Records, refuse_nan
from ehrsynth.models.calibration import beyond
from ehrsynth.models.departures.drawing import drawn
from ehrsynth.models.truncation import Truncation
from ehrsynth.models.visits.calendar import DIES
from ehrsynth.models.visits.chronicle_network import HistoryNetwork, VisitTally
from ehrsynth.models.visits.companions import companions_of
from ehrsynth.models.visits.history import STATES, History, usual_fates, usual_seasons
from ehrsynth.models.visits.markers import THRESHOLDS, Signs, markers_of
from ehrsynth.models.visits.recurrence import Recurrence
from ehrsynth.models.visits.stepwise import Step, Stepwise
from ehrsynth.models.visits.visit_rows import VisitRows
from ehrsynth.models.visits.visited import Visited
from ehrsynth.models.visits.waits import waits_of
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng
from ehrsynth.visit_batch import VisitBatch, batch_of, in_blocks
from ehrsynth.visits import Integers, Visits, VisitSchema

LOOKED_AT = 50_000  # patients, of each a visit, from whom ranges and pairs are learned
PATIENTS = 256  # whose likelihood is computed at a time
SETTLED_BY = (4, 8)  # batches of patients drawn, coarsely and then finely
GOES_ON, ENDS, DIED = range(3)


class Chronicle(Stepwise[History]):
    """Departures of visits, given the past.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        seed: of weights and draws.
        width: of the network.
        depth: residual blocks.
        dropout: share of its units left out in training.
        ranges: about how many ranges of equal share a number has.
        learning_rate: of AdamW, after ``warmup_steps``.
        warmup_steps: batches until then; a cosine to zero over the rest of the budget follows.
        horizon: epochs over which a weight averages what visits say of it, see ``Tally``.
        ema_decay: of the averaged weights, less at first.
        patience: epochs without better likelihood of validation patients until training stops.
        temperature: of draws; 1 draws as learned.
        top_p: share of outcomes that draws keep, see ``Truncation``; 1 keeps all.

    Raises:
        OptionError: an option is not a value that can work.
    """

    keeps_best = True
    wanted: Tensor  # chance [STATES, codes] of each code in training visits, NaN where that is not told
    settled: Tensor  # whether the best network is

    def __init__(
        self,
        *,
        schema: Schema,
        visit_schema: VisitSchema,
        seed: int = 0,
        width: int = 256,
        depth: int = 1,
        dropout: float = 0.1,
        ranges: int = 32,
        learning_rate: float = 2e-3,
        warmup_steps: int = 100,
        horizon: float = 1.4,
        ema_decay: float = 0.999,
        patience: int = 3,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> None:
        super().__init__(schema=schema, visit_schema=visit_schema, seed=seed, ranges=ranges)
        self.save_hyperparameters(ignore=["schema", "visit_schema"])
        self.truncation = Truncation(temperature, top_p)
        self.signs = Signs(len(visit_schema.measurements))
        self.as_rows = VisitRows(schema, visit_schema, self.signs)
        self.rows = VisitTally(
            schema=self.as_rows.schema,
            seed=seed,
            width=width,
            depth=depth,
            dropout=dropout,
            ranges=ranges,
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            horizon=horizon,
            ema_decay=ema_decay,
            patience=patience,
        )
        self.unseen: tuple[Tensor, Visits] | None = None
        self.register_buffer("wanted", torch.full((STATES, len(visit_schema.codes)), torch.nan))
        self.register_buffer("settled", torch.tensor(True))

    @override
    def observe(self, static: Tensor, visits: Visits) -> None:
        """Learn dates, ranges, order, pairs and recurrence; of each patient one visit, so all are of ten."""
        super().observe(static, visits)
        rng = torch_rng(self.seed, "visits looked at")
        some = np.flatnonzero(visits.per_patient > 0)
        some = some[torch.randperm(len(some), generator=rng)[:LOOKED_AT].sort().values.numpy()]
        which = torch.rand(len(some), generator=rng) * torch.from_numpy(visits.per_patient[some])
        codes, fates = len(self.visit_schema.codes), usual_fates(visits, float(self.calendar.died))
        looked_at = self._looked_at(static, visits, some, which)
        parts = [(rows[:, :codes] > 0, past.again, past.stands(), *told) for rows, past, *told in looked_at]
        there, again, stands, values, gaps = (torch.cat(part) for part in zip(*parts, strict=True))
        markers, gains = markers_of(there, stands, values, self.calendar.thresholds(THRESHOLDS))
        self.signs.learn(gains, there, values)
        looked_at = self._looked_at(static, visits, some, which)  # now that it is known what is out of date
        layout = self.as_rows.layout
        self.rows.observe(Records.joined(Records.of_dense(layout, rows) for rows, *_ in looked_at))
        recurrence, seasons = Recurrence.of(visits, codes), usual_seasons(visits, codes)
        self.wanted.copy_(recurrence.odds.sigmoid().where(recurrence.told, torch.nan)[:STATES])
        place = self._best.place.cpu()
        ever = companions_of(there, stands, again, ~torch.eye(codes, dtype=torch.bool), STATES)
        now = companions_of(there, stands, there, place[:, None] < place, STATES)
        waits = waits_of(there, stands, gaps, now.of)
        for network in (self.rows.network, self.rows.average.module, self.rows.best):
            self._of(network).start_told(ever, now)
            self._of(network).start_marked(markers)
            self._of(network).start_waiting(waits)
            self._of(network).start_again(recurrence.odds, seasons, fates, self.as_rows.latest_kinds)

    def _looked_at(
        self, static: Tensor, visits: Visits, some: Integers, which: Tensor
    ) -> Iterator[tuple[Tensor, History, Tensor, Tensor]]:
        """Yield one visit of each of ``some`` patients, number ``which``, as a row, with its past, values and gap."""
        for start in range(0, len(some), PATIENTS):
            visited = self._visited(batch_of(visits, static, self._measurements, some[start : start + PATIENTS]))
            chosen = visited.past.number == which[start : start + PATIENTS].long()[visited.owner]
            past = visited.past.of(chosen.nonzero().flatten())
            yield visited.rows[chosen], past, visited.values[chosen], past.until(visited.days[chosen])

    @override
    def hold_out(self, static: Tensor, visits: Visits) -> None:
        self.unseen = static, visits

    @override
    def remarks(self, steps: float) -> Iterable[str]:
        """Say that a budget is too small to learn much."""
        return self.rows.remarks(steps)

    @property
    def _measurements(self) -> int:
        return len(self.visit_schema.measurements)

    def training_step(self, batch: VisitBatch, batch_idx: int) -> Tensor:
        """Return the mean nats of a visit, with those of whether it is there."""
        with self.seeded_layers(batch_idx):
            nats = self._nats(self._of(self.rows.network), batch)
        loss = nats.sum() / batch.lengths.sum().clamp(min=1)
        self.log_losses(batch_idx, total=loss)
        return loss

    def _visited(self, batch: VisitBatch) -> Visited:
        """Return the visits of a batch, each with what was before it."""
        batch = batch.to(self.device)
        return Visited.of(batch, self.begun(batch.static, batch.first), self.as_rows, self.calendar.numbers)

    def _nats(self, network: HistoryNetwork, batch: VisitBatch) -> Tensor:
        """Return the nats [b] of the visits of each patient, and of how many there are."""
        batch = batch.to(self.device)
        visited, variables = self._visited(batch), self.rows.variables
        past = network.past(visited.past)
        past = past._replace(odds=past.odds + network.of_visit(visited.past, visited.days, visited.values))
        x, counts = variables.of(visited.rows)
        known = self._known.expand(len(x), -1)
        nats = network.surprise(variables, x, counts, known, past)
        later = (visited.past.number > 0).nonzero().flatten()
        h = network.before(variables, x[later], known[later], past.of(later))
        fates = network.fates(h, visited.past.of(later))
        goes_on = torch.full((len(later),), GOES_ON, device=self.device)
        nats = nats.index_add(0, later, cross_entropy(fates, goes_on, reduction="none"))
        found = nats.new_zeros(len(batch)).index_add(0, visited.owner, nats)
        return found.index_add(0, visited.ender, self._nats_of_end(network, visited, batch))

    def _nats_of_end(self, network: HistoryNetwork, visited: Visited, batch: VisitBatch) -> Tensor:
        """Return the nats [e] of there being no visit any more, and of when the patient dies."""
        h = self._before(network, visited.ended)
        dies = batch.dies[visited.ender]
        died = dies.isfinite()
        fate = torch.where(died, DIED, ENDS)
        nats = cross_entropy(network.fates(h, visited.ended), fate, reduction="none")
        ranges = self.calendar.numbers.range_of(DIES, dies)
        logits = network.death(h)[:, : self.calendar.numbers.sizes[DIES]]
        return nats + cross_entropy(logits, ranges, reduction="none").where(died, 0.0)

    def _before(self, network: HistoryNetwork, history: History) -> Tensor:
        """Return h [k, width] of patients of whose next visit nothing is known."""
        x, _ = self.rows.variables.of(self.as_rows.of_past(history, self.calendar.numbers))
        return network.before(self.rows.variables, x, self._known.expand(len(x), -1), network.past(history))

    @property
    def _known(self) -> Tensor:
        """Which of the variables [V] are known before a visit."""
        return self.rows.variables.places_of(self.as_rows.known)

    @override
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then average: here and not at the end of the batch, when checkpoints are already written."""
        super().optimizer_step(*args, **kwargs)
        self.rows.average.update_parameters(self.rows.network)

    def configure_optimizers(self) -> Any:
        """AdamW as ``Tally`` has it: a warm-up, then a cosine to zero at the end of the budget."""
        return self.rows.configure_optimizers()

    @override
    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After an epoch keep the averaged weights if unseen patients are likelier, or stop if they long are not."""
        if self.trainer.is_last_batch:
            found = torch.tensor(-torch.inf, device=self.device)
            if self.unseen is not None:
                found = -self._likelihood_by(self._of(self.rows.average.module), *self.unseen).mean()
                self.log_losses(batch_idx, validation=found)
            self.trainer.should_stop |= self.rows.judged(found)
            self.settled &= self.rows.waited > 0
        super().on_train_batch_end(outputs, batch, batch_idx)

    @torch.no_grad()
    def settle(self) -> None:
        """Move the odds of codes until in drawn patients they begin, come again and return as in training patients.

        Patients are drawn from a stream of their own. What fewer than ten training patients tell is left as learned.
        """
        if self.settled:
            return
        network, rng = self._best.eval(), torch_rng(self.seed, "settle", device=self.device)
        told, truncation, self.truncation = self.wanted.isfinite(), self.truncation, Truncation()
        for batches in SETTLED_BY:
            parts = [super(Chronicle, self).sample(self.sample_batch, rng) for _ in range(batches)]
            visits = Visits.joined(visits for _, visits in parts)
            drawn = Recurrence.of(visits, len(self.visit_schema.codes))
            found, exposed = (counts[:STATES].to(self.device) for counts in (drawn.events, drawn.exposed))
            wanted = self.wanted * exposed
            network.settled += (beyond(found, wanted) - beyond(exposed - found, exposed - wanted)).where(told, 0.0)
        self.truncation = truncation
        self.settled.fill_(True)

    @override
    def sample(self, n: int, generator: torch.Generator, static: Tensor | None = None) -> tuple[Tensor, Visits]:
        self.settle()
        return super().sample(n, generator, static)

    def on_train_end(self) -> None:
        """Settle, so that a model nobody has looked at is as one that was."""
        self.settle()

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.settle()
        super().on_save_checkpoint(checkpoint)

    @override
    def log_likelihood(self, static: Tensor, visits: Visits) -> Tensor:
        """Return log p(visits | row) [n], of numbers that of their ranges."""
        return self._likelihood_by(self._best, static, visits)

    @torch.no_grad()
    def _likelihood_by(self, network: HistoryNetwork, static: Tensor, visits: Visits) -> Tensor:
        network.eval()

        def of_some(rows: Integers) -> Tensor:
            batch = batch_of(visits, static, self._measurements, rows)
            nats = self._nats(network, batch)
            return self.calendar.nats_of_number(batch.lengths.to(self.device)) - nats

        return in_blocks(visits, PATIENTS, of_some)

    @property
    def _best(self) -> HistoryNetwork:
        return self._of(self.rows.best)

    @staticmethod
    def _of(network: nn.Module) -> HistoryNetwork:
        assert isinstance(network, HistoryNetwork)
        return network

    @override
    def begun(self, static: Tensor, firsts: Tensor) -> History:
        kinds, codes = len(self.visit_schema.kinds), len(self.visit_schema.codes)
        return History.none(static, firsts, kinds, codes, self._measurements)

    @override
    def after(self, state: History, visit: Step) -> History:
        return state.after(visit)

    @override
    def of_some(self, state: History, rows: Tensor) -> History:
        return state.of(rows)

    @override
    def going_on(self, state: History, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        h, numbers = self._before(self._best, state), self.calendar.numbers
        logits, ranges = self._best.fates(h, state), self._best.death(h)[:, : numbers.sizes[DIES]]
        refuse_nan(logits)
        fate, when = (
            torch.multinomial(self.truncation.levels(one).softmax(1), 1, generator=generator).squeeze(1)
            for one in (logits, ranges)
        )
        days = numbers.drawn(DIES, when, generator)
        return fate == GOES_ON, days.where(fate == DIED, torch.nan)

    @override
    def step(self, state: History, generator: torch.Generator) -> Step:
        variables, numbers = self.rows.variables, self.calendar.numbers
        x, _ = variables.of(self.as_rows.of_past(state, numbers))
        known = self._known.expand(len(x), -1)
        past, visits = self._best.past(state), []

        def of_day(x: Tensor) -> Tensor:
            """Draw numbers within their ranges before codes are drawn, for these are told the day and the values."""
            rows = variables.states.records(variables.to_states(x), generator, None)
            visits.append(self.as_rows.visit(rows, numbers, state.number == 0))
            days = state.firsts + state.elapsed + visits[-1].gaps
            return self._best.of_visit(state, days, visits[-1].values)

        x, _ = drawn(self._best, variables, x, known, generator, past=past, then=of_day, truncation=self.truncation)
        return replace(visits[-1], codes=variables.to_states(x)[:, : self.as_rows.codes] > 0)
