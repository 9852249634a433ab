"""Which words of the command line stay texts: Hydra reads ``out=2024_10`` as the number 202410."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf

from ehrsynth.cli.overrides import parsed

Hint = Any  # a type as annotations have it
Words = Mapping[str, str]  # what was typed, by how Hydra reads it

# Texts, or lists of them, that no class takes: places, columns, and the names of things. What a class takes, its
# signature says.
TEXTS = {
    *("out", "run", "merge", "runs", "train", "holdout", "synthetic", "schema", "constraints", "cache", "sex_table"),
    *(
        "population",
        "subject",
        "drop",
        "outcomes",
        "sensitive",
        "device",
        "conditions",
        "continue",
        "complete",
        "of",
        "balance",
        "post_selection",
        "study",
        "place",
        "key",
        "sign",
        "by",
        "sites",
        "data.matrix",
        "data.name",
    ),
    *("paths.runs", "paths.matrices", "constraints.rules", "logger.mode", "logger.project", "logger.entity"),
    *("evaluation.sensitive", "evaluation.sex_table", "evaluation.population", "pareto.utility", "pareto.privacy"),
}

_BETWEEN = re.compile(r"[][{}(),:\s'\"]+")
_KEY = re.compile(r"\+{0,2}([A-Za-z_][\w.-]*)")


def keep_words(cfg: DictConfig, arguments: Iterable[str]) -> None:
    """Put back into ``cfg`` what was typed wherever a text was asked for and Hydra has read a number."""
    for argument in arguments:
        key, _, text = argument.partition("=")
        if (found := _KEY.fullmatch(key)) is None:
            continue
        keys = found[1].split(".")
        words = {repr(value): word for word in (text, *_BETWEEN.split(text)) for value in _numbers(word)}
        above: Any = cfg
        hint: Hint = None
        for depth, name in enumerate(keys, start=1):
            if not isinstance(above, DictConfig) or name not in above or OmegaConf.is_interpolation(above, name):
                break
            hint = str | Sequence[str] if _names(keys[:depth], above[name]) else _hint_below(above, name, hint)
            if depth == len(keys):
                if text.startswith("{") or not isinstance(above[name], DictConfig):  # that is no option of a group
                    _restore(above, name, hint, words)
            else:
                above = above._get_node(name)


def _names(keys: Sequence[str], value: object) -> bool:
    """Whether an option is a text, or a level of the data that Hydra takes for something else than a whole number."""
    return ".".join(keys) in TEXTS or (keys[:2] == ["rows", "only"] and isinstance(value, bool | float))


def _restore(above: DictConfig | ListConfig, name: Any, hint: Hint, words: Words) -> None:
    if OmegaConf.is_interpolation(above, name) or OmegaConf.is_missing(above, name):
        return
    value = above[name]
    if isinstance(value, DictConfig):
        for key in list(value):
            _restore(value, key, _hint_below(value, str(key), hint), words)
    elif isinstance(value, ListConfig):
        for index in range(len(value)):
            _restore(value, index, hint, words)
    elif isinstance(value, bool | int | float) and _is_text(hint):
        above[name] = words.get(repr(value), str(value))


def _hint_below(above: DictConfig, name: str, hint: Hint) -> Hint:
    """Return what type stands under a name: a class says so in its signature, a mapping in its own type."""
    if (target := above.get("_target_")) is not None:
        return _signature(str(target)).get(name)
    values = [get_args(member)[1] for member in _members(hint) if _is_a(member, Mapping)]
    return values[0] if values else None


def _signature(target: str) -> dict[str, Hint]:
    module, _, name = target.rpartition(".")
    try:
        made: Any = getattr(import_module(module), name)
        return get_type_hints(made.__init__ if isinstance(made, type) else made)  # type: ignore[misc]
    except (ImportError, AttributeError, ValueError, NameError, TypeError):  # whoever builds it says what is wrong
        return {}


def _is_text(hint: Hint) -> bool:
    """Whether a type is that of texts, paths, or lists of them, and of no number."""
    found = [_of_texts(member) for member in _members(hint) if member is not NoneType and not _is_a(member, Mapping)]
    return bool(found) and all(found)


def _of_texts(member: Hint) -> bool:
    origin: Any = get_origin(member)
    if origin is Literal:
        return all(isinstance(choice, str) for choice in get_args(member))
    if _is_a(member, Collection) and get_args(member):
        return _is_text(get_args(member)[0])
    return isinstance(member, type) and issubclass(member, str | Path)


def _members(hint: Hint) -> tuple[Hint, ...]:
    origin: Any = get_origin(hint)
    return get_args(hint) if origin in (Union, UnionType) else (hint,)


def _is_a(member: Hint, kind: type) -> bool:
    origin = get_origin(member)
    return isinstance(origin, type) and issubclass(origin, kind)


def _numbers(word: str) -> Iterator[bool | int | float]:
    """Yield what Hydra takes a word for, if that is no text."""
    if word and (word[0] in "+-.0123456789" or word.lower() in ("true", "false", "inf", "nan")):
        value = found.value() if (found := parsed(f"x={word}")) else None
        if isinstance(value, bool | int | float):
            yield value
