"""EHRDiff: the paper's size, its embedding, averages, learning rate and decoding."""

import math
from typing import get_args

import pytest
import torch

from ehrsynth.layout import Layout, Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.diffusion.embedding import RandomFourier, Sinusoid
from ehrsynth.models.ehrdiff import Decoding, DenoisingMLP, EHRDiff, _largest
from ehrsynth.models.nn import MovingAverage, warmup_cosine
from ehrsynth.schema import Column, Schema


def codes(n: int) -> Schema:
    return Schema(tuple(Column(f"c{i}", "binary", domain="diagnosis") for i in range(n)))


def test_parameter_count_at_the_width_of_mimic() -> None:
    network = DenoisingMLP(1782, (1024, 384, 384, 384, 1024), 384)
    layers = 1782 * 1024 + 1024 + 2 * (1024 * 384) + 384 + 1024 + 2 * (384 * 384 + 384) + 1024 * 1782 + 1782
    embedding = 1782 * 384 + 384 + 384 * 384 + 384
    shifts = (1782 + 1024 + 384 + 384 + 384 + 1024) * 385
    total = sum(parameter.numel() for parameter in network.parameters())
    assert total == layers + embedding + shifts
    assert round(total / 1e6, 2) == 7.49


@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_sinusoid_of_any_width(width: int) -> None:
    embedded = Sinusoid(width, endpoint=True)(torch.tensor([[0.5], [-1.0]]))
    assert embedded.shape == (2, width)
    if width > 1:
        half = width // 2
        assert embedded[0, 0].item() == pytest.approx(math.cos(0.5))  # the highest frequency is 1
        assert embedded[0, half].item() == pytest.approx(math.sin(0.5))
    if width % 2:
        assert (embedded[:, -1] == 0).all()


def test_frequencies_end_in_a_ten_thousandth_or_a_step_before() -> None:
    assert Sinusoid(8, endpoint=True).frequencies.log10().tolist() == pytest.approx([0, -4 / 3, -8 / 3, -4])
    assert Sinusoid(8).frequencies.log10().tolist() == pytest.approx([0, -1, -2, -3])


def test_the_network_takes_one_noise_level_for_all_rows() -> None:
    network = DenoisingMLP(5, (4,), 3)
    x = torch.randn(6, 5)
    torch.testing.assert_close(network(x, torch.full((6, 1), 0.3)), network(x, torch.full((1, 1), 0.3)))


def test_activation_comes_before_every_linear_layer() -> None:
    network = DenoisingMLP(2, (), 3)
    with torch.no_grad():
        network.shifts[0].weight.zero_()
        network.shifts[0].bias.zero_()
        network.layers[0].weight.copy_(torch.eye(2))
        network.layers[0].bias.zero_()
    out = network(torch.tensor([[-1.0, 2.0]]), torch.zeros(1, 1))
    assert out.tolist() == [[0.0, 2.0]]


def test_learning_rate_warms_up_then_falls_along_a_cosine() -> None:
    rates = [warmup_cosine(10, 110, step) for step in (0, 5, 10, 60, 110, 120)]
    assert rates == pytest.approx([0, 0.5, 1, 0.5, 0, 0])


@pytest.mark.parametrize(("updates", "kept"), [(0, 0.1), (8, 0.5), (10**6, 0.999)])
def test_the_average_keeps_less_at_first(updates: int, kept: float) -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    average = MovingAverage(network, 0.999)
    average.load_state_dict({"module.weight": torch.ones(1, 1), "n_averaged": torch.tensor(updates)})
    network.weight.data.zero_()
    average.update_parameters(network)
    assert average.module.weight.item() == pytest.approx(kept)  # type: ignore[operator, union-attr]
    assert average.n_averaged == updates + 1


def test_samples_come_from_the_averaged_weights() -> None:
    model = EHRDiff(schema=codes(6), widths=[8], time_width=4, steps=3).eval()
    with torch.no_grad():
        before = model.sample(50, torch.Generator().manual_seed(0))
        for parameter in model.network.parameters():
            parameter.fill_(torch.nan)
        assert torch.equal(model.sample(50, torch.Generator().manual_seed(0)), before)


