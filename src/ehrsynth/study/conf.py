"""The YAML files under ``conf/``, composed without Hydra, so that a default is written once for all.

A file composes as under Hydra: its ``defaults:`` list names others, ``_self_`` says when its own values come, and the
last word counts. Read is what our files use: options of the same group, ``group: option``, ``/group@package: option``,
``override``, ``optional``, ``# @package _global_``, and ``${...}`` of choices, of keys, ``oc.select`` and ``oc.env``.
"""

import os
import re
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

from ehrsynth.errors import FileError, OptionError

Node = dict[str, Any]
Choice = str | Path | Mapping[str, Any] | None  # the name of an option, a YAML file of one's own, or its content
Choices = Mapping[str, Choice | list[str]]  # by group, or ``group@package``; of some groups one takes several options

GLOBAL = re.compile(r"^# @package _global_", re.M)
MISSING = "???"
FLOAT = r"^[-+]?(?:\d[\d_]*\.[\d_]*(?:[eE][-+]?\d+)?|\.\d[\d_]*(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.(?:inf|nan))$"


def conf_dir() -> Path:
    """Return the folder of the YAML files: beside the package in a wheel, at the top level of a checkout."""
    packaged = Path(__file__).parents[1] / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "conf"


@cache
def _loader() -> type:
    """Return a loader of YAML as Hydra reads it: ``1e-3`` is a number, and a date is the text that stands there."""
    import yaml  # here, since --help needs the names of files only, and soon

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: ClassVar = {
            first: [(tag, regexp) for tag, regexp in found if not tag.endswith((":timestamp", ":float"))]
            for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(FLOAT), list("-+0123456789."))
    return Loader


def parsed(text: str, name: object) -> Any:
    """Read YAML.

    Raises:
        FileError: it is none; the message calls it ``name``.
    """
    import yaml

    try:
        return yaml.load(text, _loader())
    except (yaml.YAMLError, RecursionError) as error:
        raise FileError(f"{name}: not readable as YAML ({' '.join(str(error).split())})") from None


def names(group: str) -> list[str]:
    """Return the options that a group ships with."""
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))


def compose(verb: str, choices: Choices, values: Mapping[str, Any]) -> Node:
    """Return the configuration of a verb, resolved.

    Args:
        verb: whose ``conf/VERB.yaml``.
        choices: group, or ``group@package``, -> option, or several options.
        values: dotted key -> value; they have the last word.

    Raises:
        OptionError: a group, an option or a key is unknown.
    """
    composition = _Composition(choices)
    config = composition.composed("", verb)
    if unknown := sorted(set(choices) - set(composition.taken)):
        raise OptionError(f"{unknown[0]}: {verb} has no such group of options")
    for key, value in values.items():
        *above, last = key.split(".")
        over = _below(above, {last: value})
        _require_known(config, over, "")
        _merge(config, over)
    resolved: Node = _resolved(config, config)
    return resolved


def load(group: str, option: Choice, **around: Any) -> Node:
    """Return one option of a group, resolved.

    Args:
        group: such as ``suite``.
        option: its name, a YAML file of one's own, or the content of one.
        around: what the option's ``${...}`` may ask for.

    Raises:
        OptionError: there is none of that name.
    """
    config = {**around, **_Composition({}).composed(group, option)}
    found: Node = _resolved(config, config)[group]
    return found


def sorted_out(given: Choices) -> tuple[dict[str, Choice | list[str]], Node]:
    """Return the groups for which an option was chosen, and the keys of which only the value was.

    Args:
        given: group, or ``group@package``, -> option; a mapping without a class changes values of the usual option,
            and None leaves it as it is.
    """
    choices: dict[str, Choice | list[str]] = {}
    values: Node = {}
    for group, option in given.items():
        if isinstance(option, Mapping) and "_target_" not in option:
            values |= {f"{group.partition('@')[2] or group}.{key}": value for key, value in option.items()}
        elif option is not None:
            choices[group] = option
    return choices, values


def dumped(config: Node) -> str:
    """Return a configuration as YAML."""
    import yaml

    text: str = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return text


