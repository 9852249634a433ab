"""Masked (absorbing) diffusion of codes and groups given numbers, and EDM diffusion of the numbers.

Sahoo et al., Simple and Effective Masked Diffusion Language Models (MDLM), NeurIPS 2024: a record x loses each of its
variables with probability 1 - alpha(t) = t^k, and a network learns what was lost. The negative evidence lower bound in
continuous time (their equation 10) is the cross entropy of hidden variables alone,

    -log p(x) <= E_t E_z sum_j -alpha_j'(t) / (1 - alpha_j(t)) [z_j is hidden] (-log p(x_j | z)),

whose weight is k_j / t. A schedule k_j for each column, and EDM (Karras et al., 2022) for numbers, are from Shi et al.,
TabDiff, ICLR 2025. The order is ours: TabDiff draws both at once, here the numbers come first and the rest is revealed
given them, so that ranges of numbers can be asked for and nothing is approximated by that.
"""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn
from typing_extensions import override

from ehrsynth.bits import ones
from ehrsynth.errors import OptionError
from ehrsynth.layout import Records, refuse_nan
from ehrsynth.models import options
from ehrsynth.models.condition import Condition
from ehrsynth.models.diffusion.base import DiffusionModel
from ehrsynth.models.diffusion.loss import edm_errors
from ehrsynth.models.diffusion.masking import Masking, own_times, spread_times
from ehrsynth.models.diffusion.normal_scores import NormalRecords
from ehrsynth.models.diffusion.partly_known import Denoiser, Networks, Revealer
from ehrsynth.models.diffusion.precondition import denoise
from ehrsynth.models.diffusion.sampler import heun, karras_schedule
from ehrsynth.models.heads import logits_of, marginal_logits
from ehrsynth.models.noisy_looks import NoisyLooks, grid_of
from ehrsynth.schema import Schema

TRIES = 200  # times that numbers are drawn before the ranges asked for count as too rare
UNKNOWN = 0.75  # of the numbers, on average, while they are learned: all of half of the rows, half of the others'
SIGMA_DATA = 1.0  # of normal scores
LOG_SIGMA_MEAN, LOG_SIGMA_STD = -0.5, 1.2  # EDM's -1.2 is for data of half this deviation
SIGMA_MIN, SIGMA_MAX, RHO = 0.01, 20.0, 7.0  # narrower than EDM, whose data are images


