"""How likely a model finds patients it never saw."""

import torch

from ehrsynth.evaluation.subsets import code_columns
from ehrsynth.layout import Records
from ehrsynth.metrics.concept_abundance import codes_per_record
from ehrsynth.models.base import SyntheticModel
from ehrsynth.seeding import torch_rng

MOST_ROWS = 20_000  # looked at


@torch.no_grad()
def held_out_likelihood(model: SyntheticModel, held_out: Records, seed: int) -> dict[str, float] | None:
    """Return nats a held-out record and a present code, with half a 95 % interval; None of a model without likelihood.

    Args:
        model: in evaluation mode.
        held_out: real records, NaN where missing.
        seed: of which records are looked at, if there are many.
    """
    rows = torch.randperm(len(held_out), generator=torch_rng(seed, "likelihood"))[:MOST_ROWS]
    seen = held_out[rows]
    found = model.log_likelihood(Records(seen.layout, seen.bits, seen.values.nan_to_num(0.5)))
    if found is None:
        return None
    nats = -found.double().cpu()
    told = {"rows": float(len(nats)), "nats_per_record": float(nats.mean())}
    if len(nats) > 1:
        told["half_interval"] = float(1.96 * nats.std() / len(nats) ** 0.5)
    chosen = torch.zeros(held_out.layout.binary.stop)
    chosen[code_columns(model.schema, model.layout)] = 1
    if (codes := float(codes_per_record(seen.bits, chosen).float().mean())) > 0:
        told["nats_per_code"] = told["nats_per_record"] / codes
    return told


def in_words(likelihood: dict[str, float]) -> str:
    """Return it for the head of a report."""
    said = f"{likelihood['nats_per_record']:.2f}"
    if "half_interval" in likelihood:
        said += f" ± {likelihood['half_interval']:.2f}"
    said += " nats a held-out record (of a number that of its range or score)"
    return said + (f", {likelihood['nats_per_code']:.2f} a present code" if "nats_per_code" in likelihood else "")
