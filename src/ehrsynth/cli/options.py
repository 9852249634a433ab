"""Options as the verbs need them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ehrsynth.errors import expect


def path(config: Mapping[str, Any], key: str) -> Path:
    """Return the path that ``key`` holds.

    Raises:
        OptionError: it is none, but a list, say.
    """
    expect(isinstance(config[key], str) and config[key] != "", key, config[key], "a path")
    return Path(config[key])


def optional_path(config: Mapping[str, Any], key: str) -> Path | None:
    """Return the path that ``key`` holds, if it holds one."""
    return None if config[key] is None else path(config, key)


def names(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the column names that ``key`` holds; one alone needs no brackets."""
    found = config[key]
    return tuple(map(str, found)) if isinstance(found, list) else () if found is None else (str(found),)
