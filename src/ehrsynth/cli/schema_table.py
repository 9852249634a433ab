"""A schema on the terminal."""

from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ehrsynth.schema import Column, Schema

SHOWN = 40  # lines; columns of one nature beside one another share a line


def schema_table(schema: Schema, title: str) -> Table:
    """Lay out what each column is taken for; runs of like 0/1 columns are one line."""
    table = Table("column", "kind", "values", "missing", "role", "domain", title=title, box=SIMPLE_HEAD)
    lines = [list(run) for _, run in groupby(schema.columns, key=_nature)]
    for run in lines[:SHOWN]:
        first, last = run[0], run[-1]
        name = first.name if first is last else f"{first.name} ... {last.name} ({len(run)})"
        table.add_row(name, first.kind, _values(first), "yes" if first.missing else "", _role(first), first.domain)
    if len(lines) > SHOWN:
        table.caption = f"and {sum(map(len, lines[SHOWN:]))} more columns"
    return table


def _nature(column: Column) -> tuple[str, ...]:
    """Return what columns of one line have in common: the whole column unless it is binary."""
    return (column.kind, column.role, column.domain) if column.kind == "binary" else (column.kind, column.name)


def _values(column: Column) -> str:
    if column.kind == "categorical":
        return f"{len(column.levels)} levels"  # their names may be patients' own values
    return "0, 1" if column.bounds is None else f"{column.bounds[0]:g} to {column.bounds[1]:g}"


def _role(column: Column) -> str:
    return "" if column.role == "feature" else column.role
