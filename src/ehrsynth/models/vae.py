"""A variational autoencoder whose decoder has one likelihood per kind of column.

Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014; a weight on the KL term as in Higgins
et al., beta-VAE, ICLR 2017; likelihoods by kind of column as in Nazabal et al., HI-VAE, 2020.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from typing_extensions import override

from ehrsynth.layout import Records
from ehrsynth.models import heads, options
from ehrsynth.models.autoencoder import kl_of_normal, normal_draw
from ehrsynth.models.condition import Condition
from ehrsynth.models.labels import LabelledModel
from ehrsynth.models.nn import mlp
from ehrsynth.models.noisy_looks import NoisyLooks
from ehrsynth.models.private_layers import PerRecord
from ehrsynth.schema import Schema


class VAE(LabelledModel):
    """Bernoulli bits, categorical groups and Gaussian values, given a standard normal latent vector.

    The decoder starts at the training marginals, so that the first steps are spent on what depends on
    the latent vector. Values under a set missing indicator do not count in the likelihood: they are
    filled in, not observed.

    Args:
        schema: columns to generate.
        seed: of weights and latent draws.
        latent_width: dimensions of the latent vector.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        kl_weight: weight of the KL term; 1 is the evidence lower bound, under which most of the latent vector
            stays unused on sparse codes.
        learning_rate: of Adam.
        condition: columns that the decoder is told, so that it can be asked for them.

    Raises:
        OptionError: an option is not a value that can work.
    """

    penalises_rules = True
    private = "gradients"
    averageable = True

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        latent_width: int = 64,
        hidden: Sequence[int] = (512, 256),
        kl_weight: float = 0.3,
        learning_rate: float = 1e-3,
        condition: Sequence[str] = (),
    ) -> None:
        super().__init__(schema=schema, seed=seed, condition=condition)
        self.save_hyperparameters(ignore=["schema"])
        options.whole(1, latent_width=latent_width)
        options.widths(hidden=hidden)
        options.number(0, kl_weight=kl_weight)
        options.positive(learning_rate=learning_rate)
        self.latent_width, self.kl_weight, self.learning_rate = latent_width, kl_weight, learning_rate
        layout = self.layout
        with self.seeded_init():
            self.encoder = mlp([layout.width, *hidden, 2 * latent_width])
            self.decoder = mlp([latent_width + self.labels.width, *reversed(hidden), layout.width])
        self.log_std = nn.Parameter(torch.full((layout.width - layout.binary.stop,), -2.0))
        self._log_std = (PerRecord(self.log_std),)  # in a tuple, for it is no part of the model

    @override
    def observe(self, train: Records) -> None:
        """Start the decoder's output at the training marginals, and count labels."""
        super().observe(train)
        output = self.decoder[-1]
        assert isinstance(output, nn.Linear)
        output.bias.data.copy_(heads.marginal_logits(train))

    @property
    @override
    def noisy_looks(self) -> int:
        return 1

    @override
    def observe_noisily(self, noisy: NoisyLooks) -> None:
        output = self.decoder[-1]
        assert isinstance(output, nn.Linear)
        output.bias.data.copy_(heads.logits_of(self.layout, noisy.means()))

    @property
    def std(self) -> Tensor:
        """Standard deviation [C] of each value around the decoder's mean, learned."""
        return heads.deviation(self.log_std)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the negative evidence lower bound of ``batch`` [n, p], the KL term weighted."""
        mean, log_variance = self.encoder(batch).chunk(2, dim=1)
        latent = normal_draw(mean, log_variance, self.step_rng(batch_idx))
        logits = self._decoded(latent, self.labels.of(batch))
        reconstruction = heads.negative_log_likelihood(self.layout, batch, logits, self.std).mean()
        kl = kl_of_normal(mean, log_variance).mean()
        broken = self.rules_penalty(self.labels.imposed_on(self.layout.activate(logits), self.labels.of(batch)))
        total: Tensor = reconstruction + self.kl_weight * kl + broken
        self.log_losses(batch_idx, total=total, reconstruction=reconstruction, kl=kl)
        return total

    @override
    def record_modules(self) -> Iterator[nn.Module]:
        yield from (self.encoder, self.decoder, *self._log_std)

    @override
    def record_losses(self, batch: Tensor, generator: torch.Generator, draws: int) -> Tensor:
        mean, log_variance = self.encoder(batch).chunk(2, dim=1)
        centre, spread = (part.unsqueeze(1).expand(-1, draws, -1) for part in (mean, log_variance))
        logits = self.decoder(normal_draw(centre, spread, generator))
        (log_std,) = self._log_std
        std = heads.deviation(log_std(logits[..., self.layout.values].detach()))
        surprise = heads.negative_log_likelihood(self.layout, batch.unsqueeze(1), logits, std)
        return surprise.mean(1) + self.kl_weight * kl_of_normal(mean, log_variance)

    @override
    def compilable(self) -> Iterator[nn.Module]:
        yield from (self.encoder, self.decoder)

    def configure_optimizers(self) -> Optimizer:
        """Adam on everything."""
        return Adam(self.parameters(), lr=self.learning_rate, fused=True)

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw records [n, p]: a latent vector, then every column from its likelihood."""
        latent = torch.randn(n, self.latent_width, generator=generator, device=self.device)
        labels = self.labels.draw(n, generator, condition)
        rows = heads.draw(self.layout, self._decoded(latent, labels), self.std, generator)
        return self.labels.imposed_on(rows, labels)

    def _decoded(self, latent: Tensor, labels: Tensor) -> Tensor:
        logits: Tensor = self.decoder(torch.cat([latent, labels], dim=1))
        return logits
