"""Subgroups of patients by protected attributes."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.evaluation.columns import Levels
from ehrsynth.evaluation.evaluator import NotApplicableError, Parts, Undefined, Value
from ehrsynth.layout import Records
from ehrsynth.schema import Column, Schema

Subgroups = Mapping[str, Mapping[str, Tensor]]  # attribute -> label -> bool [n]

ATTRIBUTES = {"attributes": "sensitive"}  # the option that names the columns to split by
PROTECTED_NAMES = frozenset({"sex", "gender", "race", "ethnicity"})
BANDS = (18, 45, 65, 80)
AGES = ("0-17", "18-44", "45-64", "65-79", "80+")
MIN_ROWS = 50
MIN_CLASS = 10
FEW = Undefined("fewer than two subgroups are large enough")


def protected(schema: Schema) -> list[str]:
    """Return the protected columns of a schema.

    Those with the role ``sensitive``, or else the binary and categorical demographic ones (by domain,
    or named sex, gender, race or ethnicity); and a numeric column named ``age``.
    """
    sensitive = [column.name for column in schema.columns if column.role == "sensitive"]
    demographic = [
        column.name
        for column in schema.columns
        if not column.numeric
        and column.role != "outcome"
        and (column.domain == "demographics" or column.name.lower() in PROTECTED_NAMES)
    ]
    chosen = sensitive or demographic
    return chosen + [column.name for column in schema.columns if _is_age(column) and column.name not in chosen]


def subgroups(
    schema: Schema, records: Records, attributes: Sequence[str] | None = None, reference: Records | None = None
) -> Subgroups:
    """Assign records to subgroups; those of one attribute never overlap and leave nobody out.

    A label is ``sex=F``, ``age=45-64``, ``race=missing``, or ``bmi=q1`` to ``bmi=q4`` for the quartiles
    of any other numeric column.

    Args:
        schema: the columns.
        records: [n].
        attributes: columns to split by; by default the protected ones.
        reference: rows whose quartiles are taken (R); by default ``records``.

    Raises:
        NotApplicableError: no protected column, or a name the schema does not have.
    """
    names = protected(schema) if attributes is None else list(attributes)
    if not names:
        raise NotApplicableError("the schema has no sensitive or demographic column and no age")
    if unknown := [name for name in names if name not in schema.by_name]:
        raise NotApplicableError(f"the schema has no column {unknown[0]!r} to form subgroups by")
    tables = Levels(schema)
    return {name: _labels(schema.by_name[name], records, reference or records, tables) for name in names}


def largest_gap(gaps: Mapping[str, Value | Undefined], parts: Parts) -> Value:
    """Return the largest gap over the attributes with its interval; all of them are parts, beside ``parts``.

    Args:
        gaps: attribute -> gap; at least one has a value.
        parts: what else the score is made of.
    """
    largest = max((gap for gap in gaps.values() if isinstance(gap, Value)), key=lambda gap: gap.value)
    return Value(largest.value, largest.ci, {**{("attribute", name): found for name, found in gaps.items()}, **parts})


def _labels(column: Column, records: Records, reference: Records, tables: Levels) -> dict[str, Tensor]:
    layout = records.layout
    if column.kind == "binary":
        cells = records.bits[:, layout.names.index(column.name)].bool()
        return {f"{column.name}=1": cells, f"{column.name}=0": ~cells}
    if column.kind == "categorical":
        group = layout.groups[column.name]
        labels = [name.replace(":missing", "=missing") for name in layout.names[group]]
        return {label: records.bits[:, group.start + i].bool() for i, label in enumerate(labels)}
    values = tables.raw(records, column.name)  # 45 years may come back as 44.999998, so they are rounded
    bands, edges, side = _bands(column, tables.raw(reference, column.name))
    place = np.searchsorted(edges, values, side=side)
    missing = np.isnan(values)
    found = {f"{column.name}={band}": torch.from_numpy((place == i) & ~missing) for i, band in enumerate(bands)}
    return {**found, f"{column.name}=missing": torch.from_numpy(missing)} if column.missing else found


def _bands(
    column: Column, reference: NDArray[np.float64]
) -> tuple[Sequence[str], NDArray[np.float64], Literal["left", "right"]]:
    """Return the labels, the edges between them, and on which side of a value equal to it an edge lies."""
    if _is_age(column):
        return AGES, np.array(BANDS, dtype=np.float64), "right"
    observed = reference[~np.isnan(reference)]
    edges = np.quantile(observed, [0.25, 0.5, 0.75]) if len(observed) else np.zeros(3)
    return ("q1", "q2", "q3", "q4"), edges, "left"


def _is_age(column: Column) -> bool:
    return column.numeric and column.name.lower() in ("age", "anchor_age")
