"""EDM parts against numbers worked out by hand and an equation with a known solution."""

import math

import pytest
import torch

from ehrsynth.models.diffusion.guidance import dropped, guided
from ehrsynth.models.diffusion.loss import edm_loss
from ehrsynth.models.diffusion.precondition import coefficients, denoise
from ehrsynth.models.diffusion.sampler import heun, karras_schedule


def test_coefficients_at_a_point_worked_out_by_hand() -> None:
    c = coefficients(torch.tensor(0.4), 0.3)  # sigma^2 + sigma_data^2 = 0.25
    assert c.skip.item() == pytest.approx(0.36)
    assert c.out.item() == pytest.approx(0.24)
    assert c.input.item() == pytest.approx(2.0)
    assert c.noise.item() == pytest.approx(math.log(0.4) / 4)


@pytest.mark.parametrize("sigma", [0.02, 0.14, 1.0, 80.0])
def test_scaled_input_and_target_have_unit_variance(sigma: float) -> None:
    sigma_data = 0.14
    c = coefficients(torch.tensor(sigma), sigma_data)
    assert (c.input**2 * (sigma**2 + sigma_data**2)).item() == pytest.approx(1, rel=1e-5)
    # target (x0 - skip * (x0 + noise)) / out: variance of its two independent parts
    variance = ((1 - c.skip) ** 2 * sigma_data**2 + c.skip**2 * sigma**2) / c.out**2
    assert variance.item() == pytest.approx(1, rel=1e-3)


def test_denoise_without_a_network_is_the_skip_alone() -> None:
    x = torch.ones(2, 3)
    sigma = torch.tensor([[0.4], [1.2]])
    out = denoise(lambda x, noise: torch.zeros_like(x), x, sigma, 0.3)
    torch.testing.assert_close(out[:, 0], torch.tensor([0.36, 0.09 / 1.53]))


def test_karras_schedule_of_the_paper() -> None:
    sigmas = karras_schedule(32, sigma_max=80, sigma_min=0.02, rho=7)
    assert sigmas.shape == (33,)
    assert sigmas[0].item() == pytest.approx(80)
    assert sigmas[31].item() == pytest.approx(0.02)
    assert sigmas[32].item() == 0
    third = (80 ** (1 / 7) + 3 / 31 * (0.02 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert sigmas[3].item() == pytest.approx(third, rel=1e-5)
    assert karras_schedule(3, sigma_max=5, sigma_min=1, rho=1).tolist() == [5, 3, 1, 0]


def test_heun_is_exact_where_the_trapezoid_rule_is() -> None:
    # D(x) = x - sigma^2: dx/dsigma = sigma, so x falls by sigma_max^2 / 2; the last step is Euler's.
    sigmas = torch.tensor([2.0, 1.5, 0.5, 0.0])
    x = heun(lambda x, sigma: x - sigma**2, torch.full((1, 2), 7.0), sigmas)
    assert x.tolist() == [[pytest.approx(7 - (4 - 0.25) / 2 - 0.25)] * 2]


def test_heun_converges_to_the_flow_of_normal_data_with_second_order() -> None:
    s = 0.5  # x0 ~ N(0, s^2): D = s^2 / (s^2 + sigma^2) x, and x(sigma) is proportional to sqrt(s^2 + sigma^2)
    start = torch.tensor([[80.0, -8.0]])
    exact = start * s / math.sqrt(s**2 + 80**2)

    def error(steps: int) -> float:
        sigmas = karras_schedule(steps, sigma_max=80, sigma_min=0.002, rho=7)
        x = heun(lambda x, sigma: x * s**2 / (s**2 + sigma**2), start, sigmas)
        return ((x - exact) / exact).abs().max().item()

    assert error(32) < 0.02
    assert 3.5 < error(32) / error(64) < 4.5  # half the step, a quarter of the error


def test_heun_calls_the_network_twice_a_step_less_one() -> None:
    calls = []
    heun(
        lambda x, sigma: calls.append(sigma.shape) or x,
        torch.ones(2, 2),
        karras_schedule(32, sigma_max=80, sigma_min=0.02, rho=7),
    )
    assert calls == [(1, 1)] * 63


def test_the_loss_of_a_perfect_and_of_a_zero_network() -> None:
    sigma_data = 0.14
    x = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)) * sigma_data

    def loss(network: object) -> float:
        rng = torch.Generator().manual_seed(1)
        return edm_loss(network, x, rng, sigma_data=sigma_data, log_mean=-1.2, log_std=1.2).item()  # type: ignore[arg-type]

    # For normal data the best denoiser is the skip, so F = 0 leaves exactly the unit variance of the target.
    assert loss(lambda x, noise: torch.zeros_like(x)) == pytest.approx(1, abs=0.02)
    assert loss(lambda x, noise: torch.ones_like(x)) == pytest.approx(2, abs=0.05)


def test_noise_levels_are_log_normal() -> None:
    seen: list[torch.Tensor] = []

    def network(x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        seen.append(noise)
        return x

    rng = torch.Generator().manual_seed(0)
    edm_loss(network, torch.zeros(20_000, 1), rng, sigma_data=0.14, log_mean=-1.2, log_std=1.2)
    log_sigma = 4 * seen[0]
    assert log_sigma.shape == (20_000, 1)
    assert log_sigma.mean().item() == pytest.approx(-1.2, abs=0.03)
    assert log_sigma.std().item() == pytest.approx(1.2, abs=0.03)


def test_guidance_goes_beyond_what_labels_say() -> None:
    def network(x: torch.Tensor, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return x + labels.sum(1, keepdim=True)

    x, noise, labels = torch.zeros(2, 3), torch.zeros(1, 1), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert guided(network, labels, 0.0)(x, noise).tolist() == [[1.0] * 3, [0.0] * 3]
    assert guided(network, labels, 2.0)(x, noise).tolist() == [[3.0] * 3, [0.0] * 3]


def test_a_share_of_rows_is_told_no_label() -> None:
    rng = torch.Generator().manual_seed(0)
    kept = dropped(torch.ones(10_000, 2), 0.1, rng)
    assert (kept[:, 0] == kept[:, 1]).all()
    assert kept.mean().item() == pytest.approx(0.9, abs=0.01)
    state = rng.get_state()
    assert dropped(torch.ones(5, 0), 0.1, rng).shape == (5, 0)
    assert torch.equal(rng.get_state(), state)  # without labels training draws what it did without them
