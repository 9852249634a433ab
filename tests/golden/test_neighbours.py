"""Distances: packed words, matrix product and brute force agree."""

import numpy as np
import pytest
import torch

from ehrsynth.metrics import packed
from ehrsynth.metrics.neighbours import Points, References, nearest


def points(n: int, width: int, values: int, seed: int) -> Points:
    generator = torch.Generator().manual_seed(seed)
    bits = (torch.rand(n, width, generator=generator) < 0.2).to(torch.uint8)
    return Points(bits, torch.rand(n, values, generator=generator))


def brute(left: Points, right: Points) -> np.ndarray:
    bits = (left.bits[:, None, :] != right.bits[None]).sum(2).double()
    return (bits + (left.values[:, None, :].double() - right.values[None].double()).square().sum(2)).numpy()


@pytest.mark.parametrize("width", [0, 1, 63, 64, 65, 200])
@pytest.mark.parametrize("values", [0, 3])
@pytest.mark.parametrize("device", [None, torch.device("cpu")])
def test_squared_distances(width: int, values: int, device: torch.device | None) -> None:
    left, right = points(17, width, values, 0), points(29, width, values, 1)
    found = References(right, device).squared_distances(left).numpy()
    np.testing.assert_allclose(found, brute(left, right), atol=1e-5)


def test_equal_records_are_at_distance_zero_and_threads_change_nothing() -> None:
    left = points(50, 130, 4, 2)
    assert not References(left).squared_distances(left).diagonal().any()
    threads = torch.get_num_threads()
    alone = References(left).squared_distances(left)
    torch.set_num_threads(3)
    try:
        torch.testing.assert_close(References(left).squared_distances(left), alone, rtol=0, atol=0)
    finally:
        torch.set_num_threads(threads)


def test_packing_keeps_every_bit() -> None:
    left = points(5, 70, 0, 3)
    words = packed.pack(left.bits)
    assert words.shape == (5, 2)
    np.testing.assert_array_equal(np.unpackbits(words.view(np.uint8), axis=1).sum(1), left.bits.sum(1))


def test_nearest_in_blocks() -> None:
    left, right = points(23, 40, 2, 4), points(31, 40, 2, 5)
    to_right, to_left = nearest(left, right, block=7)
    np.testing.assert_allclose(to_right, brute(left, right).min(1), atol=1e-6)
    np.testing.assert_allclose(to_left, brute(left, right).min(0), atol=1e-6)
