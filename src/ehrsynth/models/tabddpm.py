"""TabDDPM: diffusion of mixed tables, Gaussian for numbers and multinomial for categories.

Kotelnikov et al., TabDDPM: Modelling Tabular Data with Diffusion Models, ICML 2023; multinomial diffusion by Hoogeboom
et al., NeurIPS 2021. Both kinds share the step t, the cosine schedule and one network, which is told x_t and t and
predicts x_0 of the categories and the noise in the numbers; the loss is L_simple + sum_i L_i / C.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from ehrsynth.layout import Records
from ehrsynth.models import heads, options
from ehrsynth.models.condition import Condition
from ehrsynth.models.diffusion.base import DiffusionModel, GuidedModel, apart
from ehrsynth.models.diffusion.categories import Categories
from ehrsynth.models.diffusion.discrete_time import CosineSchedule, GaussianDiffusion, MultinomialDiffusion
from ehrsynth.models.diffusion.guidance import guided
from ehrsynth.models.diffusion.normal_scores import Centred, NormalScores
from ehrsynth.models.diffusion.precondition import Network
from ehrsynth.models.diffusion.told_mlp import ToldMLP
from ehrsynth.models.noisy_looks import NoisyLooks, grid_of
from ehrsynth.schema import Schema

Numbers = Literal["quantile", "min_max"]


class TabDDPM(DiffusionModel, GuidedModel):
    """Multinomial diffusion of bits and groups, Gaussian diffusion of numbers, by one MLP.

    The network sees bits and indicators as zeros and ones; the paper's code gives it logarithms of both states, -69 for
    0, which over hundreds of columns add up to what ends in NaN.

    A bit is a category of two states. No column has a loop of its own, in loss or sampler. Labels are the paper's class
    condition for any columns; dropping them, guidance and the average of the weights are ours, as is that a number
    under a set missing indicator does not count.

    Args:
        schema: columns to generate.
        seed: of weights, steps and noise.
        widths: hidden layers of the MLP.
        stem_width: of the layer before it, to which time and labels are added.
        timesteps: T.
        numbers: made normal by their ``quantile`` among training rows, as in the paper, or ``min_max`` scaled to
            [-1, 1].
        learning_rate: of AdamW, falling linearly to zero over the budget.
        ema_decay: of averaged weights to sample from; 0 for the last weights, which the paper's scripts sample though
            they keep an average too.
        marginal_bias: start the output for bits and groups at the training marginals.
        condition: columns that the network is told, so that it can be asked for them.
        label_dropout: share of training rows whose labels it is not told, as guidance needs.
        guidance: w in F + w (F - F without labels), F being the output of the network; 0 is calibrated.

    Raises:
        OptionError: an option is not a value that can work.
    """

    penalises_rules = True
    private = "gradients"
    averageable = True
    network: ToldMLP
    scale: NormalScores | Centred

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        widths: Sequence[int] = (256, 1024, 1024, 1024, 1024, 256),
        stem_width: int = 128,
        timesteps: int = 100,
        numbers: Numbers = "quantile",
        learning_rate: float = 2e-3,
        ema_decay: float = 0.0,
        marginal_bias: bool = False,
        condition: Sequence[str] = (),
        label_dropout: float = 0.1,
        guidance: float = 0.0,
    ) -> None:
        super().__init__(schema=schema, seed=seed, condition=condition, label_dropout=label_dropout, guidance=guidance)
        self.save_hyperparameters(ignore=["schema"])
        options.widths(widths=widths)
        options.whole(1, stem_width=stem_width)
        options.whole(2, timesteps=timesteps)
        options.choice(get_args(Numbers), numbers=numbers)
        self.timesteps, self.marginal_bias = timesteps, marginal_bias
        columns, numeric = self.layout.width, self.layout.width - self.layout.values.start
        self.scale = NormalScores(numeric) if numbers == "quantile" else Centred()
        self.categories, self.schedule = Categories(self.layout), CosineSchedule(timesteps)
        self.gaussian = GaussianDiffusion(self.schedule)
        self.multinomial = MultinomialDiffusion(self.schedule, self.categories)
        with self.seeded_init():
            network = ToldMLP(columns, self.labels.width, stem_width, widths)
        self.follow(network, learning_rate=learning_rate, warmup_steps=0, ema_decay=ema_decay)

    @override
    def observe(self, train: Records) -> None:
        """Take quantiles of numbers, count labels, and start the output at the marginals if it is asked for."""
        super().observe(train)
        self.scale.observe(train)
        if self.marginal_bias:
            self._start_at(heads.marginal_logits(train))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss of ``batch`` [n, p] at one random step t in each row."""
        rng = self.step_rng(batch_idx)
        t = torch.randint(1, self.timesteps + 1, (len(batch), 1), generator=rng, device=self.device)
        labels = self.told(batch, rng)
        errors, kl, estimate = self._errors(partial(self.network, labels=labels), batch, t, rng)
        # T of one step stands for the sum over all of them (code); the last term of the bound has no weights in it.
        multinomial = self.timesteps * kl.mean() / max(1, self.categories.variables)
        gaussian = errors.sum() / max(1, errors.numel())
        total = gaussian + multinomial
        if self.rules_weight:
            total = total + self.rules_penalty(self.labels.imposed_on(self._estimate(*estimate), self.labels.of(batch)))
        self.log_losses(batch_idx, total=total, gaussian=gaussian, multinomial=multinomial)
        return total

    def _errors(
        self, network: Network, rows: Tensor, t: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Return what the network gets wrong of records [n, p] at steps t [n, 1].

        Returns:
            Squared errors [n, C] of the noise in numbers that count, the divergence [n] of categories, and what the
            network takes for the records: log probabilities of states, and numbers.
        """
        start, log_start = self.scale(rows[:, self.layout.values]), self.categories.of(rows).log()
        noise = torch.randn(start.shape, generator=rng, device=self.device)
        values = self.gaussian.noised(start, noise, t)
        states = self.categories.draw(self.multinomial.noised(log_start, t), rng)
        log_estimate, predicted = self._split(network(self._joined(states, values), t))
        kl = self.multinomial.divergence(states.log(), log_start, log_estimate, t)
        errors = (predicted - noise).square() * heads.observed(self.layout, rows)
        return errors, kl, (log_estimate, self.gaussian.denoised(values, predicted, t))

    @property
    @override
    def noisy_looks(self) -> int:
        return 1 if self._ranks is None else 2

    @property
    def _ranks(self) -> NormalScores | None:
        """What learns of numbers, if there are any and it is not by their bounds."""
        return self.scale if isinstance(self.scale, NormalScores) and self.scale.quantiles.numel() else None

    @override
    def observe_noisily(self, noisy: NoisyLooks) -> None:
        """Start at noisy means whatever ``marginal_bias`` says, for a private training has few steps to learn them."""
        self._start_at(heads.logits_of(self.layout, noisy.means()))
        if self._ranks is not None:
            self._ranks.quantiles.copy_(grid_of(noisy.laws(self.schema)))

    def _start_at(self, logits: Tensor) -> None:
        """Start the output for bits and groups at logits [p]."""
        output, binary = self.network.body[-1], self.layout.binary
        assert isinstance(output, nn.Linear)
        output.bias.data[binary] = logits[binary]
        self.start_average()

    @override
    def record_losses(self, batch: Tensor, generator: torch.Generator, draws: int) -> Tensor:
        rows = batch.repeat_interleave(draws, dim=0)
        t = torch.randint(1, self.timesteps + 1, (len(rows), 1), generator=generator, device=self.device)
        network = apart(self.network, len(batch), draws)
        errors, kl, _ = self._errors(network, rows, t, generator)
        gaussian = errors.sum(1) / max(1, errors.shape[1])
        multinomial = self.timesteps * kl / max(1, self.categories.variables)
        return (gaussian + multinomial).view(-1, draws).mean(1)

    @override
    def rate(self, total: float, step: int) -> float:
        """Return the share of the learning rate in a step: it falls linearly to zero."""
        return max(0.0, 1 - step / total)

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw records [n, p] by T reverse steps from uniform categories and normal numbers."""
        labels = self.labels.draw(n, generator, condition)
        network = guided(self.average, labels, self.guidance)
        states = self.categories.draw(self.categories.log_uniform.expand(n, -1), generator)
        values = torch.randn(n, self.layout.width - self.layout.values.start, generator=generator, device=self.device)
        for step in range(self.timesteps, 0, -1):
            t = torch.full((1, 1), step, device=self.device)
            log_estimate, noise = self._split(network(self._joined(states, values), t))
            start = self.gaussian.denoised(values, noise, t).clamp(-self.scale.limit, self.scale.limit)
            values = self.gaussian.posterior_mean(values, start, t)
            log_p = self.multinomial.posterior(states.log(), log_estimate, t)
            if step > 1:  # the last step's numbers are their mean, and its states are drawn as the record is made hard
                noise = torch.randn(values.shape, generator=generator, device=self.device)
                values = values + self.schedule.beta[step].sqrt() * noise
                states = self.categories.draw(log_p, generator)
        chances = torch.cat([self.categories.rows(log_p.exp()), self.scale.inverse(values)], dim=1)
        return self.labels.imposed_on(self.layout.harden(chances, generator), labels)

    def _joined(self, states: Tensor, values: Tensor) -> Tensor:
        return torch.cat([self.categories.rows(states), values], dim=1)

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return log probabilities of the states at step 0, and the noise in the numbers."""
        return self.categories.log_softmax(self.categories.logits_of(output)), output[:, self.layout.values]

    def _estimate(self, log_estimate: Tensor, values: Tensor) -> Tensor:
        """Return the records expected at step 0: probabilities, and numbers in [0, 1]."""
        values = self.scale.inverse(values.clamp(-self.scale.limit, self.scale.limit))
        return torch.cat([self.categories.rows(log_estimate.exp()), values], dim=1)
