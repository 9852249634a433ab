"""Checks of a model's options, with messages that name them as the command line does: ``model.NAME``."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ehrsynth.errors import expect


def choice(allowed: Collection[str], /, **options: object) -> None:
    """Raise an ``OptionError`` unless every option is one of ``allowed``."""
    _require(options, f"one of {', '.join(allowed)}", lambda value: value in allowed)


def whole(least: int, /, **options: object) -> None:
    """Raise an ``OptionError`` unless every option is a whole number, at least ``least``."""
    _require(options, f"a whole number, at least {least},", lambda value: _whole(value, least))


def even(least: int, /, **options: object) -> None:
    """Raise an ``OptionError`` unless every option is an even number, at least ``least``."""
    _require(options, f"an even number, at least {least},", lambda value: _whole(value, least) and value % 2 == 0)


def widths(**options: object) -> None:
    """Raise an ``OptionError`` unless every option is a list of one or more layer widths."""
    _require(
        options,
        "a list of whole numbers above zero, at least one of them,",
        lambda value: isinstance(value, Sequence) and len(value) > 0 and all(_whole(width, 1) for width in value),
    )


def scales(**options: object) -> None:
    """Raise an ``OptionError`` unless every option is a list of one or more finite numbers above zero."""
    _require(
        options,
        "a list of finite numbers above zero, at least one of them,",
        lambda value: (
            isinstance(value, Sequence) and len(value) > 0 and all(_finite(scale) and scale > 0 for scale in value)
        ),
    )


def number(least: float = -math.inf, /, **options: object) -> None:
    """Raise an ``OptionError`` unless every option is a finite number, at least ``least``."""
    wanted = "a finite number" if least == -math.inf else f"a finite number, at least {least:g},"
    _require(options, wanted, lambda value: _finite(value) and value >= least)


def share(**options: object) -> None:
    """Raise an ``OptionError`` unless every option is a number from 0 to below 1."""
    _require(options, "a number from 0 to below 1", lambda value: _finite(value) and 0 <= value < 1)


def positive(**options: object) -> None:
    """Raise an ``OptionError`` unless every option is a finite number above zero."""
    _require(options, "a finite number above zero", lambda value: _finite(value) and value > 0)


def _require(options: Mapping[str, object], wanted: str, fits: Callable[[Any], bool]) -> None:
    for name, value in options.items():
        expect(fits(value), f"model.{name}", value, wanted)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
