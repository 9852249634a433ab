"""The command line in Hydra's grammar: options and flags in any order, and what the grammar cannot read as texts."""

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from ehrsynth.errors import OptionError
from ehrsynth.words import between

WITH_VALUE = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--cfg", "-c", "--package", "-p")
ALONE = ("-m", "--multirun", "--run", "-r", "--resolve", "--info", "-i", "--hydra-help", "--version")
FREE = ("rows.oversample", "rows.only")  # below these stand columns of the data, which no file of conf/ names


def sorted_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return options and flags, which may come in any order.

    Raises:
        OptionError: a flag is unknown, or lacks its value.
    """
    options: list[str] = []
    flags: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            options.append(argument)
            continue
        name, given, _ = argument.partition("=")
        if name not in (*ALONE, *WITH_VALUE):
            raise OptionError(f"{argument}: no such flag; options are written OPTION=VALUE, and -m asks for a sweep")
        flags.append(argument)
        if name in WITH_VALUE and not given:
            if (value := next(rest, None)) is None:
                raise OptionError(f"{name}: a value was expected behind it")
            flags.append(value)
    return options, flags


def readable(argument: str, *, sweep: bool) -> str:
    """Return an option as Hydra's grammar can read it: what it could not is a text, and is quoted.

    Lists and mappings stay as they are: in them Hydra cannot tell a name from their own signs.

    Raises:
        OptionError: it names no option, or several values without ``sweep``.
    """
    key, given, text = argument.partition("=")
    if not key:
        raise OptionError(f"{argument}: not readable; OPTION=VALUE was expected")
    if given and not sweep and (found := parsed(argument)) is not None and found.is_sweep_override():
        how = f"-m makes a run of each, {written(key)}=[...] is a list, and a text with commas needs quotes"
        raise OptionError(f"{written(argument)}: several values; {how}")
    if not given or parsed(argument) or (text[:1] + text[-1:]) in ("[]", "{}", "''", '""'):
        return argument
    parts = [part if parsed(f"{key}={part}") else between(part, "'") for part in (text.split(",") if sweep else [text])]
    return f"{key}={','.join(parts)}"


def keyed(argument: str) -> str:
    """Return an option that names a column of the data as one that Hydra can add, and read: else its name in digits."""
    plain = argument.lstrip("+")
    group = next((free for free in FREE if plain.startswith(f"{free}.") and "=" in plain), None)
    if group is None:
        return argument
    key, _, text = plain.rpartition("=") if group == "rows.oversample" else plain.partition("=")
    if key != f"{group}." and parsed(f"{key}=0") is None:
        key = f"{group}.x_{key.removeprefix(f'{group}.').encode().hex()}_x"
    return f"++{key}={text}"


def written(text: str) -> str:
    """Return an option, or its last name, as it was before ``keyed``."""
    found = re.sub(r"(?<![^.])x_((?:[0-9a-f]{2})+)_x(?=$|=)", lambda name: bytes.fromhex(name[1]).decode(), text)
    return found.lstrip("+") if found.lstrip("+").startswith(FREE) else found


def command_of(overrides: Iterable[str]) -> str:
    """Return the command that asks for one run, ready to be pasted into a shell."""
    return f"ehrsynth train {shlex.join(map(written, overrides))}"


def rules_below(argument: str) -> str:
    """Return an option of ``train``, whose ``constraints`` are more than their rules: a value alone names these."""
    return re.sub(r"^(\+{0,2})constraints=(?!\{)", r"\1constraints.rules=", argument)


def spaces_apart(arguments: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Return what a search shall try, option of its space -> list or range, and the other arguments.

    Hydra merges, and would merge no list into a range; and for an option that is not there yet it wants a plus.
    """
    spaces: dict[str, Any] = {}
    rest = []
    for argument in arguments:
        found = parsed(argument) if argument.lstrip("+").startswith("search.space.") else None
        if found is not None and not found.is_sweep_override() and isinstance(found.value(), list | dict):
            spaces[found.key_or_group] = found.value()
        else:
            rest.append(argument)
    return spaces, rest


def parsed(argument: str) -> Override | None:
    """Return what Hydra reads an argument as, None if it cannot."""
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None
