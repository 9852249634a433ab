"""What more guidance than the calibrated 0 does to a model that was told labels."""

import numpy as np
import pandas as pd
import torch

from ehrsynth.bits import ones
from ehrsynth.disclosure import LEAST
from ehrsynth.layout import Records
from ehrsynth.metrics.label_groups import Array, kept_within_groups
from ehrsynth.models.base import SyntheticModel
from ehrsynth.sampling import sample_records
from ehrsynth.sampling.shares import Shares, demand_of, levels_of

GUIDANCE = (0.0, 0.5, 1.0, 2.0)
ROWS = 2_000  # drawn for each label and guidance, as many of every level; less for few training rows: some draw slowly
LEAST_ROWS = 200
MOST_LABELS = 3


def effect_of_guidance(model: SyntheticModel, train: Records, seed: int) -> pd.DataFrame | None:
    """Return what guidance does within the groups of each label: a row for each, ``label``, ``guidance``, and ``Kept``.

    Args:
        model: trained; None is returned for one that has no guidance, or was told no label.
        train: training rows.
        seed: of the draws.
    """
    labels = [name for name in model.conditionable if not model.schema.by_name[name].numeric]
    if not hasattr(model, "guidance") or model.conditioning != "label" or not labels:
        return None
    own, rows, n = model.guidance, [], min(ROWS, max(LEAST_ROWS, len(train) // 4))
    try:
        for label in labels[:MOST_LABELS]:
            column, demand = model.schema.by_name[label], demand_of(Shares(label), model, n, seed)
            real = _by_level(train, model, label)
            known = np.bincount(levels_of(train, column), minlength=len(real))[: len(real)] >= LEAST
            for guidance in GUIDANCE:
                model.guidance = guidance  # type: ignore[assignment]
                drawn = _by_level(sample_records(model, n, seed, condition=demand), model, label)
                kept = kept_within_groups(real[known], drawn[known])
                rows.append({"label": label, "guidance": guidance, **kept._asdict()})
    finally:
        model.guidance = own
    return pd.DataFrame(rows)


def _by_level(records: Records, model: SyntheticModel, label: str) -> Array:
    """Return the prevalence of every other 0/1 column in the records of each level, [levels, columns]."""
    column = model.schema.by_name[label]
    level, own = levels_of(records, column), records.layout.places[label]
    found = []
    for place in range(2 if column.kind == "binary" else len(column.levels)):
        group = records[torch.from_numpy(np.flatnonzero(level == place))]
        found.append(np.delete(ones(group.bits).numpy() / max(len(group), 1), own))
    return np.stack(found)
