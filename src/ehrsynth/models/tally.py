"""Tally: how many codes of each domain a record has, then which, each departure from what is usual after the other.

Our own. A record x of variables in a fixed order is a list of departures from their usual states (an absent code, a
number that was not taken): e_1, ..., e_k. Between two of them nothing happens, so its likelihood is that of survival
with competing hazards, as for a point process in discrete time,

    log p(x)  =  sum over i of [ log h(e_i | e_<i)  +  sum over v between e_i-1 and e_i of log(1 - h(v | e_<i)) ],

with one state of a network for each departure, not for each variable: of 461 codes a record has five. It is the neural
autoregressive estimator of Larochelle and Murray (AISTATS 2011) for sparse rows. Three things are added.

Tallies come before the codes: how many codes of each domain depart. They are a function of the record, so that p(x) =
p(tallies) p(x | tallies), and the network is told what of them is still to come. Without them a record of many codes is
too likely to end up with too few, and the other way round.

Any part of a record may be known in advance, as in NADE and MADE of any order, but here the order stays and what is
known is told at the start. In training half of the rows have a random part told. Codes are rare, so of half of these
rows one departure is told besides, with a weight of how many the row has: it is then as common as among all rows that
have it. So a condition, or a cell to be filled in, costs what a free draw does.

What training rows say of categories and numbers two by two is where the network starts, see ``departures.pairs``: one
number is below another, what no man has. It has only the rest to find out.
"""

import copy
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from ehrsynth.disclosure import LEAST
from ehrsynth.errors import OptionError
from ehrsynth.layout import Records
from ehrsynth.models import options
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.models.departures.drawing import drawn
from ehrsynth.models.departures.network import DepartureNetwork
from ehrsynth.models.departures.padded import PaddedDepartures
from ehrsynth.models.departures.pairs import Pairs, pairs_of
from ehrsynth.models.departures.variables import (
    NEVER,
    Variables,
    domains_of,
    log_odds_by_level,
    uncounted,
    variables_by,
    variables_of,
    with_tallies,
)
from ehrsynth.models.law import KNOTS, law_of
from ehrsynth.models.nn import MovingAverage, warmup_cosine
from ehrsynth.models.noisy_looks import NoisyLooks, norm_sub
from ehrsynth.models.states import States, edges_by, edges_of, shares_of
from ehrsynth.schema import Schema

TRIES = 200  # times that numbers are drawn before the ranges asked for count as too rare
FEW_STEPS = 500  # of a training that ends before it has learned much
READ = 8192  # rows looked at at a time
PENALISED = 256  # records drawn in a step to see which rules they break
FEWEST_BATCHES = 20  # that a weight averages over, however few an epoch has
TOLD = 0.5  # of the training rows, of which a part is known in advance
MOST_CODES = 64  # of a domain that a noisy histogram tells apart
SURE = 4.0  # deviations of the noise, of the rows that a range of numbers of codes has
ROWS = 1024  # whose likelihood is computed at a time
CELLS = 4096  # departures of the records of a private step that are beside each other at a time


