"""Small tables with a known structure, for the tests of evaluation."""

import numpy as np
import torch

from ehrsynth.constraints import OnlyIf
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Column, Schema

CODES = 12


def toy_schema() -> Schema:
    """Twelve codes, an outcome, sex, a lab value that may be missing, and age."""
    codes = tuple(Column(f"c{i}", "binary", domain="diagnosis") for i in range(CODES))
    return Schema(
        (
            *codes,
            Column("died", "binary", role="outcome", domain="outcome"),
            Column("sex", "categorical", levels=("F", "M"), domain="demographics"),
            Column("lab", "continuous", bounds=(0.0, 10.0), missing=True, domain="lab"),
            Column("age", "count", bounds=(20.0, 90.0), domain="demographics"),
        )
    )


def toy_records(n: int, seed: int) -> Records:
    """Records driven by a hidden burden: codes rise together, c0 only in women, c1 only in men."""
    rng = np.random.default_rng(seed)
    schema = toy_schema()
    burden = rng.gamma(2.0, 0.5, n)
    female = rng.random(n) < 0.5
    codes = rng.random((n, CODES)) < np.clip(burden[:, None] * np.linspace(0.4, 0.1, CODES), 0, 0.95)
    codes[:, 0] &= female
    codes[:, 1] &= ~female
    age = np.round(np.clip(30 + 20 * burden + rng.normal(0, 8, n), 20, 90))
    died = rng.random(n) < 1 / (1 + np.exp(-(1.2 * codes[:, 2:6].sum(1) + 0.03 * age - 3.5)))
    lab = np.where(rng.random(n) < 0.2, np.nan, np.round(np.clip(2 + 3 * burden + rng.normal(0, 1, n), 0, 10), 1))
    bits = np.column_stack([codes, died, np.isnan(lab), female, ~female]).astype(np.uint8)
    values = np.column_stack([lab / 10, (age - 20) / 70]).astype(np.float32)
    return Records(Layout.of(schema), torch.from_numpy(bits), torch.from_numpy(values))


def toy_real(n: int = 600, holdout: int = 300, seed: int = 0) -> RealData:
    """R and H from one source, with the rule that c0 occurs only in women."""
    return RealData(toy_schema(), toy_records(n, seed), toy_records(holdout, seed + 1000), (OnlyIf("c0", "sex=F"),))


def bits_only(rows: list[list[int]], schema: Schema) -> Records:
    """Records of 0/1 columns alone, as written."""
    bits = torch.tensor(rows, dtype=torch.uint8)
    return Records(Layout.of(schema), bits, torch.zeros(len(rows), 0))


def code_schema(n: int) -> Schema:
    """A schema of ``n`` diagnoses."""
    return Schema(tuple(Column(f"c{i}", "binary", domain="diagnosis") for i in range(n)))
