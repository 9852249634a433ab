"""Records that nobody is, made of what a schema says: what an audit plants in a training table.

None is made of a patient, so planting them tells nothing of one. A schema knows no prevalence: of many codes drawn
evenly most are rare, and of the pairs of them nearly all.
"""

from collections.abc import Mapping
from typing import get_args

import torch

from ehrsynth.layout import Layout, Records
from ehrsynth.metrics.audit import Canary
from ehrsynth.schema import Schema

CODES: Mapping[Canary, int] = {"random": 10, "rare_pair": 2, "all_rare": 30}  # of a canary; at most half of all


def drawn_canaries(schema: Schema, kind: Canary, n: int, generator: torch.Generator) -> Records:
    """Return records whose levels, numbers and codes are drawn evenly; no number is missing.

    ``random`` has ten codes, ``rare_pair`` two and ``all_rare`` thirty, or half of all if these are fewer; the numbers
    of ``all_rare`` are at one end or the other of their bounds.

    Args:
        schema: the columns.
        kind: of canaries.
        n: records.
        generator: of the draws.
    """
    assert kind in get_args(Canary)
    layout = Layout.of(schema)
    chances = torch.rand(n, layout.width, generator=generator)
    codes = [place for place, field in enumerate(layout.fields) if field.kind == "bit"]
    order = torch.rand(n, len(codes), generator=generator).argsort(dim=1).argsort(dim=1)
    rows = layout.harden(chances)  # of each column its largest level
    rows[:, layout.bits] = 0
    rows[:, codes] = (order < min(CODES[kind], max(1, len(codes) // 2))).float()
    for place in range(layout.values.start, layout.width):
        column = schema.by_name[layout.fields[place].column]
        assert column.bounds is not None
        steps = 1.0 if kind == "all_rare" else column.bounds[1] - column.bounds[0]
        if kind == "all_rare" or (column.kind == "count" and steps >= 1):
            rows[:, place] = (rows[:, place] * steps).round() / steps
    return Records.of_dense(layout, rows)