class _Composition:
    """Follow defaults lists; ``taken`` is the option of every group that was met."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.overridden: dict[str, Choice | list[str]] = {}  # by an ``override`` in some file
        self.taken: dict[str, Choice | list[str]] = {}

    def composed(self, group: str, option: Choice) -> Node:
        while True:  # an override is met after what it changes; so once more when there is a new one
            config: Node = {}
            known, self.taken = dict(self.overridden), {}
            self._add(config, group, option, group.replace("/", "."))
            if self.overridden == known:
                return config

    def _add(self, config: Node, group: str, option: Choice, package: str) -> None:
        content, everywhere = _read(group, option)
        package = "" if everywhere else package
        defaults = content.pop("defaults", [])
        content.pop("hydra", None)
        for entry in defaults if "_self_" in defaults else [*defaults, "_self_"]:
            if entry == "_self_":
                _merge(config, _below(package.split(".") if package else [], content))
            elif isinstance(entry, str):
                self._add(config, group, entry, package)
            else:
                self._add_entry(config, group, package, entry)

    def _add_entry(self, config: Node, group: str, package: str, entry: Choices) -> None:
        ((words, choice),) = entry.items()
        *how, where = words.split()
        name, _, at = where.partition("@")
        child = name[1:] if name.startswith("/") else "/".join(filter(None, (group, name)))
        below = ".".join(filter(None, (package, at or name.lstrip("/").replace("/", "."))))
        key = f"{child}@{below}" if at else child
        if child.startswith("hydra/"):
            return
        if "override" in how:
            self.overridden[key] = choice
            return
        choice = self.choices.get(key, self.overridden.get(key, choice))
        if isinstance(choice, str):
            choice = re.sub(r"\$\{(\w+)\}", lambda match: _stem(self.taken.get(match[1])), choice)
        self.taken[key] = choice
        for option in choice if isinstance(choice, list) else [choice]:
            absent = isinstance(option, str) and not _file(child, option).is_file()
            if option is not None and not ("optional" in how and absent):
                self._add(config, child, option, below)


def _read(group: str, option: Choice) -> tuple[Node, bool]:
    """Return the content of an option, and whether it is for all groups and not only its own."""
    if isinstance(option, Mapping):
        return dict(option), False
    file = _file(group, option)
    if not file.is_file():
        if file.parent != conf_dir() / group:
            raise FileError(f"{file}: no such file; a YAML for {group}= was expected")
        raise OptionError(f"{group}={option}: no such {group}; use one of {', '.join(names(group))}")
    text = file.read_text(encoding="utf-8")
    content = parsed(text, file) or {}
    if not isinstance(content, dict):
        raise FileError(f"{file}: not readable as an option of {group}; keys with values were expected")
    return content, bool(GLOBAL.search(text))


def _file(group: str, option: Choice) -> Path:
    own = isinstance(option, Path) or str(option).endswith(".yaml")
    return Path(str(option)) if own else conf_dir() / group / f"{option}.yaml"


def _stem(choice: Choice | list[str]) -> str:
    if isinstance(choice, str) and not choice.endswith(".yaml"):
        return choice
    return "own" if isinstance(choice, Mapping) else Path(str(choice)).name.removesuffix(".yaml")


def _below(keys: list[str], content: Any) -> Node:
    for key in reversed(keys):
        content = {key: content}
    found: Node = content
    return found


def _merge(base: Node, over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = deepcopy(value)


def _require_known(config: Node, over: Mapping[str, Any], where: str) -> None:
    """Raise an ``OptionError`` for a key that is not there; what a class takes, and what is made of one, it knows.

    Below an empty mapping, such as ``rows.oversample``, stands what no file of ``conf/`` names: columns of the data.
    """
    if not config:
        return
    for key, value in over.items():
        new = isinstance(value, Mapping) and "_target_" in value
        if key not in config and not new and "_target_" not in config:
            raise OptionError(f"{where}{key}: no such option; use one of {', '.join(map(str, config))}")
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            _require_known(config[key], value, f"{where}{key}.")


def _resolved(node: Any, root: Node) -> Any:
    if isinstance(node, Mapping):
        return {key: _resolved(value, root) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_resolved(value, root) for value in node]
    if isinstance(node, str):
        return _interpolated(node, root)
    if isinstance(node, Path):
        return str(node)
    if isinstance(node, bool) or not isinstance(node, Real):
        return node
    return int(node) if isinstance(node, Integral) else float(node)  # NumPy's numbers are no plain ones


def _interpolated(text: str, root: Node) -> Any:
    """Replace every ``${...}``; a text that is nothing else becomes what is found, whatever its type."""
    if (start := text.find("${")) < 0:
        return text
    end, depth = start + 2, 1
    while depth and end < len(text):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    if depth:
        raise OptionError(f"{text}: a closing brace was expected")
    found = _found(text[start + 2 : end - 1], root)
    return found if (start, end) == (0, len(text)) else _interpolated(f"{text[:start]}{found}{text[end:]}", root)


def _found(asked: str, root: Node) -> Any:
    function, colon, arguments = asked.partition(":")
    key, _, default = (arguments if colon else asked).partition(",")
    if function == "oc.env":
        found: Any = os.environ.get(key, MISSING)
    elif function == "oc.select" or not colon:
        found = root
        for name in key.split("."):
            found = found.get(name, MISSING) if isinstance(found, dict) else MISSING
        found = _resolved(found, root)
    else:
        raise OptionError(f"${{{asked}}}: unknown; use ${{KEY}}, oc.select or oc.env")
    if found != MISSING:
        return found
    if not default:
        raise OptionError(f"${{{asked}}}: there is no {key}")
    made = _interpolated(default, root)
    return parsed(made, asked) if isinstance(made, str) else made
