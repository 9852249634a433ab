"""EHRDiff against numbers that the networks, loss, averages and sampler of its authors gave, once, in float64.

Weights, rows and noise are sine waves, the same here and there; what is long is kept as its product with another wave.
"""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from ehrsynth.models.diffusion.loss import edm_loss
from ehrsynth.models.diffusion.precondition import denoise
from ehrsynth.models.diffusion.sampler import heun, karras_schedule
from ehrsynth.models.ehrdiff import DenoisingMLP
from ehrsynth.models.nn import MovingAverage

PUBLISHED = json.loads(Path(__file__).with_name("ehrdiff.json").read_text(encoding="utf-8"))
COLUMNS, WIDTHS, TIME, SIGMA_DATA = 6, (8, 4, 8), 6, 0.14
each = pytest.mark.parametrize("embedding", PUBLISHED)


def wave(shape: tuple[int, ...], step: float, start: float = 0.0) -> Tensor:
    return torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64) + start).reshape(shape)


def parts(network: DenoisingMLP) -> list[nn.Parameter]:
    layers = [network.time[1], network.time[3], *network.shifts, *network.layers]
    return [getattr(layer, part) for layer in layers for part in ("weight", "bias")]


def made(embedding: str) -> DenoisingMLP:
    network = DenoisingMLP(COLUMNS, WIDTHS, TIME, fourier=8 if embedding == "fourier" else 0).double()
    with torch.no_grad():
        for number, weights in enumerate(parts(network)):
            weights.copy_(0.4 * wave(tuple(weights.shape), 0.7, float(number)))
        if embedding == "fourier":
            network.time[0].turns.copy_(wave((4,), 0.9, 0.2))  # type: ignore[operator, union-attr]
    return network


def products(tensors: list[Tensor]) -> list[float]:
    return [(tensor.detach() * wave(tuple(tensor.shape), 1.1, 0.5)).sum().item() for tensor in tensors]


@each
def test_the_network(embedding: str) -> None:
    noise = torch.tensor([[-0.9], [0.1], [1.0]], dtype=torch.float64)
    out = made(embedding)(wave((3, COLUMNS), 1.7), noise)
    assert out.flatten().tolist() == pytest.approx(PUBLISHED[embedding]["network"], abs=1e-6)


@each
def test_loss_gradients_steps_averages_and_samples(embedding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    published, network = PUBLISHED[embedding], made(embedding)
    average = MovingAverage(network, 0.999)
    optimizer = AdamW(network.parameters(), lr=3e-4, weight_decay=0.0)
    rows = (wave((3, COLUMNS), 2.3) > 0.2).double()
    draws = {(3, 1): 1.5 * wave((3, 1), 2.1, 0.4), (3, COLUMNS): 1.5 * wave((3, COLUMNS), 2.9, 0.6)}

    def drawn(*shape: object, **_: object) -> Tensor:
        size = shape[0] if isinstance(shape[0], tuple | torch.Size) else shape
        return draws[tuple(size)]  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "randn", drawn)
    losses: list[float] = []
    for step in range(3):
        optimizer.zero_grad()
        loss = edm_loss(network, rows, torch.Generator(), sigma_data=SIGMA_DATA, log_mean=-1.2, log_std=1.2)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            gradients = products([weights.grad for weights in parts(network) if weights.grad is not None])
            assert gradients == pytest.approx(published["gradients"], abs=1e-6)
        optimizer.step()
        average.update_parameters(network)
    assert losses == pytest.approx(published["losses"], abs=1e-6)
    assert products(list(parts(network))) == pytest.approx(published["weights"], abs=1e-6)
    averaged = average.module
    assert isinstance(averaged, DenoisingMLP)
    assert products(list(parts(averaged))) == pytest.approx(published["averages"], abs=1e-6)

    sigmas = karras_schedule(6, sigma_max=80.0, sigma_min=0.02, rho=7.0).double()
    with torch.no_grad():
        start = sigmas[0] * draws[3, COLUMNS]
        samples = heun(lambda x, sigma: denoise(average, x, sigma, SIGMA_DATA), start, sigmas)
    assert samples.flatten().tolist() == pytest.approx(published["samples"], abs=1e-6)
