"""What the options of a rule may be."""

from collections.abc import Sequence
from datetime import date

DAYS = "a number of days, 0 or more,"


def outside(least: object, most: object, unit: str) -> tuple[str, str] | None:
    """Return which end of a range is wrong and what was expected, None if neither is."""
    if not is_number(least):
        return "least", f"a number of {unit}, 0 or more,"
    if most is not None and not (is_number(most) and most >= least):  # type: ignore[operator]
        return "most", f"null or a number of {unit} from {least}"
    return None


def is_number(value: object) -> bool:
    """Return whether ``value`` is a number, 0 or more."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def are_words(values: object) -> bool:
    """Return whether ``values`` is a list of at least one word."""
    return (
        isinstance(values, Sequence)
        and not isinstance(values, str)
        and bool(values)
        and all(isinstance(value, str) and value for value in values)
    )


def is_day(value: object) -> bool:
    """Return whether ``value`` is a day as YYYY-MM-DD."""
    try:
        date.fromisoformat(str(value))
    except ValueError:
        return False
    return True
