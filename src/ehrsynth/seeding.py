"""Independent random streams from one seed and a name.

Every draw in the package takes a generator made here, so adding a draw in one place never shifts
the numbers of another, and evaluating during training cannot change the weights.
"""

import hashlib
import secrets

import numpy as np
import torch


def derive(seed: int, *names: str | int) -> int:
    """Hash ``seed`` and ``names`` to a new seed in [0, 2**63).

    Args:
        seed: any integer; 0 is a seed like the others.
        names: what the stream is for, for example ``("train", epoch, step)``.

    Returns:
        A 63-bit integer. Different names give independent streams; the same names the same stream.
    """
    text = "/".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_rng(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator on ``device`` for the stream ``(seed, *names)``."""
    return torch.Generator(device=device).manual_seed(derive(seed, *names))


def numpy_rng(seed: int, *names: str | int) -> np.random.Generator:
    """Return a NumPy generator for the stream ``(seed, *names)``."""
    return np.random.default_rng(derive(seed, *names))


def secret_rng(device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator whose seed nobody knows: for noise that hides a patient.

    The seed is the operating system's and kept nowhere; the generator itself is not cryptographic.
    """
    return torch.Generator(device=device).manual_seed(secrets.randbits(63))
