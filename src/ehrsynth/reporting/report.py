"""``report.json``: every score of one synthetic table with its anchors, and what it was judged on.

It holds aggregates only, never a patient's row. Of a metric that the package does not have, it holds the card too, so
that whoever reads the report needs none of the code that made it.
"""

import math
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeGuard, get_args

from ehrsynth import __version__
from ehrsynth.errors import FileError
from ehrsynth.evaluation.card import Attack, Card, Direction, Role, card_of, shipped
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
) -> dict[str, Any]:
    """Return the content of ``report.json``, ready for ``files.write_json``.

    Args:
        scores: what the suite found.
        real: the rows the scores were measured against; only their numbers are kept.
        synthetic: the rows that were scored; only their number is kept.
        data: SHA-256 of the input files by their role (``train``, ``holdout``, ``synthetic``, ...).
        warnings: what a reader must know before any number, one sentence each.
    """
    cards = [score.card for score in scores if score.card != card_of(score.metric, score.direction)]
    return {
        "scores": [score.to_dict() for score in scores],
        **({"cards": own} if (own := [card.to_dict() for card in cards if shipped(card.name) is None]) else {}),
        "rows": {"train": len(real.train), "holdout": len(real.holdout), "synthetic": len(synthetic)},
        "versions": current_versions(),
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
        _check(type(count) is int and count >= 0, path, f"rows.{role}", count, "a whole number")
    for role, digest in content["data"].items():
        _check(_or_null(_is_text)(digest), path, f"data.{role}", digest, "a text or null")
    entries = content.get("scores")
    _check(isinstance(entries, list) and len(entries) > 0, path, "scores", entries, "a list of scores")
    cards = content.get("cards", [])
    _check(isinstance(cards, list), path, "cards", cards, "a list of cards")
    own = {card.name: card for card in (_card(entry, path, f"cards[{i}]") for i, entry in enumerate(cards))}
    scores = tuple(_score(entry, own, path, f"scores[{i}]") for i, entry in enumerate(entries))
    names = Counter(score.metric for score in scores)
    (name, times), *_ = names.most_common(1)
    _check(times == 1, path, "scores", name, "every metric once")
    warnings = content.get("warnings", [])
    fits = isinstance(warnings, list) and all(isinstance(text, str) for text in warnings)
    _check(fits, path, "warnings", warnings, "a list of sentences")
    return Report(scores, content["rows"], content["versions"], content["data"], tuple(warnings))


def _score(entry: Any, own: Mapping[str, Card], path: Path, key: str) -> Score:
    _check(isinstance(entry, dict), path, key, entry, "an object")
    known = {name: entry[name] for name in SCORE_KEYS if name in entry}
    metric, status, ci, reason = (known.get(name) for name in ("metric", "status", "ci", "reason"))
    anchors = known.setdefault("anchors", {})
    _check(_is_text(metric) and "/" in metric, path, f"{key}.metric", metric, "a text FAMILY/METRIC")
    key = f"{key} ({metric})"
    for name, choices in (("direction", get_args(Direction)), ("status", get_args(Status))):
        _check(known.get(name) in choices, path, f"{key}.{name}", known.get(name), f"one of {', '.join(choices)}")
    value = known.setdefault("value", None)
    fits = _is_number(value) if status == "ok" else value is None
    _check(fits, path, f"{key}.value", value, "a finite number if the status is ok, else null")
    _check(ci is None or _is_pair(ci), path, f"{key}.ci", ci, "[low, high] or null")
    _check(_or_null(_is_text)(reason), path, f"{key}.reason", reason, "a text or null")
    _check(_is_number(known.get("seconds", 0.0)), path, f"{key}.seconds", known.get("seconds"), "a number")
    _check(isinstance(anchors, dict), path, f"{key}.anchors", anchors, "an object")
    for name, anchor in anchors.items():
        _check(anchor is None or _is_number(anchor), path, f"{key}.anchors.{name}", anchor, "a finite number or null")
    return Score.from_dict(known, own)


def _card(entry: Any, path: Path, key: str) -> Card:
    _check(isinstance(entry, dict), path, key, entry, "an object")
    name, bounds, attack = entry.get("name"), entry.get("range"), entry.get("attack")
    _check(_is_text(name) and "/" in name, path, f"{key}.name", name, "a text FAMILY/METRIC")
    key = f"{key} ({name})"
    fits = isinstance(bounds, list) and len(bounds) == 2 and all(end is None or _is_number(end) for end in bounds)
    _check(fits, path, f"{key}.range", bounds, "[low, high], null where there is no bound")
    known = _known(Card, entry, path, key)
    if attack is not None:
        known["attack"] = _known(Attack, attack, path, f"{key}.attack")
    return Card.from_dict({**known, "range": bounds})


def _known(kind: type[Card] | type[Attack], entry: Mapping[str, Any], path: Path, key: str) -> dict[str, Any]:
    """Return the fields of a card or an attack that are there, each of its type; those without a default must be."""
    known = {}
    for field in fields(kind):
        required = field.default is MISSING and field.default_factory is MISSING
        if field.type in FIELDS and (required or field.name in entry):
            known[field.name] = value = entry.get(field.name)
            fits, expected = FIELDS[field.type]
            _check(fits(value), path, f"{key}.{field.name}", value, expected)
    return known


def _check(fits: bool, path: Path, key: str, found: Any, expected: str) -> None:
    if not fits:
        raise FileError(f"{path}: {key}: found {str(found)[:60]!r}; expected {expected}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1]


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and all(sign.isprintable() or sign in "\n\t" for sign in value)


def _or_null(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


FIELDS: Mapping[object, tuple[Callable[[Any], bool], str]] = {
    str: (_is_text, "a text without control characters"),
    int: (_is_number, "a number"),
    float | None: (_or_null(_is_number), "a finite number or null"),
    tuple[float, float] | None: (_or_null(_is_pair), "[low, high] or null"),
    Attack | None: (_or_null(lambda value: isinstance(value, dict)), "an object or null"),
    Mapping[str, str]: (lambda v: isinstance(v, dict) and all(map(_is_text, v.values())), "an object of texts"),
    **{kind: (get_args(kind).__contains__, f"one of {', '.join(get_args(kind))}") for kind in (Direction, Role)},
}
"""What the fields of a card and of an attack may hold, by their type; the ends of a range are checked together."""
