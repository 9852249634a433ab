"""MedGAN-2025: a Wasserstein GAN under the gradient penalty whose critic adapts to what it knows beyond its rows.

Named in a comparison of generators of electronic health records (2025) as "Wasserstein loss, gradient penalty, adaptive
discriminator", without an equation, a size or code. So the rule is ours and nothing of that study is claimed to be
reproduced. Networks and losses are those of EMR-WGAN.

A tenth of the training rows is set aside: the critic scores these rows and never learns from them. Means over a window
of its updates give

    lead    =  E D(set aside) - E D(generated)                 what the critic knows that holds beyond its rows
    excess  =  E D(trained on) - E D(set aside)                what it knows of its rows alone
    overfit =  excess / (E D(trained on) - E D(generated))     0 for a critic that generalises, 1 for one that memorises

and after each window, with ``effort`` (how many critic updates come before one of the generator):

    overfit > tolerance              one less            the generator would descend towards rows by heart
    else lead risen by 5 %           one more            there is more to be learned before it is worth following
    else lead fallen by 5 %          one less            the generator catches up

or, with ``augmentation`` (Karras et al., Training Generative Adversarial Networks with Limited Data, NeurIPS 2020,
whose overfitting heuristic r_v the above is), a probability p goes up by 0.02 if overfit > tolerance and down if not.
With this probability a row that the critic sees, real or generated, has one in four of its columns taken from another
row of the batch, which leaves every marginal as it is; below 0.8 what the rows were like can still be told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.layout import Records
from ehrsynth.models import options
from ehrsynth.models.adversarial import Decoding, gradient_penalty
from ehrsynth.models.emr_wgan import EMRWGAN
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng

Adaptive = Literal["effort", "augmentation", "none"]

SET_ASIDE = 0.1  # of the training rows
MOST_EFFORT = 10  # critic updates per generator update
CHANGE = 0.05  # of the lead, relative, that counts as one
STEP = 0.02  # of the probability to augment
MOST_AUGMENTED = 0.8
SWAPPED = 0.25  # of the columns of an augmented row
READ = 65_536  # rows looked at at a time


class MedGAN2025(EMRWGAN):
    """EMR-WGAN whose critic works more or less, or sees rows altered, by its lead on rows that it never learned.

    Args:
        schema: columns to generate.
        seed: of weights, noise, and which rows are set aside.
        adaptive: what follows the critic's lead: its ``effort``, the ``augmentation`` of what it sees, or ``none``.
        window: critic updates between two looks at the lead.
        tolerance: share of the critic's advantage that may come from its own rows.
        noise_width, width, depth, lr_generator, lr_critic, penalty, marginal_bias, decoding, ema_decay, condition: as
            for ``EMRWGAN``.
        n_critic: critic updates per generator update at the start.

    Raises:
        OptionError: an option is not a value that can work.
    """

    effort: Tensor  # critic updates per generator update
    averageable = False  # its buffers count what happened
    private = None  # they count what it says of patients, without noise
    augmented: Tensor  # probability that a row is altered
    turns: Tensor  # critic updates since the generator's last
    updates: Tensor  # of the critic
    lead: Tensor  # in the last window
    scores: Tensor  # sum and number, in this window, of rows trained on, set aside, generated

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        adaptive: Adaptive = "effort",
        window: int = 50,
        tolerance: float = 0.1,
        noise_width: int = 128,
        width: int = 256,
        depth: int = 3,
        lr_generator: float = 2e-4,
        lr_critic: float = 5e-4,
        n_critic: int = 1,
        penalty: float = 1.0,
        marginal_bias: bool = True,
        decoding: Decoding = "bernoulli",
        ema_decay: float = 0.999,
        condition: Sequence[str] = (),
    ) -> None:
        super().__init__(
            schema=schema,
            seed=seed,
            noise_width=noise_width,
            width=width,
            depth=depth,
            lr_generator=lr_generator,
            lr_critic=lr_critic,
            n_critic=n_critic,
            penalty=penalty,
            marginal_bias=marginal_bias,
            decoding=decoding,
            ema_decay=ema_decay,
            condition=condition,
        )
        options.choice(get_args(Adaptive), adaptive=adaptive)
        options.whole(1, window=window)
        options.number(0, tolerance=tolerance)
        self.adaptive, self.window, self.tolerance = adaptive, window, tolerance
        self.aside = SetAside()
        places = {name: place for place, name in enumerate(self.layout.places)}
        self.column_of = torch.tensor([places[field.column] for field in self.layout.fields])
        self.register_buffer("effort", torch.tensor(self.n_critic))
        self.register_buffer("augmented", torch.tensor(0.0))
        self.register_buffer("turns", torch.tensor(0))
        self.register_buffer("updates", torch.tensor(0))
        self.register_buffer("lead", torch.tensor(torch.nan, dtype=torch.float64))
        self.register_buffer("scores", torch.zeros(2, 3, dtype=torch.float64))

    @override
    def observe(self, train: Records) -> None:
        super().observe(train)
        self.aside = SetAside.of(train, torch_rng(self.seed, "set aside"))

    @override
    def critic_loss(self, batch: Tensor, fake: Tensor, rng: torch.Generator, batch_idx: int) -> Tensor:
        aside = self.aside.among(batch, rng)
        if aside.all():  # nothing else to learn from, in a tiny batch
            aside = torch.zeros_like(aside)
        real, fake = self._altered(batch[~aside], rng), self._altered(fake, rng)
        of_real, of_fake = self.critic(real), self.critic(fake)
        with torch.no_grad():
            unseen = self.critic(self._altered(batch[aside], rng))
        penalty = gradient_penalty(self.critic, real, fake[~aside], rng)
        loss: Tensor = of_fake.mean() - of_real.mean() + self.penalty * penalty
        distance = torch.cat([of_real, unseen]).mean() - of_fake.mean()
        self.log_losses(batch_idx, critic=loss, wasserstein=distance)
        self._look([of_real, unseen, of_fake], batch_idx)
        return loss

    @override
    def generator_loss(self, rows: Tensor, rng: torch.Generator) -> Tensor:
        return super().generator_loss(self._altered(rows, rng), rng)

    @override
    def generators_turn(self, batch_idx: int) -> bool:
        self.turns += 1
        if self.turns < self.effort:
            return False
        self.turns.zero_()
        return True

    @torch.no_grad()
    def _look(self, scores: Sequence[Tensor], batch_idx: int) -> None:
        """Add up scores over processes, and adapt at the end of a window."""
        rows = [len(part) for part in scores]
        sums = torch.stack([torch.stack([part.double().sum() for part in scores]), self.scores.new_tensor(rows)])
        self.scores += self.trainer.strategy.reduce(sums, reduce_op="sum")
        self.updates += 1
        if self.updates % self.window == 0:
            if self.scores[1].all():
                trained, unseen, generated = (self.scores[0] / self.scores[1]).tolist()
                lead, advantage = unseen - generated, trained - generated
                overfit = (trained - unseen) / advantage if advantage > 0 else 0.0
                self._adapt(lead, overfit)
                self.log_losses(batch_idx, lead=self.lead.clone(), overfit=self.lead.new_tensor(overfit))
            self.scores.zero_()
        if self.adaptive == "effort":
            self.log_losses(batch_idx, effort=self.effort.float())
        if self.adaptive == "augmentation":
            self.log_losses(batch_idx, augmented=self.augmented.clone())

    def _adapt(self, lead: float, overfit: float) -> None:
        """Follow the rule in the head of this file."""
        memorises, before = overfit > self.tolerance, float(self.lead)
        if self.adaptive == "effort":
            risen = lead - before > CHANGE * abs(before)  # false without a window before
            fallen = before - lead > CHANGE * abs(before)
            change = -1 if memorises or fallen else 1 if risen else 0
            self.effort.add_(change).clamp_(1, MOST_EFFORT)
        if self.adaptive == "augmentation":
            self.augmented.add_(STEP if memorises else -STEP).clamp_(0, MOST_AUGMENTED)
        self.lead.fill_(lead)

    def _altered(self, rows: Tensor, rng: torch.Generator) -> Tensor:
        """Return rows [n, p], some with columns of others in their place; gradients pass to where values came from."""
        if self.adaptive != "augmentation":
            return rows
        n, device = len(rows), rows.device
        altered = torch.rand(n, 1, generator=rng, device=device) < self.augmented
        columns = torch.rand(n, len(self.schema.columns), generator=rng, device=device) < SWAPPED
        others = rows[torch.randperm(n, generator=rng, device=device)]
        return torch.where((altered & columns)[:, self.column_of.to(device)], others, rows)


@dataclass(frozen=True, eq=False)
class SetAside:
    """Which rows of a batch are set aside, told by their content: of rows that are alike, as many as were drawn.

    Held are hashes, not rows, and they stay out of checkpoints: the same seed sets the same rows aside again.

    Attributes:
        hashes: int64 [h], sorted, of the rows that were drawn.
        shares: float32 [h], of the rows of this content how many were drawn.
    """

    hashes: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64), repr=False)
    shares: Tensor = field(default_factory=lambda: torch.zeros(0), repr=False)

    @classmethod
    def of(cls, train: Records, rng: torch.Generator) -> "SetAside":
        """Draw a share of the training rows."""
        hashes = torch.cat([_hashes(part.dense()) for part in train.blocks(READ)])
        drawn = torch.randperm(len(hashes), generator=rng)[: int(SET_ASIDE * len(hashes))]
        contents, counts = hashes.unique(return_counts=True)
        kept, times = hashes[drawn].unique(return_counts=True)
        return cls(kept, times / counts[torch.searchsorted(contents, kept)])

    def among(self, rows: Tensor, rng: torch.Generator) -> Tensor:
        """Return which rows [n, p] are set aside, bool [n]."""
        if not len(self.hashes):
            return torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        hashes, kept, shares = _hashes(rows), self.hashes.to(rows.device), self.shares.to(rows.device)
        places = torch.searchsorted(kept, hashes).clamp(max=len(kept) - 1)
        chance = torch.rand(len(rows), generator=rng, device=rows.device)
        return (kept[places] == hashes) & (chance < shares[places])


def _hashes(rows: Tensor) -> Tensor:
    """Return int64 [n], the same for equal rows in any batch: a sum of integers does not depend on its order."""
    weights = torch.randint(-(2**62), 2**62, rows.shape[1:], generator=torch.Generator().manual_seed(0))
    return (rows.contiguous().view(torch.int32).long() * weights.to(rows.device)).sum(1)
