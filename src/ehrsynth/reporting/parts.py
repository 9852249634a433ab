"""``report.parquet``: every score and its parts as one long table, for whoever computes on."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from ehrsynth.chunks import write_table
from ehrsynth.data.table_files import read_table
from ehrsynth.errors import FileError
from ehrsynth.evaluation.evaluator import Undefined, Value
from ehrsynth.evaluation.score import Score, anchors_of

WHOLE = "all"
"""The kind of the row that holds the score itself."""

TEXTS = ("metric", "kind", "part", "direction", "status", "reason")
NUMBERS = ("value", "low", "high")


def parts_frame(scores: Sequence[Score]) -> pd.DataFrame:
    """Return one row per score (kind ``all``) and one per part of it.

    Columns: ``metric``, ``kind`` and ``part`` name the row; ``value``, ``low``, ``high`` (95 % interval);
    ``status`` (``ok``, ``failed``, ``skipped``, and ``undefined`` for a part without a value), ``reason``,
    ``direction``, and one column per anchor, filled for kind ``all``.
    """
    numbers = (*NUMBERS, *anchors_of(scores))
    frame = pd.DataFrame(
        [row for score in scores for row in _rows(score, numbers[len(NUMBERS) :])], columns=[*TEXTS, *numbers]
    )
    return frame.astype({**dict.fromkeys(TEXTS, "string"), **dict.fromkeys(numbers, float)})


def write_parts(path: Path, scores: Sequence[Score]) -> None:
    """Write ``parts_frame`` to ``path``, a ``.parquet`` file."""
    write_table(path, parts_frame(scores))


def read_parts(path: Path) -> dict[str, dict[tuple[str, str], Value | Undefined]]:
    """Read the parts of every metric back, without the scores themselves.

    Raises:
        FileError: missing, unreadable, or without the columns of ``parts_frame``.
    """
    frame = read_table(path)
    if absent := [name for name in ("metric", "kind", "part", "value", "low", "high", "reason") if name not in frame]:
        raise FileError(f"{path}: no column {absent[0]!r}; a report.parquet has one row per score and part")
    found: dict[str, dict[tuple[str, str], Value | Undefined]] = {}
    frame = frame[frame["kind"] != WHOLE]
    named = zip(*(frame[name].astype(str) for name in ("metric", "kind", "part", "reason")), strict=True)
    numbers = frame[["value", "low", "high"]].to_numpy(float)
    for (metric, kind, name, reason), (value, low, high) in zip(named, numbers.tolist(), strict=True):
        ci = None if math.isnan(low) or math.isnan(high) else (low, high)
        found.setdefault(metric, {})[kind, name] = Undefined(reason) if math.isnan(value) else Value(value, ci)
    return found


def of_kind(score: Score | None, kind: str) -> dict[str, Value]:
    """Return the parts of one kind that have a value, by name; none of no score."""
    parts = {} if score is None else score.parts
    return {name: part for (sort, name), part in parts.items() if sort == kind and isinstance(part, Value)}


def scores_frame(scores: Sequence[Score]) -> pd.DataFrame:
    """Lay out scores for people: one row per metric, as ``RunFolder.frame`` and ``Evaluation.frame`` show them."""
    anchors = anchors_of(scores)
    frame = pd.DataFrame([_row(score, anchors) for score in scores]).set_index("metric")
    return frame.astype(dict.fromkeys((*NUMBERS, *anchors), float))


def _row(score: Score, anchors: Sequence[str]) -> dict[str, object]:
    low, high = score.ci or (None, None)
    return {
        "metric": score.metric,
        "value": score.value,
        "low": low,
        "high": high,
        **{anchor: score.anchors.get(anchor) for anchor in anchors},
        "direction": score.direction,
        "status": score.status,
        "reason": score.reason,
    }


def _rows(score: Score, anchors: Sequence[str]) -> Iterator[dict[str, object]]:
    yield {**_row(score, anchors), "kind": WHOLE, "part": ""}
    for (kind, name), part in score.parts.items():
        named: dict[str, object] = {"metric": score.metric, "kind": kind, "part": name, "direction": score.direction}
        if isinstance(part, Undefined):
            yield named | {"status": "undefined", "reason": part.reason}
        else:
            low, high = part.ci or (None, None)
            yield named | {"value": part.value, "low": low, "high": high, "status": "ok"}
