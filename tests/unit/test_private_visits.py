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
from ehrsynth.visits import UNKNOWN, Visits
from tests.training import quiet_trainer
from tests.visits import SCHEMA, simulated, visit_schema

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(120)]
NORM = 0.3
CODES, LABS = 12, 2


def people(n: int = 12, seed: int = 0, **more: Any) -> tuple[Tensor, Visits]:
    """Return patients of whom the first have no visit."""
    static, visits = simulated(n, seed=seed, codes=CODES, measurements=LABS, **more)
    return static, Visits.joined(
        [without_visits(visits.of_patients(np.arange(2))), visits.of_patients(np.arange(2, n))]
    )


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
    _, visits = people()
    longest = int(visits.per_patient.argmax())
    assert visits.per_patient[longest] > 3
    one = batch([longest])
    assert told(one, visits=48).norm() == pytest.approx(NORM, rel=1e-3)
    model = made(48)
    nats, real = model.nats(model.network, one)
    assert real.sum() == 1 + int(visits.per_patient[longest])
    torch.testing.assert_close(model.record_losses(one, torch.Generator(), 1), (nats * real).sum(1))


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


def sums(noise: float = 0.0, number: int = 3) -> NoisySums:
    return NoisySums(noise / number**0.5, number, torch.Generator().manual_seed(7))


def learned(static: Tensor, visits: Visits, noise: float = 0.0) -> Calendar:
    calendar = Calendar(SCHEMA, visit_schema(CODES, LABS), 8)
    learn_noisily(calendar, static, visits, sums(noise))
    return calendar


