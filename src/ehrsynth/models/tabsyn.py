"""TabSyn: diffusion in the latent space of a variational autoencoder of tables.

Zhang et al., Mixed-Type Tabular Data Synthesis with Score-based Diffusion in Latent Space, ICLR 2024. Theirs: an
autoencoder first, whose KL term has a weight beta that falls as training goes on; then EDM diffusion (Karras et al.,
2022) of its latent vectors by an MLP, and Heun's method from noise to a latent vector, which the decoder turns into a
record. Ours, for tables of two thousand columns: their encoder and decoder are transformers with a token of four
numbers for every column, whose attention grows with the square of the columns and whose latent vector has four numbers
for each of them. Here both are MLPs around one short latent vector; the first layer's weights are an embedding of each
code, and the codes of a record add up, so that it is a set that is encoded. Numbers are made normal by their ranks, as
theirs are; the decoder has a likelihood per kind of column and is drawn from, where theirs takes the likeliest level.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from ehrsynth.errors import OptionError, expect
from ehrsynth.layout import Records
from ehrsynth.models import heads, options
from ehrsynth.models.autoencoder import kl_of_normal, normal_draw
from ehrsynth.models.condition import Condition
from ehrsynth.models.diffusion.base import GuidedModel
from ehrsynth.models.diffusion.guidance import guided
from ehrsynth.models.diffusion.loss import edm_errors
from ehrsynth.models.diffusion.normal_scores import NormalScores
from ehrsynth.models.diffusion.precondition import denoise
from ehrsynth.models.diffusion.sampler import heun, karras_schedule
from ehrsynth.models.diffusion.told_mlp import ToldMLP
from ehrsynth.models.nn import mean_over_processes, mlp
from ehrsynth.schema import Schema

SIGMA_DATA = 0.5  # of the latent vectors as the diffusion sees them
LOG_SIGMA_MEAN, LOG_SIGMA_STD = -1.2, 1.2
SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0


class TabSyn(GuidedModel):
    """An autoencoder for the first epochs, then diffusion of its latent vectors; which of the two, the epoch says.

    Before the second phase latent vectors are drawn as normal ones with the moments they have in the training rows.

    Args:
        schema: columns to generate.
        seed: of weights, latent draws and noise.
        latent_width: d, dimensions of the latent vector.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        denoiser_width: w, of the denoising MLP, whose layers have w, 2 w, 2 w and w units.
        autoencoder_share: of the epochs that the autoencoder takes; at least one.
        beta_max: weight of the KL term in the first epoch, 1 being the evidence lower bound.
        beta_min: in the autoencoder's last epoch; in between it falls by the same factor from epoch to epoch.
        posterior_draws: diffuse draws of the latent vector, as the decoder has them in training; else their means.
        learning_rate: of Adam; in the second phase it falls linearly to zero.
        steps: of Heun's method.
        condition: columns that denoiser and decoder are told, so that they can be asked for them.
        label_dropout: share of training rows whose labels the denoiser is not told, as guidance needs.
        guidance: w in F + w (F - F without labels), F being the output of the network; 0 is calibrated.

    Raises:
        OptionError: an option is not a value that can work.
    """

    penalises_rules = True
    moments: Tensor  # [2, d]: the means of latent vectors and of their squares
    diffuses: Tensor  # whether the second phase has begun

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        latent_width: int = 64,
        hidden: Sequence[int] = (512, 256),
        denoiser_width: int = 1024,
        autoencoder_share: float = 0.3,
        beta_max: float = 1e-2,
        beta_min: float = 1e-5,
        posterior_draws: bool = False,
        learning_rate: float = 1e-3,
        steps: int = 20,
        condition: Sequence[str] = (),
        label_dropout: float = 0.1,
        guidance: float = 0.0,
    ) -> None:
        super().__init__(schema=schema, seed=seed, condition=condition, label_dropout=label_dropout, guidance=guidance)
        self.save_hyperparameters(ignore=["schema"])
        options.whole(1, latent_width=latent_width, denoiser_width=denoiser_width)
        options.widths(hidden=hidden)
        options.whole(2, steps=steps)
        options.positive(autoencoder_share=autoencoder_share, beta_max=beta_max, beta_min=beta_min)
        options.positive(learning_rate=learning_rate)
        expect(autoencoder_share < 1, "model.autoencoder_share", autoencoder_share, "a share below one")
        if beta_min > beta_max:
            raise OptionError(f"model.beta_min={beta_min}: at most model.beta_max={beta_max} was expected")
        self.latent_width, self.posterior_draws, self.learning_rate = latent_width, posterior_draws, learning_rate
        self.autoencoder_share, self.beta_max, self.beta_min = autoencoder_share, beta_max, beta_min
        self.sigmas = karras_schedule(steps, sigma_max=SIGMA_MAX, sigma_min=SIGMA_MIN, rho=RHO)
        layout, widths = self.layout, [2 * denoiser_width, 2 * denoiser_width, denoiser_width]
        with self.seeded_init():
            self.encoder = mlp([layout.width, *hidden, 2 * latent_width])
            self.decoder = mlp([latent_width + self.labels.width, *reversed(hidden), layout.width])
            self.denoiser = ToldMLP(latent_width, self.labels.width, denoiser_width, widths, nn.SiLU)
        self.scale = NormalScores(layout.width - layout.values.start)
        self.log_std = nn.Parameter(torch.full((layout.width - layout.binary.stop,), -2.0))
        self.register_buffer("moments", torch.tensor([[0.0], [1.0]]).repeat(1, latent_width))
        self.register_buffer("diffuses", torch.tensor(False))

    @override
    def observe(self, train: Records) -> None:
        """Start the decoder's output at the training marginals, and count labels."""
        super().observe(train)
        self.scale.observe(train)
        output, binary = self.decoder[-1], self.layout.binary
        assert isinstance(output, nn.Linear)
        output.bias.data.zero_()[binary] = heads.marginal_logits(train)[binary]  # ranks have their mean at one half

    @property
    def autoencoder_epochs(self) -> int:
        """Epochs of the first phase."""
        epochs = self.trainer.max_epochs
        if epochs is None or epochs < 1:
            raise OptionError(
                "trainer.max_epochs: TabSyn has two phases, so it must be known how many epochs there are"
            )
        return max(1, round(self.autoencoder_share * epochs))

    @property
    def beta(self) -> float:
        """Weight of the KL term in this epoch."""
        share = self.current_epoch / max(1, self.autoencoder_epochs - 1)
        return float(self.beta_max ** (1 - share) * self.beta_min**share)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss of ``batch`` [n, p] in the phase of this epoch."""
        rng, labels, batch = self.step_rng(batch_idx), self.labels.of(batch), self._ranked(batch)
        if self.current_epoch >= self.autoencoder_epochs:
            self.diffuses.fill_(True)
            losses = self._denoising(batch, labels, rng)
        else:
            losses = self._autoencoding(batch, labels, rng, batch_idx)
        total = torch.stack(list(losses.values())).sum()
        self.log_losses(batch_idx, total=total, **losses)
        return total

    @override
    def compilable(self) -> Iterator[nn.Module]:
        yield from (self.encoder, self.decoder, self.denoiser)

    def configure_optimizers(self) -> Any:
        """Adam on everything; what a phase does not use has no gradients and stays as it is."""
        optimizer: Optimizer = Adam(self.parameters(), lr=self.learning_rate, fused=True)
        total = self.trainer.estimated_stepping_batches
        first = total * self.autoencoder_epochs / (self.trainer.max_epochs or 1)
        schedule = LambdaLR(optimizer, partial(_falling_after, first, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw records [n, p]: a latent vector by the probability flow, then every column from its likelihood."""
        labels = self.labels.draw(n, generator, condition)
        noise = torch.randn(n, self.latent_width, generator=generator, device=self.device)
        scaled = SIGMA_DATA * noise
        if self.diffuses:
            sigmas = self.sigmas.to(self.device)
            network = guided(self.denoiser, labels, self.guidance)
            scaled = heun(lambda z, sigma: denoise(network, z, sigma, SIGMA_DATA), sigmas[0] * noise, sigmas)
        rows = heads.draw(self.layout, self._decoded(scaled, labels), self.std, generator)
        return self.labels.imposed_on(self._values_of(rows), labels)

    @property
    def std(self) -> Tensor:
        """Standard deviation [C] of each value around the decoder's mean, learned."""
        return heads.deviation(self.log_std)

    def _autoencoding(
        self, batch: Tensor, labels: Tensor, generator: torch.Generator, batch_idx: int
    ) -> dict[str, Tensor]:
        """Return the negative evidence lower bound of ``batch``, the KL term weighted by beta."""
        mean, log_variance = self.encoder(batch).chunk(2, dim=1)
        latent = normal_draw(mean, log_variance, generator)
        self._count(latent if self.posterior_draws else mean, batch_idx)
        logits = self._logits(latent, labels)
        likelihood = heads.negative_log_likelihood(self.layout, batch, logits, self.std).mean()
        kl = self.beta * kl_of_normal(mean, log_variance).mean()
        return {"reconstruction": likelihood, "kl": kl, **self._broken(logits, labels)}

    def _denoising(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the EDM loss of the latent vectors of ``batch``; encoder and decoder stay as they are."""
        with torch.no_grad():
            mean, log_variance = self.encoder(batch).chunk(2, dim=1)
            latent = normal_draw(mean, log_variance, generator) if self.posterior_draws else mean
            center, spread = self._location()
            scaled = SIGMA_DATA * (latent - center) / spread
        errors, denoised = edm_errors(
            partial(self.denoiser, labels=self.told(batch, generator)),
            scaled,
            generator,
            sigma_data=SIGMA_DATA,
            log_mean=LOG_SIGMA_MEAN,
            log_std=LOG_SIGMA_STD,
        )
        broken = self._broken(self._decoded(denoised, labels), labels) if self.rules_weight else {}
        return {"denoising": errors.mean(), **broken}

    def _broken(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the penalty for broken rules, if it has a weight."""
        if not self.rules_weight:
            return {}
        rows = self._values_of(self.layout.activate(logits))
        return {"rules": self.rules_penalty(self.labels.imposed_on(rows, labels))}

    def _ranked(self, rows: Tensor) -> Tensor:
        """Return records [n, p] with normal scores, scaled to [0, 1], in place of the values."""
        scores = self.scale(rows[:, self.layout.values]).clamp(-self.scale.limit, self.scale.limit)
        return torch.cat([rows[:, self.layout.binary], (scores / self.scale.limit + 1) / 2], dim=1)

    def _values_of(self, rows: Tensor) -> Tensor:
        """Return records [n, p] with values in place of scaled normal scores."""
        values = self.scale.inverse((2 * rows[:, self.layout.values] - 1) * self.scale.limit)
        return torch.cat([rows[:, self.layout.binary], values], dim=1)

    @torch.no_grad()
    def _count(self, latent: Tensor, batch_idx: int) -> None:
        """Average the moments over the batches of this epoch; when the second phase starts, the last one's stand."""
        found = torch.stack([mean_over_processes(latent), mean_over_processes(latent.square())])
        self.moments.lerp_(found.float(), 1 / (batch_idx + 1))

    def _location(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation [d] of latent vectors."""
        center, square = self.moments
        return center, (square - center.square()).clamp(min=1e-8).sqrt()

    def _decoded(self, scaled: Tensor, labels: Tensor) -> Tensor:
        """Return logits [n, p] of latent vectors [n, d] as the diffusion has them."""
        center, spread = self._location()
        return self._logits(center + spread * scaled / SIGMA_DATA, labels)

    def _logits(self, latent: Tensor, labels: Tensor) -> Tensor:
        logits: Tensor = self.decoder(torch.cat([latent, labels], dim=1))
        return logits


def _falling_after(first: float, total: float, step: int) -> float:
    """Return 1 until step ``first``, then what falls linearly to 0 at ``total``."""
    return min(1.0, max(0.0, (total - step) / max(1.0, total - first)))