class Tally(SyntheticModel):
    """Tallies, then departures.

    Args:
        schema: columns to generate.
        seed: of weights and draws.
        width: of the network.
        depth: residual blocks.
        dropout: share of its units left out in training.
        ranges: about how many ranges of equal share a number has, each of twenty training rows or more.
        learning_rate: of AdamW, after ``warmup_steps``.
        warmup_steps: batches until then; a cosine to zero over the rest of the budget follows.
        horizon: epochs, but twenty batches at least, over which a weight averages what rows say of it, by the weight
            decay of AdamW.
        ema_decay: of the averaged weights, less at first.
        patience: epochs without better likelihood of validation rows until training stops.

    Raises:
        OptionError: an option is not a value that can work.
    """

    penalises_rules = True
    calibrated = True
    keeps_best = True
    weighs = True
    private = "gradients"
    quantiles: Tensor  # see States
    edges: Tensor
    order: Tensor  # see Variables
    usual: Tensor
    tallies: Tensor
    parents: Tensor  # see Pairs
    pairs: Tensor
    departures: Tensor  # codes that depart from what is usual in a record on average, in a private training
    least: Tensor  # nats of a validation row, at best
    waited: Tensor  # epochs since

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        width: int = 384,
        depth: int = 1,
        dropout: float = 0.1,
        ranges: int = 32,
        learning_rate: float = 2e-3,
        warmup_steps: int = 100,
        horizon: float = 1.4,
        ema_decay: float = 0.999,
        patience: int = 3,
    ) -> None:
        super().__init__(schema=schema, seed=seed)
        self.save_hyperparameters(ignore=["schema"])
        options.whole(1, width=width, depth=depth, patience=patience)
        options.whole(2, ranges=ranges)
        options.whole(0, warmup_steps=warmup_steps)
        options.share(dropout=dropout)
        options.positive(learning_rate=learning_rate, horizon=horizon)
        options.number(0, ema_decay=ema_decay)
        self.width, self.depth, self.dropout, self.ranges = width, depth, dropout, ranges
        self.learning_rate, self.warmup_steps, self.horizon = learning_rate, warmup_steps, horizon
        self.ema_decay, self.patience = ema_decay, patience
        numbers = self.layout.width - self.layout.values.start
        self.register_buffer("quantiles", torch.zeros(2, KNOTS, numbers))
        edges = torch.ones(numbers, 2 * ranges + 1)
        edges[:, :2] = torch.tensor([0.0, 0.5])
        self.register_buffer("edges", edges)
        codes = sum(encoded.kind == "bit" for encoded in self.layout.fields)
        places = len(self.layout.groups) + numbers + codes
        self.register_buffer("order", torch.arange(places).roll(-codes))
        self.register_buffer("usual", torch.zeros(places, dtype=torch.int64))
        self.register_buffer("tallies", uncounted(domains_of(schema, self.layout)))
        unpaired = Pairs.none(len(self.layout.groups) + numbers)
        self.register_buffer("parents", unpaired.parents)
        self.register_buffer("pairs", unpaired.tables)
        self.register_buffer("departures", torch.tensor(0.0))
        self.register_buffer("least", torch.tensor(torch.inf))
        self.register_buffer("waited", torch.tensor(0))
        self.unseen: Records | None = None
        self._made: Variables | None = None
        self._padded: PaddedDepartures | None = None
        self._build()

    def _build(self) -> None:
        """Make the networks, whose shapes depend on what was observed."""
        self._made = self._padded = None
        with self.seeded_init():
            network = self.made_network().to(self.device)
        self.network, self.average = network, MovingAverage(network, self.ema_decay)
        self.best = copy.deepcopy(network).requires_grad_(False)

    def made_network(self) -> DepartureNetwork:
        """Return a network of the shapes that were observed."""
        return DepartureNetwork(self.variables, Pairs(self.parents, self.pairs), self.width, self.depth, self.dropout)

    @override
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load what was observed, and then networks of the shapes that go with it."""
        for name in ("quantiles", "edges", "order", "usual", "tallies", "parents", "pairs"):
            if (kept := state_dict.get(name)) is not None:
                setattr(self, name, kept.to(self.device))
        self._build()
        state_dict = {"departures": torch.tensor(0.0), **state_dict}  # of versions that had none
        return super().load_state_dict(state_dict, strict, assign)

    @property
    def variables(self) -> Variables:
        """The columns in the order in which they are drawn."""
        if self._made is None or self._made.order.device != self.order.device:
            states = States(self.layout, self.quantiles, self.edges)
            domains = domains_of(self.schema, self.layout)
            self._made = Variables(states, domains, self.order, self.usual, self.tallies)
        return self._made

    @override
    def observe(self, train: Records) -> None:
        """Learn ranges, order, tallies, marginals and pairs."""
        self.quantiles.copy_(law_of(train, self.schema))
        self.edges.copy_(edges_of(train, self.quantiles, self.ranges))
        found = variables_of(self.schema, States(self.layout, self.quantiles, self.edges), train)
        pairs = pairs_of(found, train)
        self.parents, self.pairs = pairs.parents, pairs.tables
        self._build_for(found)
        counts = torch.full((sum(found.sizes),), 0.5)
        for part in train.blocks(READ):
            x, _ = found.of(part.dense().nan_to_num(0.0))
            counts += torch.bincount((x + found.starts).flatten(), minlength=len(counts))
        self._start_at(found, counts / (len(train) + 1), log_odds_by_level(found, train))

    @property
    @override
    def noisy_looks(self) -> int:
        return 1 + bool(len(self.edges)) + bool(len(self.tallies))

    @override
    def observe_noisily(self, noisy: NoisyLooks) -> None:
        """Take shares, ranges of numbers and numbers of codes from noisy sums; of pairs nothing."""
        n, means = len(noisy.train), noisy.means()
        gaps = torch.zeros(len(self.edges))
        for bit, value in self.layout.missing_bits():
            gaps[value] = means[bit]
        if len(self.edges):
            laws = noisy.laws(self.schema)
            self.quantiles.copy_(torch.cat([laws, laws[:, -1:].expand(2, KNOTS - laws.shape[1], -1)], dim=1))
            self.edges.copy_(edges_by((n * (1 - gaps)).long(), self.quantiles, self.ranges))
        states = States(self.layout, self.quantiles, self.edges)
        shares = shares_of(states, means)
        found, tallied = variables_by(self.schema, states, shares), list[Tensor]()
        if len(self.tallies):
            departed = (found.of_states(block) != found.no_news for block in states.blocks(noisy.train))
            counts = map(found.counted, departed)
            rows = noisy.histograms("numbers of codes", counts, MOST_CODES + 1, len(found.ranges))
            rows = torch.stack([norm_sub(here, n) for here in rows])
            found = with_tallies(found, rows, max(LEAST, SURE * noisy.noise_multiplier * len(rows) ** 0.5))
            for here, ranges in zip(rows, found.ranges, strict=True):
                starts = ranges[ranges[:, 0] != NEVER, 0].clamp(max=MOST_CODES)
                below = torch.cat([torch.zeros(1), here.cumsum(0).float() / n])
                tallied.append(below[torch.cat([starts[1:], torch.tensor([MOST_CODES + 1])])] - below[starts])
        unpaired = Pairs.none(found.alone)
        self.parents, self.pairs = unpaired.parents, unpaired.tables
        self._build_for(found)
        ordered = [shares[variable] for variable in found.order.tolist()]
        start = torch.cat([*ordered[: found.alone], *tallied, *ordered[found.alone :]]).clamp(0.5 / n, 1 - 0.5 / n)
        self._start_at(found, start, torch.zeros_like(self.network.by_level))
        news = torch.stack([1 - part[usual] for part, usual in zip(ordered, found.usual, strict=True)][found.alone :])
        self.departures.copy_(news.sum())

    def _build_for(self, found: Variables) -> None:
        self.order, self.usual, self.tallies = found.order, found.usual, found.ranges
        self._build()

    def _start_at(self, found: Variables, shares: Tensor, by_level: Tensor) -> None:
        self.network.start_at(found, shares, by_level)
        for copied in (self.average.module, self.best):
            copied.load_state_dict(self.network.state_dict())

    @override
    def hold_out(self, validation: Records) -> None:
        self.unseen = validation

    @property
    @override
    def conditionable(self) -> Collection[str]:
        return self.schema.names

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the mean surprise in nats of records [n, p], some of them in part known in advance."""
        x, counts = self.variables.of(batch)
        generator = self.step_rng(batch_idx)
        known, weights = self._some_known(x, generator)
        with self.seeded_layers(batch_idx):
            nats = self.network.surprise(self.variables, x, counts, known)
            penalty = self._score_function(generator) if self.rules_weight else nats.new_zeros(())
        loss = (weights * nats.where(batch.isfinite().all(1), torch.nan)).mean()
        self.log_losses(batch_idx, total=loss)
        return loss + penalty

    @property
    def padded(self) -> PaddedDepartures:
        """The network as a private training sees it."""
        if self._padded is None or self._padded.network is not self.network:
            self._padded = PaddedDepartures(self.network, self.variables)
        return self._padded

    @override
    def record_modules(self) -> Iterator[nn.Module]:
        yield from self.padded.modules()

    @override
    def record_losses(self, batch: Tensor, generator: torch.Generator, draws: int) -> Tensor:
        x, counts = (part.repeat_interleave(draws, dim=0) for part in self.variables.of(batch))
        # What is usual in a batch would be something of its other records.
        known, weights = self._some_known(x, generator, usual=self.departures.clamp(min=1))
        nats = weights * self.padded.surprise(x, counts, known, draws, generator)
        return nats.view(-1, draws).mean(1)

    @override
    def private_parts(self, batch: Tensor) -> Iterator[Tensor]:
        """Yield records of about as many departures together: each takes as much as the longest of its part."""
        number = (self.variables.of(batch)[0] != self.variables.no_news).sum(1)
        if len(batch) * (int(number.max()) + 1) <= CELLS:
            yield batch
            return
        lengths, order = number.sort(stable=True)
        ordered, start = batch[order], 0
        for stop, length in enumerate(lengths.tolist()):
            if stop > start and (stop + 1 - start) * (length + 1) > CELLS:
                yield ordered[start:stop]
                start = stop
        yield ordered[start:]

    def _score_function(self, generator: torch.Generator) -> Tensor:
        """Return a loss with the gradient of the penalty of records that the network draws.

        grad E[v(x)] = E[(v(x) - b) grad log p(x)] for violations v, b their mean: Williams, Simple statistical
        gradient-following algorithms, 1992.
        """
        variables = self.variables
        x = torch.zeros(PENALISED, len(variables.sizes), dtype=torch.int64, device=self.device)
        known = torch.zeros_like(x, dtype=torch.bool)
        self.network.eval()  # what is drawn and how likely it was must be of one network
        with torch.no_grad():
            x, _ = drawn(self.network, variables, x, known, generator)
            rows = variables.states.records(variables.to_states(x), generator, None)
            broken = self.rules.violation(rows).sum(1)
        nats = self.network.surprise(variables, x, variables.told_counts(x), known)
        self.network.train()
        return -self.rules_weight * ((broken - broken.mean()) * nats).mean()

    def _some_known(self, x: Tensor, generator: torch.Generator, usual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw what of records [n, V] is known in advance, and the weights [n] of these questions.

        ``usual`` is how many codes depart in a record on average, None as many as in these.

        What is known must not depend on the record beyond what it says, or the network would learn from what is not
        known. So variables are drawn whatever their states are, a log-uniform share of them. Of half of those rows one
        code that departs is known besides, drawn evenly, with a weight of how many the record has.
        """
        n, places = x.shape
        asked, share, pick = torch.rand(3, n, 1, generator=generator, device=x.device)
        rate = places**-share
        rate = torch.where(self.variables.tally_of >= 0, rate, rate.sqrt())  # people ask for codes least
        known = (torch.rand(x.shape, generator=generator, device=x.device) < rate) & (asked < TOLD)
        tallies = self.variables.tallies
        departed = (x != self.variables.no_news)[:, tallies.stop :]
        number = departed.sum(1)
        picked = (asked < TOLD / 2).squeeze(1)
        one = ((pick * number[:, None]).long() + 1 == departed.cumsum(1)) & departed & picked[:, None]
        known[:, tallies.stop :] |= one
        known[:, tallies] = False
        usual = number.float().mean() if usual is None else usual
        weights = number / usual if number.any() else torch.ones_like(pick).squeeze(1)
        return known, torch.where(picked, weights, 1.0)

    @override
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then average: here and not at the end of the batch, when checkpoints are already written."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.network)

    def configure_optimizers(self) -> Any:
        """AdamW, its rate a linear warm-up and then a cosine to zero at the end of the budget.

        Weights of products and tables decay by 1 / (batches of the horizon) in a step at the full rate, so that what
        they average over is as many rows whatever the batch: Wang and Aitchison, How to set AdamW's weight decay
        as you scale model and dataset size, 2024. What starts at what training rows have (biases, what categories make
        of codes) does not decay.
        """
        steps = self.trainer.estimated_stepping_batches  # which counts the batches of an epoch, too
        named = list(self.network.named_parameters())
        stay = {name for name, weights in named if weights.ndim < 2 or name in self.network.stay}
        kept = [weights for name, weights in named if name in stay]
        decays = [weights for name, weights in named if name not in stay]
        an_epoch = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches  # decay is once a step
        decay = 1 / (self.learning_rate * max(an_epoch * self.horizon, FEWEST_BATCHES))
        groups = [{"params": decays, "weight_decay": decay}, {"params": kept, "weight_decay": 0.0}]
        optimizer = AdamW(groups, self.learning_rate, fused=True)
        rate = partial(warmup_cosine, self.warmup_steps, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, rate), "interval": "step"}}

    @override
    def remarks(self, steps: float) -> Iterator[str]:
        """Say that a budget is too small to learn much."""
        if steps < FEW_STEPS:
            yield (
                f"trainer.max_epochs: the training has {steps:.0f} steps, {FEW_STEPS} or more are wanted; set more"
                " epochs (it stops by itself when validation rows get no likelier), or a smaller data.batch_size"
            )

    @override
    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Tensor, batch_idx: int) -> None:
        """After an epoch keep the averaged weights if validation rows are likelier, or stop if they long are not."""
        if self.trainer.is_last_batch:
            found = torch.tensor(-torch.inf)
            if self.unseen is not None:
                found = -self._likelihood_by(self.average.module, self.unseen).mean()
                self.log_losses(batch_idx, validation=found)
            self.trainer.should_stop |= self.judged(found)
        super().on_train_batch_end(outputs, batch, batch_idx)

    @torch.no_grad()
    def judged(self, nats: Tensor) -> bool:
        """Keep the averaged weights if validation rows never took fewer nats, and return whether that is long ago."""
        if nats < self.least or nats.isneginf():
            self.least.copy_(nats)
            self.waited.zero_()
            self.best.load_state_dict(self.average.module.state_dict())
        else:
            self.waited += 1
        return int(self.waited) >= self.patience

    @override
    def log_likelihood(self, records: Records, known: Collection[str] = ()) -> Tensor:
        """Return a lower bound of log p(record), for what goes to records unlike their tallies is lost.

        It is none where a record has a number of codes that fewer than ten training rows have, which counts as another.
        """
        return self._likelihood_by(self.best, records, known)

    @torch.no_grad()
    def _likelihood_by(self, network: nn.Module, records: Records, known: Collection[str] = ()) -> Tensor:
        assert isinstance(network, DepartureNetwork)
        network.eval()
        variables, given = self.variables, self.variables.places_of(known)
        parts = []
        for part in records.blocks(ROWS):
            x, counts = variables.of(part.dense().nan_to_num(0.0).to(self.device))
            known_here = given.expand(len(x), -1)
            nats = network.surprise(variables, x, counts, known_here)
            parts.append(-nats - variables.nats_within(x, known_here))
        return torch.cat(parts)

    @override
    @torch.no_grad()
    def log_weights(self, records: Records, condition: Condition) -> Tensor:
        """Return by how much records are likelier when nothing is told in advance than when the condition is."""
        variables, parts = self.variables, []
        _, known = variables.known(variables.states.evidence(condition).exp())
        for part in records.blocks(ROWS):
            x, counts = variables.of(part.dense().nan_to_num(0.0).to(self.device))
            told, free = (
                self.best.surprise(variables, x, counts, given.expand(len(x), -1))
                for given in (known, torch.zeros_like(known))
            )
            parts.append(told - free)
        return torch.cat(parts)

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw hard records [n, p], departure by departure; categories and numbers until ranges asked for are met."""
        variables, states = self.variables, self.variables.states
        if condition is None or not condition.given.any():
            x = torch.zeros(n, len(variables.sizes), dtype=torch.int64, device=self.device)
            x, _ = drawn(self.best, variables, x, torch.zeros_like(x, dtype=torch.bool), generator)
            return states.records(variables.to_states(x), generator, None)
        chances = states.evidence(condition).exp().expand(n, -1)
        x, known = variables.known(chances)
        numbers = chances.split(states.sizes, dim=1)[states.codes + len(self.layout.groups) :]

        def fits(x: Tensor, rows: Tensor) -> Tensor:
            found = variables.to_states(x)[:, len(states.sizes) - len(numbers) :]
            met = torch.ones(len(x), device=x.device)
            for number, chance in enumerate(numbers):
                met *= chance[rows].gather(1, found[:, number, None]).squeeze(1)
            return torch.rand(len(x), generator=generator, device=x.device) < met

        ranged = any(bool((((part > 0).sum(1) > 1) & (part < 1).any(1)).any()) for part in numbers)
        x, without = drawn(self.best, variables, x, known, generator, fits if ranged else None, TRIES)
        if len(without):
            named = sorted(column.name for column in self.schema.columns if column.numeric)
            raise OptionError(
                f"condition {', '.join(name for name in named if name in condition.columns)}: none of {TRIES} draws for"
                " a record lies in the ranges asked for; ask for wider ones"
            )
        return states.records(variables.to_states(x), generator, condition)
