"""Tally in a private training: the padded network is the ragged one, and noisy sums start it as training rows do."""

from functools import cache

import pytest
import torch
from torch import Tensor

from ehrsynth.layout import Layout, Records
from ehrsynth.models.noisy_looks import NoisyLooks
from ehrsynth.models.tally import MOST_CODES, Tally
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        *(Column(f"drug{i}", "binary", domain="medication") for i in range(9)),
        *(Column(f"code{i}", "binary", domain="diagnosis") for i in range(12)),
        Column("died", "binary", role="outcome", domain="outcome"),
        Column("sex", "categorical", ("F", "M")),
        Column("site", "categorical", ("a", "b", "c", "d"), domain="site"),
        Column("age", "count", bounds=(18, 90)),
        Column("lactate", "continuous", bounds=(0, 1), missing=True),
    )
)
OPTIONS = {"width": 8, "depth": 2, "dropout": 0.0, "ranges": 4}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def records(n: int = 800) -> Records:
    layout = Layout.of(SCHEMA)
    chances = torch.rand(n, layout.width, generator=rng()) * torch.linspace(0.2, 0.9, layout.width)
    found = Records.of_dense(layout, layout.harden(chances, rng(1)))
    return Records(layout, found.bits, found.values.nan_to_num(0.5))


@cache
def model(noise: float = 0.0) -> Tally:
    """Return a model of noisy sums whose other weights are large and random."""
    made = Tally(schema=SCHEMA, seed=0, **OPTIONS)  # type: ignore[arg-type]
    noisy = NoisyLooks(records(), noise, made.noisy_looks, rng(2))
    made.observe_noisily(noisy)
    assert len(noisy.looks) == made.noisy_looks == 3
    for weights in made.network.parameters():
        if weights.ndim > 1:
            weights.data += 0.4 * torch.randn(weights.shape, generator=rng(len(weights)))
    return made


def asked(draws: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    x, counts = (part.repeat_interleave(draws, 0) for part in model().variables.of(records()[:40].dense()))
    known = torch.rand(x.shape, generator=rng(4)) < torch.tensor([0.0, 0.3, 0.9, 1.0]).repeat(len(x) // 4)[:, None]
    known[:, model().variables.tallies] = False
    return x, counts, known


@pytest.mark.parametrize("draws", [1, 2])
def test_padded_records_are_as_surprising_as_ragged_ones(draws: int) -> None:
    x, counts, known = asked(draws)
    wanted = model().network.train().surprise(model().variables, x, counts, known)  # as it is trained
    torch.testing.assert_close(model().padded.surprise(x, counts, known, draws, rng()), wanted, rtol=1e-4, atol=1e-4)
    weights = torch.rand(len(x), generator=rng(5))
    one, other = (
        torch.autograd.grad((nats * weights).sum(), list(model().network.parameters()))
        for nats in (wanted, model().padded.surprise(x, counts, known, draws, rng()))
    )
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_dropout_leaves_out_units_of_a_record_whatever_the_others_are() -> None:
    x, counts, known = asked()
    dropout = model().network.dropout
    dropout.share = 0.5
    try:
        one, other = (
            model().padded.surprise(rows, counts, known, 1, rng(6)) for rows in (x, torch.cat([x[:1], x[1:].flip(0)]))
        )
        usual = model().padded.surprise(x, counts, known, 1, rng(7))
    finally:
        dropout.share = 0.0
    torch.testing.assert_close(one[0], other[0])
    assert not torch.allclose(one[1:], usual[1:])


def test_what_noisy_sums_without_noise_tell_is_what_training_rows_have() -> None:
    exact, found = Tally(schema=SCHEMA, seed=0, **OPTIONS), model()  # type: ignore[arg-type]
    exact.observe(records())
    assert torch.equal(exact.usual, found.usual)
    layout, v = found.layout, found.variables
    x, counts = v.of(records().dense())
    shares = torch.bincount((x + v.starts).flatten(), minlength=sum(v.sizes)) / len(x)
    told = found.network.level_bias.exp()
    places = [p for p in range(len(v.sizes)) if not v.alone - 2 <= p < v.alone]  # numbers are told by ranges of bounds
    for place in places:
        of = slice(int(v.starts[place]), int(v.starts[place]) + v.sizes[place])
        torch.testing.assert_close(told[of], shares[of].clamp(0.5 / len(x), 1), rtol=0, atol=2e-3)
    for tally, ranges in enumerate(found.tallies):
        assert torch.equal(ranges[x[:, v.tallies.start + tally], 0] <= counts[:, tally], torch.ones(len(x)).bool())
    departed = (x != v.no_news)[:, v.tallies.stop :].sum(1).float().mean()
    assert float(found.departures) == pytest.approx(float(departed), rel=1e-3)
    assert not found.pairs.numel()
    assert layout.width == exact.layout.width


def test_much_noise_leaves_a_model_that_can_be_sampled() -> None:
    made = Tally(schema=SCHEMA, seed=0, **OPTIONS)  # type: ignore[arg-type]
    made.observe_noisily(NoisyLooks(records(), 1e4, 3, rng(3)))
    assert (made.tallies[:, :, 1] <= MOST_CODES).any()
    rows = made.eval().sample(50, rng())
    assert rows.isfinite().logical_or(rows.isnan()).all()
    again = Tally(schema=SCHEMA, seed=0, **OPTIONS)  # type: ignore[arg-type]
    state = made.state_dict()
    again.load_state_dict(state)
    assert torch.equal(again.departures, made.departures)
    del state["departures"]
    again.load_state_dict(state)
    assert not again.departures
