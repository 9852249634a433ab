"""Private trainings of patients through time: a patient with all visits is clipped, and every other look has noise."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ehrsynth.data.private_trajectories import PoissonVisits
from ehrsynth.layout import Records
from ehrsynth.models.dp_tree import DPTree
from ehrsynth.models.noisy_looks import NoisySums, within
from ehrsynth.models.private import PrivateGradients
from ehrsynth.models.visits.calendar import BIRTH, FIRST, GAP, MEASURED, STAY, Calendar
from ehrsynth.models.visits.halo import Halo
from ehrsynth.models.visits.noisy_calendar import histograms, learn_noisily, public_ranges, votes
from ehrsynth.visit_batch import VisitBatch, batch_of
from ehrsynth.visits import DAY, UNKNOWN, Visits
from tests.training import quiet_trainer
from tests.visits import SCHEMA, simulated, visit_schema

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(120)]
NORM = 0.3
CODES, LABS = 12, 2


def people(n: int = 12, seed: int = 0, **more: Any) -> tuple[Tensor, Visits]:
    """Return patients of whom the first have no visit."""
    static, visits = simulated(n, seed=seed, codes=CODES, measurements=LABS, **more)
    return static, Visits.joined([without_visits(visits.of_patients(np.arange(2))), visits.of_patients(np.arange(2, n))])


def without_visits(visits: Visits) -> Visits:
    nothing = np.zeros(0, np.int64)
    return visits.with_content(
        nothing, np.zeros(len(visits) + 1, np.int64), nothing, nothing, visits.born, np.full(len(visits), UNKNOWN)
    )


def batch(rows: Sequence[int] | None = None, n: int = 12) -> VisitBatch:
    static, visits = people(n)
    return batch_of(visits, static, LABS, None if rows is None else np.array(rows, np.int64))


def made(visits: int = 4) -> Halo:
    """Return a model none of whose weights are zero, so that gradients reach all of them."""
    model = Halo(
        schema=SCHEMA, visit_schema=visit_schema(CODES, LABS), width=8, layers=2, heads=2, hidden=6, visits=visits
    )
    model.observe(*people(60))
    rng = torch.Generator().manual_seed(3)
    for weights in model.network.parameters():
        weights.data += 0.1 * torch.randn(weights.shape, generator=rng)
    return model


class Step(pl.Callback):
    """Takes plain steps of rate one, so that weights tell the gradients that were descended."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        optimizer = trainer.strategy.optimizers[0]

        @torch.no_grad()
        def plain() -> None:
            for weights in optimizer.params:
                weights -= weights.grad

        optimizer.original_optimizer.step = plain


def told(some: VisitBatch, noise: float = 0.0, norm: float = NORM, visits: int = 4) -> Tensor:
    """Return the noisy sum of clipped gradients that one step tells of patients."""
    model = made(visits)
    before = copy.deepcopy(model.network.state_dict())
    private = PrivateGradients(
        torch.device("cpu"),
        noise=lambda steps: noise,
        max_grad_norm=norm,
        batch=1.0,
        draws=1,
        generator=torch.Generator().manual_seed(5),
    )
    trainer = quiet_trainer(1, strategy=private, callbacks=[Step()])
    trainer.fit(model, DataLoader([some], batch_size=None))  # type: ignore[arg-type]
    after = dict(model.network.named_parameters())
    return torch.cat([(before[name] - weights.detach()).flatten() for name, weights in after.items()])


def one_by_one(rows: Sequence[int], norm: float, visits: int = 4) -> Tensor:
    """Return the sum of clipped gradients of patients, each by a backward pass of the plain network, alone."""
    model = made(visits)
    weights = list(model.network.parameters())
    total = torch.zeros(sum(w.numel() for w in weights))
    for row in rows:
        model.zero_grad()
        nats, real = model.nats(model.network, batch([row]))
        (nats * real).sum().backward()
        found = torch.cat([w.grad.flatten() for w in weights])
        total += found * (norm / (found.norm() + 1e-6)).clamp(max=1)
    return total


def test_the_layers_for_records_say_what_the_network_says() -> None:
    model = made()
    (records,) = model.record_modules()
    vectors, _ = model.encoded(batch())
    assert vectors.shape[1] == 6, "start, row and as many visits as it sees at most"
    torch.testing.assert_close(records(vectors), model.network(vectors))
    assert {id(w) for w in records.parameters()} == {id(w) for w in model.network.parameters()}


@pytest.mark.parametrize("norm", [NORM, 1e6], ids=["clipped", "none is clipped"])
def test_patients_are_clipped_as_one_by_one(norm: float) -> None:
    """Each alone, so that padding is part of what is compared."""
    wanted = one_by_one(range(12), norm)
    assert wanted.norm() > NORM
    torch.testing.assert_close(told(batch(), norm=norm), wanted, rtol=1e-3, atol=1e-5 * float(wanted.norm()))


def test_a_patient_of_many_visits_counts_as_one() -> None:
    static, visits = people()
    longest = int(visits.per_patient.argmax())
    assert visits.per_patient[longest] > 3
    one = batch([longest])
    assert told(one, visits=48).norm() == pytest.approx(NORM, rel=1e-3)
    parts = made(48)
    nats, real = parts.nats(parts.network, one)
    torch.testing.assert_close(parts.record_losses(one, torch.Generator(), 1), (nats * real).sum(1))
    assert float(nats[0, 1:].min()) > 0


def test_what_stands_behind_the_last_visit_changes_nothing() -> None:
    some = batch()
    behind = ~some.real
    noise = torch.rand(some.gaps.shape, generator=torch.Generator().manual_seed(1))
    other = replace(
        some,
        gaps=some.gaps.where(~behind, 100 * noise),
        stays=some.stays.where(~behind, 10 * noise),
        kinds=some.kinds.where(~behind, 1),
        values=some.values.where(~behind[:, :, None], 200.0),
    )
    assert behind.any()
    torch.testing.assert_close(told(other), told(some))


def test_a_step_keeps_its_promises() -> None:
    every = told(batch(), noise=2.0)
    for out in (0, 5):
        left = told(batch([row for row in range(12) if row != out]), noise=2.0)
        assert 0 < (every - left).norm() <= NORM * 1.001
    of_nobody = told(batch([]), noise=2.0)
    assert float(of_nobody.std()) == pytest.approx(2.0 * NORM, rel=0.15)
    assert (told(batch(), noise=1e6) - told(batch([]), noise=1e6)).norm() < 1e-5 * 1e6


def test_patients_without_visits_can_be_all_of_a_batch() -> None:
    assert told(batch([0, 1])).norm() > 0
