"""``report.json``: every score of one synthetic table with its anchors, and what it was judged on.

It holds aggregates only, never a patient's row. Of a metric that the package does not have, it holds the card too, so
that whoever reads the report needs none of the code that made it.
"""

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

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
    cards = [score.card for score in scores if score.card != card_of(score.metric, score.direction)]
    return {
        "scores": [score.to_dict() for score in scores],
        **({"cards": own} if (own := [card.to_dict() for card in cards if shipped(card.name) is None]) else {}),
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
    cards = content.get("cards", [])
    _check(isinstance(cards, list), path, "cards", cards, "a list of cards")
    own = {card.name: card for card in (_card(entry, path, f"cards[{i}]") for i, entry in enumerate(cards))}
    scores = tuple(_score(entry, own, path, f"scores[{i}]") for i, entry in enumerate(entries))
    warnings = content.get("warnings", [])
    fits = isinstance(warnings, list) and all(isinstance(text, str) for text in warnings)
    _check(fits, path, "warnings", warnings, "a list of sentences")
    return Report(scores, content["rows"], content["versions"], content["data"], tuple(warnings))


def _score(entry: Any, own: Mapping[str, Card], path: Path, key: str) -> Score:
    _check(isinstance(entry, dict), path, key, entry, "an object")
    known = {name: entry[name] for name in SCORE_KEYS if name in entry}
    metric, status, ci = known.get("metric"), known.get("status"), known.get("ci")
    anchors = known.setdefault("anchors", {})
    _check(isinstance(metric, str) and "/" in metric, path, f"{key}.metric", metric, "a text FAMILY/METRIC")
    key = f"{key} ({metric})"
    _choice(known, "direction", get_args(Direction), path, key)
    _choice(known, "status", get_args(Status), path, key)
    value = known.setdefault("value", None)
    fits = _is_number(value) if status == "ok" else value is None
    _check(fits, path, f"{key}.value", value, "a finite number if the status is ok, else null")
    _check(ci is None or _is_pair(ci), path, f"{key}.ci", ci, "[low, high] or null")
    _check(isinstance(anchors, dict), path, f"{key}.anchors", anchors, "an object")
    for name, anchor in anchors.items():
        _check(anchor is None or _is_number(anchor), path, f"{key}.anchors.{name}", anchor, "a finite number or null")
    return Score.from_dict(known, own)


def _card(entry: Any, path: Path, key: str) -> Card:
    _check(isinstance(entry, dict), path, key, entry, "an object")
    known = {k: entry[k] for k in ("range", *(f.name for f in fields(Card))) if k in entry and k not in ("low", "high")}
    name = known.get("name")
    _check(isinstance(name, str) and "/" in name, path, f"{key}.name", name, "a text FAMILY/METRIC")
    key = f"{key} ({name})"
    _texts(known, Card, path, key)
    _choice(known, "direction", get_args(Direction), path, key)
    _choice({"role": "score", **known}, "role", get_args(Role), path, key)
    bounds = known.get("range")
    fits = isinstance(bounds, list) and len(bounds) == 2 and all(end is None or _is_number(end) for end in bounds)
    _check(fits, path, f"{key}.range", bounds, "[low, high], null where there is no bound")
    for number in ("null", "grave"):
        value = known.get(number)
        _check(value is None or _is_number(value), path, f"{key}.{number}", value, "a finite number or null")
    power, headline, attack = known.get("power"), known.get("headline", 0), known.get("attack")
    _check(power is None or _is_pair(power), path, f"{key}.power", power, "[low, high] or null")
    _check(_is_number(headline), path, f"{key}.headline", headline, "a number")
    if attack is not None:
        _check(isinstance(attack, dict), path, f"{key}.attack", attack, "an object or null")
        known["attack"] = attack = {f.name: attack[f.name] for f in fields(Attack) if f.name in attack}
        _texts(attack, Attack, path, f"{key}.attack")
        place, strengths = attack.get("place", 0), attack.get("strengths", {})
        _check(_is_number(place), path, f"{key}.attack.place", place, "a number")
        fits = isinstance(strengths, dict) and all(isinstance(text, str) for text in strengths.values())
        _check(fits, path, f"{key}.attack.strengths", strengths, "an object of texts")
    return Card.from_dict(known)


def _texts(entry: Mapping[str, Any], kind: type[Card] | type[Attack], path: Path, key: str) -> None:
    """Check the texts of a card or an attack; those without a default must be there."""
    for field in fields(kind):
        if field.type is str and (field.name in entry or field.default is MISSING):
            text = entry.get(field.name)
            plain = isinstance(text, str) and all(sign.isprintable() or sign in "\n\t" for sign in text)
            _check(plain, path, f"{key}.{field.name}", text, "a text without control characters")


def _choice(entry: Mapping[str, Any], name: str, known: Sequence[str], path: Path, key: str) -> None:
    _check(entry.get(name) in known, path, f"{key}.{name}", entry.get(name), f"one of {', '.join(known)}")


def _check(fits: bool, path: Path, key: str, found: Any, expected: str) -> None:
    if not fits:
        raise FileError(f"{path}: {key}: found {str(found)[:60]!r}; expected {expected}")


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
