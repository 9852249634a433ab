"""``report.json``: every score of one synthetic table with its anchors, and what it was judged on.

It holds aggregates only, never a patient's row.
"""

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from ehrsynth import __version__
from ehrsynth.errors import FileError
from ehrsynth.evaluation.card import Direction
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.score import Score, Status
from ehrsynth.files import read_json
from ehrsynth.layout import Records

LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "lightgbm", "shap", "pandas")
"""The libraries whose versions can change a score."""

SCORE_KEYS = ("metric", "value", "direction", "ci", "status", "reason", "seconds", "anchors")


@dataclass(frozen=True)
class Report:
    """The content of a ``report.json``.

    Attributes:
        scores: one per metric.
        rows: number of ``train``, ``holdout`` and ``synthetic`` records.
        versions: of ehrsynth, Python and the libraries that scored.
        data: SHA-256 of the input files by their role.
        warnings: what a reader must know before any number, one sentence each.
    """

    scores: tuple[Score, ...]
    rows: Mapping[str, int]
    versions: Mapping[str, str]
    data: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def current_versions() -> dict[str, str]:
    """Return the versions of everything that can change a score."""
    return {
        "ehrsynth": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def build_report(
    scores: Sequence[Score],
    real: RealData,
    synthetic: Records,
    *,
    data: Mapping[str, str],
    warnings: Sequence[str] = (),
    versions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the content of ``report.json``, ready for ``files.write_json``.

    Args:
        scores: what the suite found.
        real: the rows the scores were measured against; only their numbers are kept.
        synthetic: the rows that were scored; only their number is kept.
        data: SHA-256 of the input files by their role (``train``, ``holdout``, ``synthetic``, ...).
        warnings: what a reader must know before any number, one sentence each.
        versions: of the software; by default the current ones.
    """
    return {
        "scores": [score.to_dict() for score in scores],
        "rows": {"train": len(real.train), "holdout": len(real.holdout), "synthetic": len(synthetic)},
        "versions": dict(current_versions() if versions is None else versions),
        "data": dict(data),
        "warnings": list(warnings),
    }


def read_report(path: Path) -> Report:
    """Read and check a ``report.json``; keys it does not know are ignored.

    Raises:
        FileError: missing, no JSON, or a key that is absent or holds what it must not.
    """
    content = read_json(path)
    _check(isinstance(content, dict), path, "the file", content, "an object with scores, rows, versions and data")
    for key in ("rows", "versions", "data"):
        _check(isinstance(content.get(key), dict), path, key, content.get(key), "an object")
    for role, count in content["rows"].items():
        _check(isinstance(count, int) and count >= 0, path, f"rows.{role}", count, "a whole number")
    entries = content.get("scores")
    _check(isinstance(entries, list) and len(entries) > 0, path, "scores", entries, "a list of scores")
    scores = tuple(_score(entry, path, f"scores[{i}]") for i, entry in enumerate(entries))
    warnings = content.get("warnings", [])
    fits = isinstance(warnings, list) and all(isinstance(text, str) for text in warnings)
    _check(fits, path, "warnings", warnings, "a list of sentences")
    return Report(scores, content["rows"], content["versions"], content["data"], tuple(warnings))


def _score(entry: Any, path: Path, key: str) -> Score:
    _check(isinstance(entry, dict), path, key, entry, "an object")
    known = {name: entry[name] for name in SCORE_KEYS if name in entry}
    metric, status, ci = known.get("metric"), known.get("status"), known.get("ci")
    anchors = known.setdefault("anchors", {})
    _check(isinstance(metric, str) and "/" in metric, path, f"{key}.metric", metric, "a text FAMILY/METRIC")
    key = f"{key} ({metric})"
    directions, statuses = get_args(Direction), get_args(Status)
    direction = known.get("direction")
    _check(direction in directions, path, f"{key}.direction", direction, f"one of {', '.join(directions)}")
    _check(status in statuses, path, f"{key}.status", status, f"one of {', '.join(statuses)}")
    value = known.setdefault("value", None)
    fits = _is_number(value) if status == "ok" else value is None
    _check(fits, path, f"{key}.value", value, "a finite number if the status is ok, else null")
    pair = isinstance(ci, list) and len(ci) == 2 and all(map(_is_number, ci))
    _check(ci is None or pair, path, f"{key}.ci", ci, "[low, high] or null")
    _check(isinstance(anchors, dict), path, f"{key}.anchors", anchors, "an object")
    for name, anchor in anchors.items():
        _check(anchor is None or _is_number(anchor), path, f"{key}.anchors.{name}", anchor, "a finite number or null")
    return Score.from_dict(known)


def _check(fits: bool, path: Path, key: str, found: Any, expected: str) -> None:
    if not fits:
        raise FileError(f"{path}: {key}: found {str(found)[:60]!r}; expected {expected}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
