"""Which events of a subject the matrix may use, and how many lie outside."""

from collections.abc import Collection

from ehrsynth.data.coverage import Coverage
from ehrsynth.data.events import EVENTS
from ehrsynth.data.store import Store, text
from ehrsynth.data.times import end_of

EVERYTHING = "true"


def within(window: str | int) -> str:
    """Return the condition that keeps event ``e`` in the window of ``c``, a candidate or a row of the cohort.

    Where the event or the index has no date, ``stay_id`` tells: what belongs to no stay is always in, what belongs to
    another stay only if that one is earlier, which without any date its ``stay_id`` says.

    Args:
        window: ``history``, ``stay`` or a number of days, as ``Cohort`` has it.
    """
    until = """CASE WHEN e.time IS NOT NULL AND c.index_time IS NOT NULL THEN e.time <= c.seen_until
        ELSE e.stay_id IS NULL OR e.stay_id = c.stay_id OR (c.index_time IS NULL AND e.stay_id < c.stay_id) END"""
    ended = end_of("e.time")
    if window == "history":
        return until
    if window == "stay":
        return f"{until} AND coalesce(e.stay_id = c.stay_id, {ended} >= c.admitted, true)"
    return f"{until} AND (e.time IS NULL OR {ended} >= c.index_time - INTERVAL {window} DAY)"


def visits_within(window: str | int) -> str:
    """Return the condition that keeps visit ``v``, with ``stay_id, started, ended``, in the window of ``c``.

    A visit is in it that has begun by the index; of the index stay, or of the last days, those that reach into it.
    """
    until = "coalesce(v.started <= c.seen_until, true)"
    ended = end_of("coalesce(v.ended, v.started)")
    if window == "history":
        return until
    if window == "stay":
        return f"{until} AND coalesce(v.stay_id = c.stay_id, {ended} >= c.admitted, true)"
    return f"{until} AND coalesce({ended} >= c.index_time - INTERVAL {window} DAY, true)"


def unused(store: Store, domains: Collection[str], condition: str) -> list[Coverage]:
    """Return how many events of the cohort's subjects do not keep the condition of the window, by domain."""
    among = ", ".join(map(text, sorted(domains))) or "NULL"
    found = store.frame(
        f"""SELECT domain, count(*) AS n, count(*) FILTER (later AND NOT kept) AS after,
        count(*) FILTER (NOT later AND NOT kept) AS before
        FROM (SELECT domain, coalesce(e.time > c.seen_until, false) AS later, coalesce({condition}, false) AS kept
        FROM {EVENTS} e JOIN cohort c ON e.subject_id = c.subject_id WHERE domain IN ({among}))
        GROUP BY ALL ORDER BY ALL"""
    )
    means = {"after": "after the index, not used", "before": "before the window or of another stay, not used"}
    return [
        Coverage(f"{row['domain']} events of the cohort", words, int(row[side]), int(row["n"]))
        for _, row in found.iterrows()
        for side, words in means.items()
    ]
