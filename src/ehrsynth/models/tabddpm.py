"""TabDDPM: diffusion of mixed tables, Gaussian for numbers and multinomial for categories.

Kotelnikov et al., TabDDPM: Modelling Tabular Data with Diffusion Models, ICML 2023; multinomial diffusion by Hoogeboom
et al., NeurIPS 2021. Both kinds share the step t, the cosine schedule and one network, which is told x_t and t and
predicts x_0 of the categories and the noise in the numbers; the loss is L_simple + sum_i L_i / C.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from ehrsynth.layout import Records
from ehrsynth.models import heads, options
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.models.diffusion.discrete_time import CosineSchedule, GaussianDiffusion, MultinomialDiffusion
from ehrsynth.models.diffusion.embedding import Sinusoid
from ehrsynth.models.diffusion.guidance import dropped, guided
from ehrsynth.models.diffusion.normal_quantiles import Centred, NormalQuantiles
from ehrsynth.models.diffusion.states import States
from ehrsynth.models.labels import Labels
from ehrsynth.models.nn import mlp, moving_average
from ehrsynth.schema import Schema

Numbers = Literal["quantile", "min_max"]


class TabularMLP(nn.Module):
    """The paper's network: x = Linear(x_t) + time(t) + SiLU(Linear(labels)), then an MLP.

    ``time`` is Linear, SiLU, Linear of sinusoids. Rows [n, p] hold bits and indicators as zeros and ones; the code
    gives logarithms of both states, -69 for 0, which over hundreds of columns add up to what ends in NaN.
    """

    def __init__(self, columns: int, labels: int, stem_width: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.time = nn.Sequential(
            Sinusoid(stem_width), nn.Linear(stem_width, stem_width), nn.SiLU(), nn.Linear(stem_width, stem_width)
        )
        self.label = nn.Sequential(nn.Linear(labels, stem_width), nn.SiLU()) if labels else None
        self.stem = nn.Linear(columns, stem_width)
        self.body = mlp([stem_width, *widths, columns])

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """Map rows [n, p], steps [n, 1] or [1, 1] and labels [n, k] to [n, p]."""
        x = self.stem(x) + self.time(t)
        if self.label is not None:
            x = x + self.label(labels)
        output: Tensor = self.body(x)
        return output.float()


class TabDDPM(SyntheticModel):
    """Multinomial diffusion of bits and groups, Gaussian diffusion of numbers, by one MLP.

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
        label_dropout: share of training rows whose labels it is not told.
        guidance: w in output + w (output - output without labels); 0 is calibrated.

    Raises:
        OptionError: an option is not a value that can work.
    """

    penalises_rules = True
    conditioning = "label"

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
        super().__init__(schema=schema, seed=seed)
        self.save_hyperparameters(ignore=["schema"])
        options.widths(widths=widths)
        options.whole(1, stem_width=stem_width)
        options.whole(2, timesteps=timesteps)
        options.choice(get_args(Numbers), numbers=numbers)
        options.positive(learning_rate=learning_rate)
        options.number(0, ema_decay=ema_decay, label_dropout=label_dropout, guidance=guidance)
        self.timesteps, self.learning_rate, self.marginal_bias = timesteps, learning_rate, marginal_bias
        self.label_dropout, self.guidance = label_dropout, guidance
        layout, self.labels = self.layout, Labels(schema, condition)
        self.scale = NormalQuantiles(layout.width - layout.values.start) if numbers == "quantile" else Centred()
        self.states, self.schedule = States(layout), CosineSchedule(timesteps)
        self.gaussian = GaussianDiffusion(self.schedule)
        self.multinomial = MultinomialDiffusion(self.schedule, self.states)
        with self.seeded_init():
            self.network = TabularMLP(layout.width, self.labels.width, stem_width, widths)
        self.average = moving_average(self.network, ema_decay) if ema_decay else None

    def observe(self, train: Records) -> None:
        """Take quantiles of numbers, count labels."""
        self.scale.observe(train)
        self.labels.observe(train)
        if self.marginal_bias:
            output, binary = self.network.body[-1], self.layout.binary
            assert isinstance(output, nn.Linear)
            output.bias.data[binary] = heads.marginal_logits(train)[binary]

    @property
    @override
    def conditionable(self) -> Collection[str]:
        return self.labels.columns

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss of ``batch`` [n, p] at one random step t in each row."""
        rng = self.step_rng(batch_idx)
        t = torch.randint(1, self.timesteps + 1, (len(batch), 1), generator=rng, device=self.device)
        labels = dropped(self.labels.of(batch), self.label_dropout, rng)
        start, log_start = self.scale(batch[:, self.layout.values]), self.states.of(batch).log()
        noise = torch.randn(start.shape, generator=rng, device=self.device)
        values = self.gaussian.noised(start, noise, t)
        states = self.states.draw(self.multinomial.noised(log_start, t), rng)
        log_estimate, predicted = self._split(self.network(self._joined(states, values), t, labels))
        kl = self.multinomial.divergence(states.log(), log_start, log_estimate, t)
        # T of one step stands for the sum over all of them (code); the last term of the bound has no weights in it.
        multinomial = self.timesteps * kl.mean() / max(1, self.states.variables)
        gaussian = ((predicted - noise).square() * heads.observed(self.layout, batch)).sum() / max(1, noise.numel())
        total = gaussian + multinomial
        if self.rules_weight:
            estimate = self._estimate(log_estimate, self.gaussian.denoised(values, predicted, t))
            total = total + self.rules_penalty(self.labels.imposed_on(estimate, self.labels.of(batch)))
        self.log_losses(batch_idx, total=total, gaussian=gaussian, multinomial=multinomial)
        return total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then average: here and not at the end of the batch, when checkpoints are already written."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> Any:
        """AdamW without weight decay; its rate falls linearly to zero at the end of the budget."""
        optimizer: Optimizer = AdamW(self.network.parameters(), lr=self.learning_rate, weight_decay=0.0, fused=True)
        schedule = LambdaLR(optimizer, partial(_falling, self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw records [n, p] by T reverse steps from uniform categories and normal numbers."""
        labels = self.labels.draw(n, generator, condition)
        network = guided(self.network if self.average is None else self.average, labels, self.guidance)
        states = self.states.draw(self.states.log_uniform.expand(n, -1), generator)
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
                states = self.states.draw(log_p, generator)
        rows = self.layout.harden(torch.cat([self.states.rows(log_p.exp()), self.scale.inverse(values)], 1), generator)
        return self.labels.imposed_on(rows, labels)

    def _joined(self, states: Tensor, values: Tensor) -> Tensor:
        return torch.cat([self.states.rows(states), values], dim=1)

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return log probabilities of the states at step 0, and the noise in the numbers."""
        return self.states.log_softmax(self.states.logits_of(output)), output[:, self.layout.values]

    def _estimate(self, log_estimate: Tensor, values: Tensor) -> Tensor:
        """Return the records expected at step 0: probabilities, and numbers in [0, 1]."""
        values = self.scale.inverse(values.clamp(-self.scale.limit, self.scale.limit))
        return torch.cat([self.states.rows(log_estimate.exp()), values], dim=1)


def _falling(total: float, step: int) -> float:
    return max(0.0, 1 - step / total)
