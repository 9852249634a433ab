"""From what a configuration names to objects, and back; without Hydra."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from ehrsynth.errors import EhrsynthError, OptionError
from ehrsynth.study.conf import MISSING, Choice

# Of Hydra, where everything is converted here; ``_name_`` is ours, of one model among several of a class.
SPECIAL = ("_target_", "_convert_", "_partial_", "_args_", "_name_")


def build(node: Any, name: str = "", *, late: bool = False) -> Any:
    """Make what ``_target_`` names, with its options, and everything below it.

    Args:
        node: of a configuration that the user chose; never of a file in a run or matrix folder.
        name: of the option, for messages.
        late: return what makes it, to be called with the rest of its arguments.

    Raises:
        OptionError: the class cannot be imported, an option is required and not given, or it does not take them.
    """
    if isinstance(node, list):
        return [build(value, name) for value in node]
    if not isinstance(node, Mapping):
        return node
    given = [key for key, value in node.items() if key not in SPECIAL and value == MISSING]
    if given:
        raise OptionError(f"{name}.{given[0]}= is required and not given".removeprefix("."))
    made = {key: build(value, f"{name}.{key}") for key, value in node.items() if key not in SPECIAL}
    if "_target_" not in node:
        return made
    call = partial(located(node["_target_"]), *build(list(node.get("_args_", ())), name), **made)
    if late or node.get("_partial_"):
        return call
    try:
        return call()
    except EhrsynthError:
        raise
    except Exception as error:
        raise OptionError(f"{name}: {call.func.__name__} does not take these options ({error})") from error


def located(target: str, option: str = "_target_") -> Any:
    """Import what the user names.

    Raises:
        OptionError: it cannot be imported, whatever its own code raises.
    """
    module, _, name = target.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except Exception as error:
        raise OptionError(f"{option}={target}: cannot be imported ({type(error).__name__}: {error})") from error


def node_of(value: Any, name: str) -> Choice:
    """Return what ``build`` would make ``value`` from: a class, a partial of one, or a dataclass.

    Raises:
        OptionError: it is something else, so a run could not be told from another by it.
    """
    if value is None or isinstance(value, str | Path | Mapping):
        return value
    kind = value.func if isinstance(value, partial) else value if isinstance(value, type) else type(value)
    target = {"_target_": f"{kind.__module__}.{kind.__qualname__}"}
    if isinstance(value, partial):
        return target | value.keywords
    if isinstance(value, type):
        return target
    if is_dataclass(value) and not isinstance(value, type):
        return target | asdict(value)
    raise OptionError(f"{name}: a {kind.__name__} cannot be written down; give a name, a YAML file or its content")
