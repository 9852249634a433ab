"""A table with something planted for a network to find: columns that go together, by one that says so."""

import torch
from torch import Tensor

from ehrsynth.layout import Layout
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("code", "binary"),
        Column("other", "binary"),
        Column("sex", "categorical", ("F", "M", "X")),
        Column("age", "continuous", bounds=(0, 1)),
        Column("bmi", "continuous", bounds=(0, 1), missing=True),
    )
)  # encoded: code, other, bmi:missing, sex=F, sex=M, sex=X, age, bmi
LAYOUT = Layout.of(SCHEMA)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted(n: int = 2048) -> Tensor:
    """Rows in which other follows code, sex is F for most who have code, and age is 0.8 or 0.2."""
    code = (torch.rand(n, generator=rng(1)) < 0.3).float()
    sex = torch.multinomial(torch.tensor([[0.1, 0.6, 0.3], [0.8, 0.1, 0.1]])[code.long()], 1, generator=rng(2))[:, 0]
    age = 0.2 + 0.6 * code + 0.02 * torch.randn(n, generator=rng(3))
    missing = (torch.rand(n, generator=rng(5)) < 0.4).float()
    sexes = torch.nn.functional.one_hot(sex, 3).float()
    bmi = torch.rand(n, generator=rng(4))
    return torch.cat([torch.stack([code, code, missing], 1), sexes, torch.stack([age, bmi], 1)], 1)
