"""Tables for the terminal."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.evaluation.card import catalogue
from ehrsynth.evaluation.ranking import Ranking
from ehrsynth.evaluation.score import Score, anchors_of
from ehrsynth.reporting.cohort_report import coverage_lines, flow_boxes
from ehrsynth.schema import Column, Schema

SHOWN_COLUMNS = 40  # lines of a schema; columns of one nature beside one another share a line


def number(value: float | None) -> str:
    """Format a score: four significant digits, a dash where there is none."""
    return "-" if value is None or pd.isna(value) else f"{value:.4g}"


def checkpoint_line(row: Mapping[str, Any]) -> str:
    """Return one line with the epoch and the headline scores."""
    watched = sorted((card for card in catalogue().values() if card.short), key=lambda card: card.headline)
    shown = [f"{card.short} {number(row[card.name])}" for card in watched if card.name in row]
    return f"  epoch {row['epoch']:>6}  " + "  ".join(shown)


def score_table(scores: Sequence[Score], title: str) -> Table:
    """Return every score beside its anchors."""
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right", min_width=9, overflow="fold")
    anchors = anchors_of(scores)
    for anchor in anchors:
        table.add_column(anchor.replace("_", "\n"), justify="right", style="dim", no_wrap=True)
    for (reason, _), run in groupby(scores, key=_absence):
        alike = list(run)
        for score in alike if reason is None else alike[:1]:
            shown = number(score.value) if reason is None else reason
            more = f" and {len(alike) - 1} more" if reason is not None and len(alike) > 1 else ""
            name = f"{score.card.arrow} {score.metric}{more}"
            table.add_row(name, shown, *[number(score.anchors.get(a)) for a in anchors])
    return table


def _absence(score: Score) -> tuple[str | None, str]:
    """Return why a score has no value, None if it has one, and its family: such scores share a line."""
    return None if score.status == "ok" else f"{score.status}: {score.reason}", score.card.family


def schema_table(schema: Schema, title: str) -> Table:
    """Lay out what each column is taken for; runs of like 0/1 columns are one line."""
    table = Table("column", "kind", "values", "missing", "role", "domain", title=title, box=SIMPLE_HEAD)
    lines = [list(run) for _, run in groupby(schema.columns, key=_nature)]
    for run in lines[:SHOWN_COLUMNS]:
        first, last = run[0], run[-1]
        name = first.name if first is last else f"{first.name} ... {last.name} ({len(run)})"
        table.add_row(name, first.kind, _values(first), "yes" if first.missing else "", _role(first), first.domain)
    if len(lines) > SHOWN_COLUMNS:
        table.caption = f"and {sum(map(len, lines[SHOWN_COLUMNS:]))} more columns"
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


def matrix_table(matrix: Matrix | Trajectories) -> Table:
    """Return what became of the rows and columns at each step of the preparation."""
    form = "matrix" if isinstance(matrix, Matrix) else "trajectories"
    table = Table("step", "rows", "columns", title=f"{form} {matrix.folder}", box=SIMPLE_HEAD)
    for step in matrix.provenance["steps"]:
        table.add_row(step["step"], f"{step['rows']:,}", f"{step['columns']:,}")
    return table


def visits_table(trajectories: Trajectories) -> Table:
    """Return how many visits, codes and values the patients of each part have."""
    table = Table("", "patients", "visits", "codes", "values", title="visits", box=SIMPLE_HEAD)
    for part, size in trajectories.provenance["visits"].items():
        table.add_row(part, *(f"{size[what]:,}" for what in ("patients", "visits", "codes", "values")))
    return table


def flow_table(matrix: Matrix | Trajectories) -> Table:
    """Return how the cohort was chosen: what each rule left, and what was at fault in the data."""
    table = Table("cohort", "subjects", "stays", "left out", box=SIMPLE_HEAD)
    for box in flow_boxes(matrix.provenance):
        table.add_row(box.what, f"{box.subjects:,}", f"{box.stays:,}", box.left_out)
        for words, count in box.faults.items():
            table.add_row("", "", "", f"  {words}: {count:,}")
    return table


def coverage_table(matrix: Matrix | Trajectories) -> Table | None:
    """Return what was understood of the source and by which means; None if there is nothing to say of it."""
    lines = coverage_lines(matrix.provenance)
    table = Table("of", "known by, or what became of it", "how many", title="what was understood", box=SIMPLE_HEAD)
    for line in lines:
        table.add_row(line.what, line.means, line.share)
    return table if lines else None


def table_one_table(matrix: Matrix | Trajectories) -> Table:
    """Return who the subjects are, before and after preprocessing."""
    table = Table(title="table 1", box=SIMPLE_HEAD)
    for column in ("", "before preprocessing", "after"):
        table.add_column(column, justify="right" if column else "left")
    for group, lines in groupby(matrix.provenance["table_one"], key=itemgetter("group")):
        if group:
            table.add_row(group)
        for line in lines:
            table.add_row(("  " if group else "") + line["label"], line["before"] or "-", line["after"] or "-")
    return table


def ranking_table(ranking: Ranking, rows: str = "") -> Table:
    """Return the weighted ranks, best first, with their intervals and what they rest on.

    Args:
        ranking: of runs judged on the same real rows.
        rows: what these rows are called, where there are several sets of them.
    """
    on = f" on {rows}" if rows else ""
    title = f"ranking for {ranking.profile.name}{on}, the lowest weighted rank is best"
    table = Table("", "model", "runs", "weighted rank", "95 % interval", "pareto", "", title=title, box=SIMPLE_HEAD)
    for group, row in ranking.table.iterrows():
        interval = "-" if pd.isna(row["low"]) else f"{row['low']:.2f} to {row['high']:.2f}"
        tied = "not told apart from the next" if row["tied_with_next"] else ""
        front = {True: "front", False: ""}.get(row["pareto"], "-")
        place, rank = str(row["position"]), f"{row['weighted_rank']:.2f}"
        table.add_row(place, str(group), str(row["runs"]), rank, interval, front, tied)
    notes = [f"the interval of a single run is a {basis}" for basis in set(ranking.table["basis"]) if "boot" in basis]
    if ranking.plane is not None:
        notes.append(f"pareto: front, if no other is at least as good on both {' and '.join(ranking.plane.directions)}")
    if ranking.missing:
        notes.append(f"not measured in every run, weights shared among the rest: {', '.join(ranking.missing)}")
    notes += [f"{Path(run).name}: {metric} failed and ranks last" for run, metric in ranking.failed]
    table.caption = "\n".join(notes) or None
    return table
