"""What a time means where somebody wrote the day only: SQL for whoever compares times.

Most providers keep dates and times in one column, and a date then lies there as the midnight it begins with. So a time
at midnight is the whole day: as an end it is the end of that day, and with any time of that day it is on the same day.
A time with a zone is that moment in UTC, wherever the machine stands (``ehrsynth.data.store``, ``parsing.times``).
"""


def no_clock(time: str) -> str:
    """Return the condition that a time is a day without a clock."""
    return f"({time} = date_trunc('day', {time}))"


def end_of(time: str) -> str:
    """Return the last moment of a time: of its day where it has no clock, else itself.

    ``a <= end_of(b)`` says that ``a`` is not after ``b``, ``a > end_of(b)`` that it is, whichever of them has a clock.
    """
    return f"CASE WHEN {no_clock(time)} THEN {time} + INTERVAL 1 DAY - INTERVAL 1 MICROSECOND ELSE {time} END"


def latest(time: str) -> str:
    """Return the aggregate that takes the last of some times; a day without a clock outlasts every moment of it."""
    return f"arg_max({time}, {end_of(time)})"


def days_between(start: str, end: str) -> str:
    """Return the days from one time to another, with their fraction; those of the calendar if no clock ends them."""
    return (
        f"CASE WHEN {no_clock(end)} THEN date_diff('day', {start}, {end})"
        f" ELSE (epoch({end}) - epoch({start})) / 86400 END"
    )
