"""Rows and columns that evaluators ask for by their meaning."""

import torch

from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng


def capped(records: Records, rows: int | None, seed: int, name: str) -> Records:
    """Return at most ``rows`` records, drawn without replacement from the stream ``(seed, name)``."""
    if rows is None or len(records) <= rows:
        return records
    return records[torch.randperm(len(records), generator=torch_rng(seed, name))[:rows]]


def code_columns(schema: Schema, layout: Layout) -> list[int]:
    """Return the encoded columns that are clinical codes."""
    return [i for i, field in enumerate(layout.fields) if field.kind == "bit" and schema.by_name[field.column].is_code]


def attributes_known_to_anyone(schema: Schema, layout: Layout) -> list[int]:
    """Return the encoded columns of demographics and outcomes, which an attacker is assumed to know."""
    return [
        i
        for i, field in enumerate(layout.fields)
        for column in [schema.by_name[field.column]]
        if column.domain == "demographics" or column.role in ("demographic", "outcome")
    ]