class MaskedDiffusion(DiffusionModel):
    """Numbers by EDM, then codes and groups revealed a share at a time, what varies most first.

    That a number is missing is one of its values here, see ``NormalRecords``. Any subset of columns may be given: both
    networks are trained with any part of a record known, so what is given is never hidden from them and nothing is
    rejected for it. Ranges of numbers are exact whatever was learned: numbers are drawn before all else, until they lie
    in them. Given codes and single numbers agree with counting as far as the networks' conditionals, learned for every
    subset, agree with each other, and as passes reveal few variables at once.

    Args:
        schema: columns to generate.
        seed: of weights and draws.
        width: of the network that reveals codes and groups.
        depth: of its residual layers.
        number_width: of the network that denoises numbers, an even number.
        number_depth: of its residual layers.
        spread: exponent of the variable of largest entropy; one of no entropy has 1, and with 1 all are alike.
        learning_rate: of AdamW after warm-up.
        warmup_steps: batches until then; a cosine to zero over the rest of the budget follows.
        weight_decay: of AdamW.
        ema_decay: of the averaged weights, less at first.
        steps: in which codes and groups are revealed, as many network calls.
        number_steps: N of Heun's method for numbers, 2 N - 1 calls of the smaller network.

    Raises:
        OptionError: an option is not a value that can work.
    """

    penalises_rules = True
    private = "gradients"
    network: Networks

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        width: int = 768,
        depth: int = 2,
        number_width: int = 256,
        number_depth: int = 2,
        spread: float = 4.0,
        learning_rate: float = 1e-3,
        warmup_steps: int = 200,
        weight_decay: float = 0.01,
        ema_decay: float = 0.999,
        steps: int = 32,
        number_steps: int = 16,
    ) -> None:
        super().__init__(schema=schema, seed=seed)
        self.save_hyperparameters(ignore=["schema"])
        options.whole(1, width=width, depth=depth, number_depth=number_depth, steps=steps)
        options.even(2, number_width=number_width)
        options.whole(2, number_steps=number_steps)
        options.number(1, spread=spread)
        self.spread, self.steps = spread, steps
        self.sigmas = karras_schedule(number_steps, sigma_max=SIGMA_MAX, sigma_min=SIGMA_MIN, rho=RHO)
        self.masking, self.scores = Masking(self.layout), NormalRecords(self.layout)
        numbers = len(self.scores.gaps)
        with self.seeded_init():
            columns, seen = self.layout.binary.stop, self.layout.binary.stop + self.masking.count
            networks = Networks(
                Revealer(seen, numbers, columns, width, depth) if self.masking.count else None,
                Denoiser(seen, numbers, number_width, number_depth) if numbers else None,
            )
        self.follow(
            networks,
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
            weight_decay=weight_decay,
        )

    def observe(self, train: Records) -> None:
        """Take ranks of numbers and the order of revealing, and start the output at the training prevalences."""
        self.scores.observe(train)
        self._start_at(ones(train.bits).to(torch.float32) / len(train), marginal_logits(train))

    @property
    @override
    def noisy_looks(self) -> int:
        return 1 if self.network.numbers is None else 2

    @override
    def observe_noisily(self, noisy: NoisyLooks) -> None:
        means = noisy.means()
        if self.network.numbers is not None:
            self.scores.quantiles.copy_(grid_of(noisy.laws(self.schema)))
            for bit, value in self.layout.missing_bits():
                self.scores.gaps[value] = means[bit]
        self._start_at(means[self.layout.binary], logits_of(self.layout, means))

    def _start_at(self, shares: Tensor, logits: Tensor) -> None:
        """Start at the shares [B] and logits [p] of what is usual."""
        self.masking.observe(shares, self.spread)
        if self.network.codes is not None:
            self.network.codes.output.bias.data.copy_(logits[self.layout.binary])
        self.start_average()

    @property
    def averaged(self) -> Networks:
        """The networks that records are drawn from."""
        networks = self.average.module
        assert isinstance(networks, Networks)
        return networks

    @property
    @override
    def conditionable(self) -> Collection[str]:
        return self.schema.names

    @override
    def compilable(self) -> Iterator[nn.Module]:
        if self.network.codes is not None:
            yield self.network.codes
        if self.network.numbers is not None:
            yield self.network.numbers.stack

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the bound of ``batch`` [n, p] and the EDM loss of its numbers; their networks share nothing."""
        generator, losses = self.step_rng(batch_idx), dict[str, Tensor]()
        if self.network.codes is not None:
            losses["codes"] = self._bound(self.network.codes, batch, generator)
        if self.network.numbers is not None:
            losses["numbers"] = self._edm_loss(self.network.numbers, batch, generator)
        total = torch.stack(list(losses.values())).sum()
        self.log_losses(batch_idx, total=total, **losses)
        return total

    def _bound(self, network: Revealer, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean bound of records in nats, and the penalty of records with chances where they were hidden."""
        time = spread_times(len(batch), generator)
        hidden = self.masking.times(len(batch), generator) < time
        binary = batch[:, self.layout.binary]
        logits = network(self.masking.seen(binary, hidden), self.scores.of(batch))
        bound = self.masking.bound(binary, logits, hidden, time).mean()
        values = self.layout.width - self.layout.binary.stop
        chances = self.layout.activate(nn.functional.pad(logits, (0, values)))
        unknown = nn.functional.pad(self.masking.of_columns(hidden), (0, values))
        return bound + self.rules_penalty(torch.where(unknown, chances, batch))

    def _edm_loss(self, network: Denoiser, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean loss of unknown numbers, and the penalty of records with these denoised."""
        scores = self.scores.of(batch)
        hidden, known = self._some_known(len(batch), generator)
        denoiser = network.given(network(self._codes_seen(batch, hidden)), scores, known)
        errors, denoised = edm_errors(
            denoiser,
            self.scores.of(batch, generator),
            generator,
            sigma_data=SIGMA_DATA,
            log_mean=LOG_SIGMA_MEAN,
            log_std=LOG_SIGMA_STD,
        )
        values, _ = self.scores.back(denoised)
        values = torch.where(known, batch[:, self.layout.values], values)
        estimate = torch.cat([batch[:, self.layout.binary], values], dim=1)
        return (errors * ~known).sum() / (~known).sum().clamp(min=1) + self.rules_penalty(estimate)

    @override
    def record_losses(self, batch: Tensor, generator: torch.Generator, draws: int) -> Tensor:
        n, rows, losses = len(batch), batch.repeat_interleave(draws, dim=0), list[Tensor]()

        def apart(x: Tensor) -> Tensor:
            return x.view(n, draws, -1)

        if self.network.codes is not None:
            time = own_times(n, draws, generator).flatten(0, 1)
            hidden, binary = self.masking.times(len(rows), generator) < time, rows[:, self.layout.binary]
            logits = self.network.codes(apart(self.masking.seen(binary, hidden)), apart(self.scores.of(rows)))
            losses.append(self.masking.bound(binary, logits.flatten(0, 1), hidden, time))
        if self.network.numbers is not None:
            hidden, known = self._some_known(len(rows), generator)
            context, scores = self.network.numbers(apart(self._codes_seen(rows, hidden))), self.scores.of(rows)
            errors, _ = edm_errors(
                self.network.numbers.given(context, apart(scores), apart(known)),
                apart(self.scores.of(rows, generator)),
                generator,
                sigma_data=SIGMA_DATA,
                log_mean=LOG_SIGMA_MEAN,
                log_std=LOG_SIGMA_STD,
            )
            unknown = errors.flatten(0, 1) * ~known
            losses.append(unknown.sum(1) / (UNKNOWN * known.shape[1]))  # and not by those of the batch
        return apart(torch.stack(losses).sum(0)).mean((1, 2))

    def _codes_seen(self, rows: Tensor, hidden: Tensor) -> Tensor:
        """Return what is seen of records [n, p] before their numbers are, and so not which of these are missing."""
        binary = rows[:, self.layout.binary]
        return self.masking.seen(binary * (self.masking.variable < self.masking.count), hidden)

    def _some_known(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw which variables [n, V] are hidden and which numbers [n, C] known while numbers are learned.

        Half of the rows know no variable and half no number, as when nothing is asked for. Of the others the share of
        variables is log-uniform, since conditions mostly name few columns, and that of numbers uniform.
        """
        half, share = torch.rand(2, n, 2, generator=generator, device=self.device).unbind(0)
        variables = torch.rand(n, self.masking.count, generator=generator, device=self.device)
        numbers = torch.rand(n, len(self.scores.gaps), generator=generator, device=self.device)
        some = half < 0.5
        hidden = (variables > max(self.masking.count, 1) ** -share[:, :1]) | ~some[:, :1]
        return hidden, (numbers < share[:, 1:]) & some[:, 1:]

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw hard records [n, p]: numbers, then codes and groups, each at its time, in ``steps`` passes."""
        nothing = torch.zeros(1, self.layout.width, device=self.device)
        condition = condition or Condition(self.layout, nothing, nothing, nothing.bool())
        rows = condition.low.where(condition.fixed, 0.0).expand(n, -1).clone()
        hidden = ~condition.given[:, self.masking.first].expand(n, -1)
        if self.averaged.numbers is not None:
            rows = self._with_numbers(self.averaged.numbers, rows, hidden, generator, condition)
        if self.averaged.codes is not None:
            rows[:, self.layout.binary] = self._revealed(self.averaged.codes, rows, hidden, generator)
        return self.layout.harden(rows)

    def _with_numbers(
        self, network: Denoiser, rows: Tensor, hidden: Tensor, generator: torch.Generator, condition: Condition
    ) -> Tensor:
        """Return records [n, p] with numbers, and which are missing, drawn given what is known of each record."""
        sigmas = self.sigmas.to(self.device)
        known = condition.fixed.expand(len(rows), -1)[:, self.layout.values].clone()
        for bit, value in self.layout.missing_bits():
            known[:, value] |= condition.given[:, bit] & (rows[:, bit] > 0)
        context, scores = network(self._codes_seen(rows, hidden)), self.scores.of(rows)
        numbers = condition.on([column.name for column in self.schema.columns if column.numeric])
        waiting = torch.arange(len(rows), device=self.device)
        for _ in range(TRIES):
            tries = len(rows) // len(waiting)  # at a time, so that the last rows do not take a round each
            at = waiting.repeat(tries)
            denoiser = network.given(context[at], scores[at], known[at])
            noise = sigmas[0] * torch.randn(scores[at].shape, generator=generator, device=self.device)
            drawn = heun(lambda x, sigma, f=denoiser: denoise(f, x, sigma, SIGMA_DATA), noise, sigmas)  # type: ignore[misc]
            refuse_nan(drawn)
            tried = self.scores.written(rows[at], drawn, ~known[at])
            met = numbers.of_rows(at).met_by(tried).view(tries, -1)
            done, first = met.any(0), met.to(torch.uint8).argmax(0)
            rows[waiting[done]] = tried.view(tries, len(waiting), -1)[first, torch.arange(len(waiting))][done]
            waiting = waiting[~done]
            if not len(waiting):
                return rows
        raise OptionError(
            f"condition {', '.join(sorted(numbers.columns))}: none of {TRIES} draws for a record lies in the ranges"
            " asked for; ask for wider ones"
        )

    def _revealed(self, network: Revealer, rows: Tensor, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """Return the binary part of records [n, p] with what is hidden drawn, given numbers and what is not."""
        scores, binary = self.scores.of(rows), rows[:, self.layout.binary]
        passes = self.masking.passes(hidden, self.steps, generator)
        revealed = torch.bincount(passes.flatten(), hidden.flatten().float(), self.steps).tolist()
        diverged = torch.zeros((), dtype=torch.bool, device=self.device)  # asked for at the end: in each step it waits
        for step in range(self.steps):
            if revealed[step]:
                now = hidden & (passes == step)
                logits = network(self.masking.seen(binary, hidden), scores)
                diverged |= logits.isnan().any()
                drawn = self.masking.draw(logits.nan_to_num(), generator)
                binary = torch.where(self.masking.of_columns(now), drawn, binary)
                hidden = hidden & ~now
        refuse_nan(torch.where(diverged, torch.nan, 0.0))
        return binary

    def nelbo(self, rows: Tensor, generator: torch.Generator, draws: int = 32) -> Tensor:
        """Return the bound [n] in nats on codes and groups of records [n, p], given numbers, from so many times."""
        assert self.averaged.codes is not None, "a table of numbers alone has no such bound"
        total, scores, binary = rows.new_zeros(len(rows)), self.scores.of(rows), rows[:, self.layout.binary]
        for time in spread_times(draws * len(rows), generator).view(draws, len(rows), 1):
            hidden = self.masking.times(len(rows), generator) < time
            logits = self.averaged.codes(self.masking.seen(binary, hidden), scores)
            total += self.masking.bound(binary, logits, hidden, time) / draws
        return total
