"""Rules as plain data, and ``constraints.json``."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from ehrsynth.constraints.base import Constraint
from ehrsynth.constraints.over_time import RuleOverTime
from ehrsynth.constraints.rules import AtMost, Exclusive, Implies, OneHot, OnlyIf, Range
from ehrsynth.errors import SchemaError
from ehrsynth.files import read_object, write_json
from ehrsynth.layout import Layout
from ehrsynth.schema import Schema

RULES: dict[str, type[Constraint]] = {kind.rule: kind for kind in (OnlyIf, Implies, Exclusive, Range, AtMost, OneHot)}


def _number(value: Any) -> bool:
    return type(value) in (int, float) and isfinite(value)


def _ordered(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value)) and value[0] <= value[1]


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value) and len(set(value)) == len(value) > 1


_FITS: dict[str, tuple[str, Callable[[Any], bool]]] = {  # people write rules by hand
    **dict.fromkeys(
        ("column", "given", "then", "than", "group"), ("the name of a column", lambda value: isinstance(value, str))
    ),
    "columns": ("a list of two or more columns, none twice", _names),
    **dict.fromkeys(("low", "high"), ("a number", _number)),
    **dict.fromkeys(("bounds", "than_bounds"), ("[low, high]", _ordered)),
}


def from_dict(content: Mapping[str, Any]) -> Constraint:
    """Read one entry of ``constraints.json``.

    Raises:
        SchemaError: no rule or an unknown one, a key that is missing or unknown, or a value that does not fit.
    """
    named = content.get("rule") if isinstance(content, Mapping) else content
    kind = RULES.get(named) if isinstance(named, str) and isinstance(content, Mapping) else None
    if kind is None:  # a list is not shown: a few aliases of YAML make one of any length
        plain = isinstance(content, Mapping) and not isinstance(named, Mapping | list)
        found = repr(named) if plain else f"a {type(named).__name__}"
        raise SchemaError(f"rule: {found} found, one of {', '.join(RULES)} was expected")
    keys = kind.keys()
    given = {key: value for key, value in content.items() if key != "rule" and value is not None}
    for key, needed in keys.items():
        if needed and key not in given:
            raise SchemaError(f"rule {kind.rule}: no {key!r}; it has {', '.join(keys)}")
    for key, value in given.items():
        if key not in keys:
            raise SchemaError(f"rule {kind.rule}: unknown key {key!r}; it has {', '.join(keys)}")
        words, fits = _FITS[key]
        if not fits(value):
            raise SchemaError(f"rule {kind.rule}: {key}: {words} was expected")
    if kind is Range and not given.get("low", -float("inf")) <= given.get("high", float("inf")):
        raise SchemaError("rule range: low is above high")
    if kind is Range and not {"low", "high"} & set(given):
        raise SchemaError("rule range: low, high or both were expected")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})


def require_columns(rule: Constraint, layout: Layout) -> None:
    """Raise a ``SchemaError`` if the rule names a column that ``layout`` does not have in that kind."""
    blocks = {"0/1": layout.names[layout.binary], "number": layout.names[layout.values], "categorical": layout.groups}
    known = set(blocks[rule.over])
    for name in rule.names:
        if name not in known:
            raise SchemaError(f"{rule.describe()!r}: the schema has no {rule.over} column {name!r}")


def save(path: Path, constraints: Sequence[Constraint], over_time: Sequence[RuleOverTime] = ()) -> None:
    """Write ``constraints.json``, of trajectories with the rules over time."""
    more = {"over_time": [rule.to_dict() for rule in over_time]} if over_time else {}
    write_json(path, {"version": 1, "constraints": [constraint.to_dict() for constraint in constraints], **more})


def load(path: Path, schema: Schema) -> tuple[Constraint, ...]:
    """Read ``constraints.json``.

    Args:
        path: of the file.
        schema: of the records to be judged; rules over numbers note the bounds of its columns.

    Raises:
        FileError: missing, not JSON, or without its list.
        SchemaError: a rule is malformed or names a column that the records do not have. The message names the file and
            the number of the entry, from one.
    """
    layout = Layout.of(schema)
    rules = []
    for place, entry in enumerate(read_object(path, constraints=list)["constraints"], 1):
        try:
            rule = from_dict(entry)
            require_columns(rule, layout)
            rules.append(rule.bound_to(schema))
        except SchemaError as error:
            raise SchemaError(f"{path}: constraint {place}: {error}") from None
    return tuple(rules)
