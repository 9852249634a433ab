"""The scores of files as a log notes them: by name, so that one that was altered can be named."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ehrsynth.errors import FileError
from ehrsynth.files import read_object

Scores = Mapping[str, float | None]  # by name; None for one without a value


def of_report(content: Mapping[str, Any]) -> Scores:
    """Return the scores in the content of a ``report.json``, by metric."""
    return {str(score["metric"]): _finite(score["value"]) for score in content["scores"]}


def of_checkpoints(file: Path) -> Scores:
    """Return the scores in a ``metrics.csv``, by metric and epoch."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    metrics = [name for name in (rows[0] if rows else ()) if "/" in name]
    return {f"{name}, epoch {row['epoch']}": _finite(row[name] or "nan") for row in rows for name in metrics}


def altered(file: Path, noted: Scores) -> list[str]:
    """Return a line for each score of a file that is not as it was noted; none if it cannot be read as scores."""
    if not noted:
        return []
    try:
        found = of_checkpoints(file) if file.suffix == ".csv" else of_report(read_object(file, scores=list))
    except (FileError, LookupError, TypeError, ValueError, csv.Error):
        return []
    names = dict.fromkeys((*noted, *found))
    return [
        f"{name}: expected {_shown(noted, name)}, found {_shown(found, name)}"
        for name in names
        if name not in noted or name not in found or noted[name] != found[name]
    ]


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(float(value)) else float(value)


def _shown(scores: Scores, name: str) -> str:
    return "no such score" if name not in scores else "no value" if scores[name] is None else f"{scores[name]!r}"
