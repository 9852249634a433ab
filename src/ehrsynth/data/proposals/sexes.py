"""Codes that only one sex has: as the training rows show, or as a vocabulary declares."""

import numpy as np
from numpy.typing import NDArray

from ehrsynth.constraints import OnlyIf
from ehrsynth.data.proposals.codes import Codes
from ehrsynth.data.wide import Wide
from ehrsynth.schema import Column, Schema

NAMES = ("sex", "gender")
LEAST_EXPECTED = 10.0


def one_sex_rules(schema: Schema, train: Wide, codes: Codes) -> list[OnlyIf]:
    """Return a rule per code that is seen in one sex only, and often enough for that to be no accident.

    A code counts if all training rows that have it are of one sex, while ``LEAST_EXPECTED`` or more of the others would
    have it if sex and code were independent. The least support is the caller's.
    """
    sex = _sex(schema)
    if sex is None:
        return []
    cells = train.cells[sex.name].astype(str).to_numpy()
    levels = [level for level in sex.levels if (cells == level).any()]
    positives = np.stack([_positives(codes, cells == level) for level in levels]) if levels else np.zeros((1, 0), int)
    share = [float((cells == level).sum() / (train.cells[sex.name].notna()).sum()) for level in levels]
    rules = []
    for j, name in enumerate(codes.names if levels else []):
        total, i = int(codes.support[j]), int(positives[:, j].argmax())  # the total counts unknown sex too
        if total and positives[i, j] == total and total * (1 - share[i]) >= LEAST_EXPECTED:
            rules.append(OnlyIf(name, f"{sex.name}={levels[i]}"))
    return rules


def declared_sexes(schema: Schema, train: Wide) -> list[OnlyIf]:
    """Return a rule per column of which a vocabulary says that one sex alone can have it.

    They are knowledge and not found in patients, so they need no support; training rows may still contradict them.
    """
    sex = _sex(schema)
    if sex is None:
        return []
    level = {level[:1].upper(): level for level in reversed(sex.levels)}
    return [
        OnlyIf(name, f"{sex.name}={level[only]}")
        for name, only in train.sexes.items()
        if name in schema.by_name and only in level
    ]


def _sex(schema: Schema) -> Column | None:
    found = (c for c in schema.columns if c.name.lower() in NAMES and c.kind == "categorical")
    return next(found, None)


def _positives(codes: Codes, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.asarray(rows.astype(np.int32) @ codes.ones, np.int64)
