"""``constraints.yaml``: the rules of a matrix in words, to be read, edited and given back to ``prepare``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ehrsynth.constraints import Constraint, from_dict, require_columns
from ehrsynth.data.proposals.check import LEAST_SUPPORT, checked
from ehrsynth.data.wide import Wide
from ehrsynth.errors import FileError, OptionError, SchemaError
from ehrsynth.files import require, write_text
from ehrsynth.layout import Layout
from ehrsynth.schema import Schema

ALLOW = "allow_exceptions"
FOR_PEOPLE = ("words", "support", "train_exceptions", "holdout_exceptions")  # written, and not read back
HEADER = f"""\
# The rules of this matrix. To change them, edit a copy and prepare again with constraints=FILE.yaml.
#   rule                 only_if (column, given)   implies (column, then)   exclusive (columns)   one_hot (group)
#                        range (column, low, high)   at_most (column, than), in the columns' own units
#   words                the same for people; not read back
#   support              training rows that could break it
#   train_exceptions     training rows that do, if any; holdout_exceptions, held-out rows
#   {ALLOW}     true: keep the rule although training rows break it
"""


def write_rules(path: Path, rules: Sequence[Constraint], schema: Schema, train: Wide, holdout: Wide) -> None:
    """Write the rules with their words, support and exceptions; a count below ``LEAST_SUPPORT`` is not told."""
    say = _words(schema)
    of_train, of_holdout = checked(rules, schema, train), checked(rules, schema, holdout)
    entries = []
    for rule, here, there in zip(rules, of_train, of_holdout, strict=True):
        plain = {key: value for key, value in rule.to_dict().items() if not key.endswith("bounds")}
        for_people = {
            "words": rule.describe(lambda name: say.get(name, name)),
            "support": shown(here.support),
            **({"train_exceptions": shown(here.exceptions)} if here.exceptions else {}),
            "holdout_exceptions": shown(there.exceptions),
        }
        entries.append({**plain, **for_people, **({ALLOW: True} if here.exceptions else {})})
    content = {"version": 1, "constraints": entries}
    write_text(path, HEADER + str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)))


def read_rules(path: Path, schema: Schema, train: Wide) -> tuple[Constraint, ...]:
    """Read rules that somebody wrote or edited.

    Args:
        path: YAML as ``write_rules`` writes it.
        schema: of the matrix.
        train: the training rows, which must keep every rule that does not say ``allow_exceptions: true``.

    Raises:
        FileError: missing, no YAML, or without its list.
        SchemaError: a rule is malformed or names a column that the schema does not have.
        OptionError: training rows break a rule. All messages name the file and the number of the entry, from one.
    """
    layout = Layout.of(schema)
    rules, allowed = list[Constraint](), list[bool]()
    for place, entry in enumerate(read_content(path)["constraints"], 1):
        try:
            rule = from_dict(_rule(entry))
            require_columns(rule, layout)
            allowed.append(allows(entry))
        except SchemaError as error:
            raise SchemaError(f"{path}: constraint {place}: {error}") from None
        rules.append(rule.bound_to(schema))
    for place, (found, may) in enumerate(zip(checked(rules, schema, train), allowed, strict=True), 1):
        if found.exceptions and not may:
            raise OptionError(
                f"{path}: constraint {place}: {found.rule.describe()!r}: {shown(found.exceptions)} of {len(train)}"
                f" training rows break it; correct it, or add {ALLOW}: true"
            )
    return tuple(rules)


def read_content(path: Path) -> dict[str, Any]:
    """Return what a file of rules says.

    Raises:
        FileError: missing, no YAML, of another version, or without its list of rules.
    """
    try:
        content = yaml.safe_load(require(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise FileError(f"{path}: not readable as YAML{where}") from None
    except (ValueError, OSError, RecursionError) as error:  # no UTF-8, a date such as 2020-13-45, nested too deep
        raise FileError(f"{path}: not readable as YAML ({type(error).__name__})") from None
    if not isinstance(content, dict) or not isinstance(content.get("constraints"), list):
        raise FileError(f"{path}: no 'constraints' in it; version and a list of that name were expected")
    if content.get("version") != 1:
        raise FileError(f"{path}: version {content.get('version')!r} is unknown; this program reads version 1")
    return content


def _rule(entry: Any) -> Any:
    """Return the entry without what stands beside the rule."""
    if not isinstance(entry, dict):
        return entry
    return {key: value for key, value in entry.items() if key not in (*FOR_PEOPLE, ALLOW)}


def allows(entry: dict[str, Any]) -> bool:
    """Return whether a rule is to be kept although training rows break it."""
    value = entry.get(ALLOW, False)
    if not isinstance(value, bool):
        raise SchemaError(f"{ALLOW}: true or false was expected")
    return value


def shown(count: int) -> int | str:
    """Return a count of patients, unless it is so small that it could tell about one."""
    return count if count == 0 or count >= LEAST_SUPPORT else f"fewer than {LEAST_SUPPORT}"


def _words(schema: Schema) -> dict[str, str]:
    """Return the words people know each encoded column by."""
    words = {}
    for field in Layout.of(schema).fields:
        column = schema.by_name[field.column]
        label = column.label or column.name
        words[field.column] = label
        if field.name == f"{column.name}:missing":
            words[field.name] = f"{label} is missing"
        elif field.kind == "level":
            words[field.name] = f"{label} is {field.name.removeprefix(f'{column.name}=')}"
    return words