def test_prevalence_decoding_of_few_records_ranks_them_in_a_full_batch() -> None:
    model = EHRDiff(schema=codes(6), widths=[8], time_width=4, steps=2, decoding="prevalence").eval()
    model.prevalence.copy_(torch.tensor([0.5, 0.4, 0.3, 0.2, 0.1, 0.01]))
    with torch.no_grad():
        full, few, one = (model.sample(n, torch.Generator().manual_seed(0)) for n in (model.sample_batch, 30, 1))
    assert torch.equal(few, full[:30])
    assert torch.equal(one, full[:1])
    torch.testing.assert_close(full.mean(0), model.prevalence, rtol=0, atol=1 / model.sample_batch)


def test_random_fourier_features_turn_as_often_as_drawn() -> None:
    embedding = RandomFourier(4)
    embedding.turns.copy_(torch.tensor([0.25, 1.0]))
    assert embedding(torch.tensor([[0.5]]))[0].tolist() == pytest.approx([0.5, 0.5**0.5, 0.0, 0.5**0.5, -1.0], abs=1e-6)


def test_the_average_counts_from_one_and_holds_the_initial_weights() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    average = MovingAverage(network, 0.999)
    for weight, expected in ((0.0, 2 / 11), (1.0, 2 / 11 * 3 / 12 + 9 / 12)):
        network.weight.data.fill_(weight)
        average.update_parameters(network)
        assert average.module.weight.item() == pytest.approx(expected)  # type: ignore[operator, union-attr]


def test_a_warm_up_longer_than_the_training_is_remarked_on() -> None:
    model = EHRDiff(schema=codes(6), widths=[8], time_width=4, warmup_steps=200, learning_rate=1e-3)
    assert list(model.remarks(201)) == []
    (line,) = model.remarks(50)
    assert line.startswith(
        "model.warmup_steps=200: the training has 50 steps, so its learning rate never gets beyond 25 %"
    )


def test_records_are_given_the_labels_that_are_asked_for() -> None:
    schema = codes(6)
    rows = (torch.rand(200, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    train = Records.of_dense(Layout.of(schema), rows)
    for decoding in get_args(Decoding):
        model = EHRDiff(
            schema=schema, widths=[8], time_width=4, steps=2, condition=["c1", "c4"], guidance=1.0, decoding=decoding
        ).eval()
        model.sample_batch = 64
        model.observe(train)
        assert tuple(model.conditionable) == ("c1", "c4")
        with torch.no_grad():
            for asked in (train[:1], train[:50]):
                condition = Condition.of(asked, ["c4"])
                assert condition.met_by(model.sample(50, torch.Generator().manual_seed(1), condition)).all()
            assert model.sample(50, torch.Generator().manual_seed(1)).shape == (50, 6)


def test_records_under_a_condition_are_ranked_among_usual_ones() -> None:
    usual = torch.arange(10.0).unsqueeze(1)
    hard = _largest(torch.tensor([[9.5], [8.0], [7.9]]), torch.tensor([0.2]), torch.Generator().manual_seed(0), usual)
    assert hard.flatten().tolist() == [1, 1, 0]
    assert _largest(usual, torch.tensor([0.0]), torch.Generator().manual_seed(0), usual.clone()).sum() == 0


def test_prevalence_decoding_takes_the_largest_scores() -> None:
    scores = torch.tensor([[0.1, 5.0], [0.4, -1.0], [0.3, 0.0], [-2.0, 0.2]])
    hard = _largest(scores, torch.tensor([0.5, 0.25]), torch.Generator().manual_seed(0))
    assert hard.tolist() == [[0, 1], [1, 0], [1, 0], [0, 0]]
    rare = [_largest(scores[:, :1], torch.tensor([0.05]), torch.Generator().manual_seed(s)).sum() for s in range(500)]
    assert torch.stack(rare).mean().item() == pytest.approx(4 * 0.05, abs=0.06)  # right on average
