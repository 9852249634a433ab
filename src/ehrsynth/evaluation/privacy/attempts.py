"""What the attacks of Giomi et al. (PoPETs 2023, Anonymeter) share: whom they attack, and the rates they report.

They stand for the three risks that European regulators name: singling out, linkability and inference. Every attack is
run on training patients and, as a control, on real patients the generator never saw: only the difference can come
from training.
"""

from collections.abc import Mapping

import torch

from ehrsynth.evaluation.evaluator import RealData, Undefined, Value
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics.rates import Attempts, risk
from ehrsynth.seeding import torch_rng


def rate_parts(kind: str, found: Mapping[str, Attempts]) -> dict[tuple[str, str], Value | Undefined]:
    """Return the parts of one attack: its rates, the normalised risk, and how many attacks were made.

    Args:
        kind: of the parts.
        found: ``attack``, ``control`` and ``baseline``.
    """
    rates: dict[tuple[str, str], Value | Undefined] = {
        (kind, name): Value(*tried.rate) for name, tried in found.items()
    }
    rates[kind, "risk"] = Value(*risk(found["attack"], found["control"]))
    rates["attacks", kind] = Value(float(found["attack"].n))
    return rates


def targets(real: RealData, attacks: int, seed: int, name: str) -> tuple[Records, Records]:
    """Return at most so many records of R and of H, drawn at random."""
    return capped(real.train, attacks, seed, f"{name}/train"), capped(real.holdout, attacks, seed, f"{name}/holdout")


def shuffled(records: Records, seed: int) -> Records:
    """Return the records in random order, which decides between those at the same distance."""
    return records[torch.randperm(len(records), generator=torch_rng(seed, "order"))]
