"""VAE-SeqHealth: its attention, what it may see, and its bound, against loops and sums."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from ehrsynth.data.trajectory_module import TrajectoryDataModule
from ehrsynth.errors import OptionError
from ehrsynth.models.visits.seqhealth import SeqHealth, _divergence
from ehrsynth.models.visits.seqhealth_network import TemporalAttention
from ehrsynth.models.visits.stepwise import steps_of
from ehrsynth.seeding import torch_rng
from ehrsynth.visit_batch import batch_of
from ehrsynth.visits import UNKNOWN, Visits, ragged
from tests.training import quiet_trainer
from tests.visits import SCHEMA, simulated, visit_schema

CODES = 8
SMALL: dict[str, Any] = {"width": 16, "heads": 2, "latent": 3, "visit_latent": 3, "ranges": 8, "dropout": 0.0}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(n: int = 60, **options: Any) -> tuple[SeqHealth, Tensor, Visits]:
    static, visits = simulated(n, codes=CODES)
    model = SeqHealth(schema=SCHEMA, visit_schema=visit_schema(CODES), **(SMALL | options))
    model.observe(static, visits)
    return model.eval(), static, visits


@torch.no_grad()
@pytest.mark.parametrize("temporal", [True, False])
def test_attention_is_what_a_loop_says(temporal: bool) -> None:
    attention = TemporalAttention(6, 2, temporal)
    asking, visits = torch.randn(3, 2, 6, generator=rng()), torch.randn(3, 4, 6, generator=rng(1))
    since = 900 * torch.rand(3, 2, 4, generator=rng(2))
    seen = torch.tensor([[True, True, False, False], [True, True, True, False]])
    read, shares = attention(asking, visits, since, seen[None])
    assert not shares[:, :, ~seen].any()
    for i in range(3):
        for q in range(2):
            parts = []
            for head in range(2):
                own = slice(3 * head, 3 * head + 3)
                places = seen[q].nonzero().flatten().tolist()
                scores = torch.zeros(len(places))
                if temporal:
                    query = attention.query(asking[i, q])[own]
                    rate = (1 + attention.rate[head].exp()).log()
                    for number, s in enumerate(places):
                        fit = query @ attention.key(visits[i, s])[own] / 3**0.5
                        scores[number] = fit - rate * (1 + since[i, q, s] / 30).log()
                expected = scores.exp() / scores.exp().sum()
                torch.testing.assert_close(shares[i, head, q, places], expected)
                parts.append(sum(p * attention.value(visits[i, s])[own] for p, s in zip(expected, places, strict=True)))
            torch.testing.assert_close(read[i, q], attention.output(torch.cat(parts)))  # type: ignore[arg-type]


def test_divergence_of_normal_variables() -> None:
    mean, log_variance, other_mean, other = torch.randn(4, 5, generator=rng()).unbind(0)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(other_mean, (other / 2).exp()))
    torch.testing.assert_close(_divergence(mean, log_variance, other_mean, other), expected)


@torch.no_grad()
def test_visit_after_visit_it_knows_what_it_knows_of_all_at_once() -> None:
    model, static, visits = made()
    batch = batch_of(visits, static, 1)
    told = model._told(model.best, batch, model.states.of_batch(batch, model.calendar.numbers))
    states, odds = model.best.states(told)
    state = model.begun(batch.static, batch.first)
    for t, visit in enumerate([*steps_of(batch, CODES), None]):
        here = batch.lengths >= t
        for one, all_ in zip(model.best.states(state.told, 1), (states, odds), strict=True):
            torch.testing.assert_close(one[here, 0], all_[here, t])
        ended = batch.lengths == t
        if ended.any():
            one_by_one = model.best.patients(model.of_some(state, ended.nonzero().flatten()).told, batch.lengths[ended])
            for part, all_ in zip(one_by_one, model.best.patients(told, batch.lengths), strict=True):
                torch.testing.assert_close(part, all_[ended])
        if visit is not None:
            state = model.after(state, visit)


@torch.no_grad()
def test_what_is_known_before_a_visit_says_nothing_of_it() -> None:
    model, static, visits = made()
    batch = batch_of(visits, static, 1, np.flatnonzero(visits.per_patient >= 3))
    codes, kinds = batch.codes.clone(), batch.kinds.clone()
    later = batch.places % batch.longest >= 1
    codes[later] = CODES - 1 - codes[later]
    kinds[:, 1:] = 1 - kinds[:, 1:]
    found = []
    for one in (batch, replace(batch, codes=codes, kinds=kinds)):
        told = model._told(model.network, one, model.states.of_batch(one, model.calendar.numbers))
        found.append((*model.network.states(told), *model.network.patients(told, one.lengths)))
    for one, other in zip(found[0][:2], found[1][:2], strict=True):
        torch.testing.assert_close(one[:, :2], other[:, :2])
        assert not torch.allclose(one[:, 2:], other[:, 2:])
    assert not torch.allclose(found[0][2], found[1][2])  # while z is told of all visits


@torch.no_grad()
def test_codes_come_back_from_where_they_were_seen() -> None:
    model, static, visits = made()
    batch = batch_of(visits, static, 1)
    hot = batch.multi_hot(CODES)
    model.network.again.copy_(torch.tensor([[2.0], [3.0]]).expand(-1, CODES))
    told = model._told(model.network, batch, model.states.of_batch(batch, model.calendar.numbers))
    _, odds = model.network.states(told)
    never = torch.cat([hot[:, :1] * 0, hot[:, :-1]], dim=1).cumsum(1) == 0
    assert (odds[:, :-1][never] == 0).all()
    assert (odds[:, :-1][~never] > 0).all()
    assert odds.max() <= 5


def all_visits() -> tuple[Tensor, Visits]:
    """Return eight patients of a visit each: three codes in all ways there are."""
    static, visits = simulated(8, codes=CODES)
    first = visits.offsets[:-1]
    offsets, codes = ragged([[place for place in range(3) if number >> place & 1] for number in range(8)])
    unknown = np.full(8, UNKNOWN)
    once = visits.with_content(first, np.arange(9), visits.starts[first], unknown, unknown, unknown)
    nothing = {"value_offsets": np.zeros(9, np.int64), "measured": once.measured[:0], "values": once.values[:0]}
    return static[:1].expand(8, -1), replace(
        once, codes=codes, code_offsets=offsets, kinds=np.zeros(8, np.int16), starts=np.zeros(8, np.int64), **nothing
    )


def test_the_bound_is_one() -> None:
    """The chances it allows different visits add up to less than one; without the KL terms they are nothing like it."""
    model, *_ = made(latent=2, visit_latent=3)
    few, eight = all_visits()
    batch = batch_of(eight, few, 1)
    optimizer = torch.optim.Adam(model.network.parameters(), 0.02)
    for step in range(150):  # to tell visits by their latent vectors, whatever these cost
        parts = model._parts(model.network, batch, rng(step))
        optimizer.zero_grad()
        parts.nats.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        draws = [model._parts(model.network, batch, rng(seed)) for seed in range(50)]
        nats = torch.stack([part.nats for part in draws]).mean(0)
        bounds = torch.stack([model.bound(model.network, batch, rng(seed)) for seed in range(50)]).mean(0)
    assert (-nats).exp().sum() > 2
    assert (-bounds).exp().sum() < 1


@torch.no_grad()
def test_the_loss_is_the_bound_unless_the_latents_are_regularised() -> None:
    model, static, visits = made(latent_regularisation=False)
    batch = batch_of(visits, static, 1)
    quiet_trainer(1).strategy.connect(model)
    model.log_losses = lambda *args, **losses: None  # type: ignore[method-assign]
    generator = torch_rng(0, "train", 0, 0, 0)
    expected = model.bound(model.network, batch, generator).sum() / visits.count
    torch.testing.assert_close(model.training_step(batch, 0), expected)
    parts = model._parts(model.network, batch, torch_rng(0, "train", 0, 0, 0))
    patient, visit = parts.patient.sum() / len(visits), parts.visits.sum() / visits.count
    assert 0 < visit < 50
    model.regularised, model.kl_warmup_steps = True, 4
    for free in (0.0, 50.0):
        model.free_nats = free
        paid = max(float(patient), free) * len(visits) / visits.count + max(float(visit), free)
        torch.testing.assert_close(
            float(model.training_step(batch, 0)),
            float(parts.nats.sum() / visits.count + paid / 4),
            rtol=1e-4,
            atol=1e-4,
        )


@torch.no_grad()
def test_z_is_drawn_once_and_given_the_visits_by_then() -> None:
    model, static, visits = made()
    batch = batch_of(visits, static, 1, np.flatnonzero(visits.per_patient >= 2))
    state = model.begun(batch.static, batch.first)
    first = model._latent(state, rng())
    assert abs(float(first.mean())) < 0.4  # of the prior
    visit = next(iter(steps_of(batch, CODES)))
    assert model.after(state, visit).z is first
    assert torch.equal(model.of_some(state, torch.tensor([3, 1])).z, first[[3, 1]])  # type: ignore[arg-type]
    fresh = model.after(model.begun(batch.static, batch.first), visit)
    mean, log_variance = model.best.patients(fresh.told, torch.ones(len(batch), dtype=torch.int64))
    expected = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=rng(4))
    torch.testing.assert_close(model._latent(fresh, rng(4)), expected)


def test_training_stops_when_unseen_patients_long_were_likelier_and_keeps_those_weights() -> None:
    model, static, visits = made(40, patience=2, learning_rate=0.05, ema_decay=0.5, warmup_steps=1)
    unseen = simulated(30, 1, codes=CODES)
    model.train().hold_out(*unseen)
    data = TrajectoryDataModule(visit_schema=model.visit_schema, static=static, visits=visits, batch_size=40, seed=0)
    trainer = quiet_trainer(200)
    trainer.fit(model, data)
    assert trainer.current_epoch < 200
    assert int(model.waited) == 2
    kept = float(-model.log_likelihood(*unseen).mean())
    assert kept == pytest.approx(float(model.least), rel=1e-5)
    assert kept < float(-model._likelihood_by(model.average.module, *unseen).mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "heads": 4}, r"model\.width=10: a multiple of heads=4"),
        ({"free_nats": -1}, r"model\.free_nats=-1"),
        ({"kl_warmup_steps": 0.5}, r"model\.kl_warmup_steps=0\.5"),
        ({"latent": 0}, r"model\.latent=0"),
        ({"patience": 0}, r"model\.patience=0"),
        ({"ema_decay": 1.0}, r"model\.ema_decay=1"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        made(10, **options)
