"""DP-SGD audited at its full strength: sound it passes, and each part that is broken on purpose is found out.

One step over all canaries, each of whom has a weight of its own, and the attacker sees the weights: there is no audit
that could see more. Half of the noise doubles epsilon, so nothing weaker would tell the two apart.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader

from ehrsynth.accounting import Gaussian as GaussianNoise
from ehrsynth.accounting import epsilon_of, gaussian_within
from ehrsynth.metrics.audit import Audit, audit_of_scores
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.models.private import PrivateGradients
from ehrsynth.models.private_layers import TableRows
from ehrsynth.schema import Column, Schema
from tests.broken_privacy import ClippingOff, NoiseOff, SensitivityHalved
from tests.training import quiet_trainer

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(120)]
SCHEMA = Schema((Column("code", "binary", domain="diagnosis"),))
EPSILON, DELTA = 4.0, 1e-6
CANARIES, GUESSES = 100_000, 800
NORM = 0.5
NOISE = gaussian_within(EPSILON, DELTA)


class AWeightEach(SyntheticModel):
    """Learns to like a record by one weight, which only this record has; a batch is the numbers of its records."""

    private = "gradients"

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(schema=SCHEMA, seed=seed)
        self.table = torch.nn.Parameter(torch.zeros(CANARIES, 1))
        self.rows = (TableRows(self.table),)

    def record_modules(self) -> Any:
        return self.rows

    def record_losses(self, batch: Tensor, generator: torch.Generator, draws: int) -> Tensor:
        return -20 * self.rows[0](batch.long()).sum((1, 2))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.record_losses(batch, torch.Generator(), 1).mean()

    def configure_optimizers(self) -> Optimizer:
        return SGD(self.parameters(), lr=1.0)

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        raise NotImplementedError


def audited(strategy: type[PrivateGradients] | None) -> Audit:
    """Return what an audit finds of one step that claims ``EPSILON``; None trains past all of it."""
    planted = torch.rand(CANARIES, generator=torch.Generator().manual_seed(1)) < 0.5
    model = AWeightEach()
    private: dict[str, Any] = {}
    if strategy is not None:
        private["strategy"] = strategy(
            torch.device("cpu"),
            noise=lambda steps: NOISE,
            max_grad_norm=NORM,
            batch=CANARIES / 2,
            draws=1,
            generator=torch.Generator().manual_seed(2),
        )
    batch = planted.nonzero().float()
    quiet_trainer(1, **private).fit(model, DataLoader([batch], batch_size=None))  # type: ignore[arg-type]
    everyone = torch.arange(CANARIES).float()[:, None]
    losses = model.record_losses(everyone, torch.Generator(), 1).detach()
    return audit_of_scores(-losses, planted, DELTA, GUESSES)


def test_a_sound_step_spends_no_more_than_it_claims_and_the_audit_sees_much_of_it() -> None:
    spent = epsilon_of([GaussianNoise(NOISE)], DELTA)
    assert spent.value <= EPSILON * 1.001
    found = audited(PrivateGradients)
    assert 0.4 * EPSILON < found.epsilon < EPSILON < found.most


@pytest.mark.parametrize("strategy", [NoiseOff, ClippingOff, SensitivityHalved, None])
def test_a_broken_step_is_caught(strategy: type[PrivateGradients] | None) -> None:
    found = audited(strategy)
    assert found.epsilon > EPSILON
    if strategy is not SensitivityHalved:
        assert found.correct >= 0.99 * GUESSES