def test_no_patient_adds_more_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sum that a model takes, with a patient and without, whoever that is."""
    seen: list[list[tuple[str, Tensor, float]]] = []

    def spied(self: NoisySums, what: str, parts: Any, total: Tensor, most: float, why: str = "") -> Tensor:
        found = sum((part.sum(0) for part in parts), total)
        seen[-1].append((what, found, most))
        return NOISELESS(self, what, [], found, most, why)

    monkeypatch.setattr(NoisySums, "told", spied)
    static, visits = people(14, mean_visits=6.0)
    busy = int(visits.per_patient.argmax())
    tree = DPTree(schema=SCHEMA, counted=0.0)
    tree.noise = np.random.default_rng(0)
    tree.observe(Records.of_dense(tree.layout, static))
    everyone = np.arange(14)
    for rows in (everyone, *(np.delete(everyone, row) for row in (0, 5, busy))):
        seen.append([])
        model = Halo(schema=SCHEMA, visit_schema=visit_schema(CODES, LABS), width=8, heads=2, hidden=6)
        noisy = sums(number=model.noisy_looks)
        model.observe_noisily(static[torch.from_numpy(rows)], visits.of_patients(rows), noisy, tree)
        assert len(noisy.looks) == len(seen[-1]) == model.noisy_looks == 3
        for look, (what, _, most) in zip(noisy.looks, seen[-1], strict=True):
            assert (look.what, look.mechanism.sensitivity) == (what, most)  # type: ignore[union-attr]
    whole, *less = seen
    for other in less:
        for (what, one, most), (_, two, _) in zip(whole, other, strict=True):
            assert (one - two).norm() <= most * (1 + 1e-6), what
    assert all((one - two).norm() > 0 for (_, one, _), (_, two, _) in zip(whole, less[-1], strict=True))


NOISELESS = NoisySums.told


def test_a_busy_patient_has_no_more_votes_and_shares_than_another() -> None:
    static, visits = people(40, mean_visits=9.0)
    calendar = learned(static, visits)
    cast = votes(calendar, static, visits)
    assert cast.unique().tolist() == [0.0, 1.0]
    assert 2 < float(cast.square().sum(1).max()) <= 3 + 4 + 2 * len(calendar.spans)
    found = histograms(calendar, public_ranges(calendar), static, visits)
    assert set(found.sum(2).unique().round(decimals=9).tolist()) == {0.0, 1.0}
    assert float(found.square().sum(2).max()) <= 1.0
    assert within(found, 0.5).flatten(1).norm(dim=1).max() == pytest.approx(0.5)


def test_without_noise_the_calendar_is_about_that_of_the_patients() -> None:
    static, visits = people(3000)
    noisy, exact = learned(static, visits), Calendar(SCHEMA, visit_schema(CODES, LABS), 8)
    exact.learn(static, visits)
    for name in ("ticks", "overlaps", "age"):
        assert getattr(noisy, name).tolist() == getattr(exact, name).tolist(), name
    assert float(noisy.died) == pytest.approx(float(exact.died), abs=1e-3)
    assert float(noisy.empty) == pytest.approx(2 / 3000, abs=1e-6)
    for number, apart in {FIRST: 200.0, GAP: 20.0, STAY: 1.0, BIRTH: 0.3, MEASURED: 10.0}.items():
        places = torch.linspace(0.05, 0.95, 19)
        one, two = (calendar.numbers.value_at(number, places) for calendar in (noisy, exact))
        assert float((one - two).abs().mean()) < apart, number
    gaps = noisy.numbers.value_at(GAP, torch.rand(500, generator=torch.Generator().manual_seed(0)))
    assert float(gaps.min()) > -0.5


def test_much_noise_tells_the_calendar_nothing() -> None:
    """Of two data sets that have nothing in common it says the same."""
    one, two = people(30), people(30, seed=5, mean_visits=8.0)
    told_of = [learned(*some, noise=1e9).state_dict() for some in (one, two)]
    for name, value in told_of[0].items():
        torch.testing.assert_close(value, told_of[1][name], msg=name)
    quiet = [learned(*some).state_dict() for some in (one, two)]
    assert not torch.equal(quiet[0]["numbers.law"], quiet[1]["numbers.law"])


def test_what_halo_starts_from_is_noisy_or_public() -> None:
    static, visits = people(400)
    model = Halo(schema=SCHEMA, visit_schema=visit_schema(CODES, LABS), width=8, heads=2, hidden=6, visits=5)
    tree = DPTree(schema=SCHEMA, epsilon=1e4, counted=0.0)
    tree.observe(Records.of_dense(tree.layout, static))
    model.observe_noisily(static, visits, sums(), tree)
    assert model.order.tolist() == list(range(CODES))
    assert int(model.calendar.most) == 5
    assert model.unseen is None
    shares = model.network.head.start.bias.sigmoid()[model.vectors.codes].detach()
    assert torch.corrcoef(torch.stack([shares, torch.from_numpy(np.bincount(visits.codes, minlength=CODES)).float()]))[
        0, 1
    ] == pytest.approx(1.0, abs=0.1)
    drawn, told_visits = model.sample(50, torch.Generator().manual_seed(0))
    assert float((drawn.mean(0) - static.mean(0)).abs().max()) < 0.25
    told_visits.check(model.visit_schema, "drawn")
    assert told_visits.per_patient.max() <= 5


def test_batches_are_coins() -> None:
    static, visits = people(400)
    batches = PoissonVisits(visits, static, LABS, 0.02, 300, torch.Generator().manual_seed(0), torch.device("cpu"))
    found = list(batches)
    sizes = torch.tensor([len(batch) for batch in found]).double()
    assert len(batches) == len(found) == 300
    assert sizes.mean() == pytest.approx(8, abs=0.6)
    assert sizes.var() == pytest.approx(400 * 0.02 * 0.98, rel=0.3)
    known = {int(length) for length in visits.per_patient}
    assert {int(length) for batch in found for length in batch.lengths} <= known
    assert [
        len(batch) for batch in PoissonVisits(visits, static, LABS, 1e-9, 2, batches.generator, batches.device)
    ] == [
        0,
        0,
    ]
