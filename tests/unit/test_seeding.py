"""Independent streams from one seed."""

import numpy as np
import torch

from ehrsynth.seeding import derive, numpy_rng, torch_rng


def test_streams_differ_by_seed_and_name_and_repeat() -> None:
    seeds = {derive(seed, *names) for seed in (0, 1, -1) for names in ((), ("a",), ("a", 1), ("a", 2), ("b",))}
    assert len(seeds) == 15
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive(0, "a", 1) == derive(0, "a", 1)
    assert torch.equal(torch.rand(3, generator=torch_rng(0, "x")), torch.rand(3, generator=torch_rng(0, "x")))
    assert np.array_equal(numpy_rng(0, "x").random(3), numpy_rng(0, "x").random(3))


def test_names_are_not_glued_together() -> None:
    assert derive(0, "a", "b") != derive(0, "ab")
    assert derive(1, "2") != derive(12)
