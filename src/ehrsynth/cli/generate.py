"""``ehrsynth generate``: a run folder -> a synthetic table."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from ehrsynth.cli.console import WATCH, say
from ehrsynth.cli.main import run
from ehrsynth.cli.options import names, optional_path, path
from ehrsynth.data.trajectories import load_visit_schema
from ehrsynth.errors import OptionError, expect
from ehrsynth.sampling.in_time import EVER
from ehrsynth.schema import Schema
from ehrsynth.study.continue_visits import WrittenDraws
from ehrsynth.study.generate import Written, generate
from ehrsynth.study.generate_visits import WrittenVisits
from ehrsynth.study.run_folder import RunFolder

OPTIONS = (
    "n",
    "seed",
    "balance",
    "post_selection",
    "guidance",
    "calibrate",
    "pool",
    "exact",
    "mix",
    "device",
    "reintroduce",
    "quote_formulas",
    "after",
    "draws",
    "model_class",
    "out_format",
)


def task(config: Mapping[str, Any]) -> None:
    """Draw records from the chosen checkpoint of ``run`` and write them to ``out``."""
    options = {name: config[name] for name in OPTIONS}
    run, condition, boost, typed = path(config, "run"), config["condition"], config["boost"], config["typed"]
    if typed["condition"] or typed["boost"]:
        columns = _names(RunFolder.open(run))
        condition = {**(condition or {}), **named(typed["condition"], columns)} if typed["condition"] else condition
        boost = {**(boost or {}), **boosts(typed["boost"], columns)} if typed["boost"] else boost
    written = generate(
        run,
        out=path(config, "out"),
        condition=condition,
        conditions=optional_path(config, "conditions"),
        boost=boost,
        policy=_policy(config["constraints"]),
        merge=optional_path(config, "merge"),
        prefixes=optional_path(config, "continue"),
        complete=names(config, "complete"),
        of=path(config, "of"),
        watch=WATCH,
        **options,
    )
    if isinstance(written, WrittenVisits):
        say(f"{written.patients:,} patients, {written.visits:,} visits  {written.folder}")
        return
    if isinstance(written, WrittenDraws):
        what = "completions" if config["complete"] else "continuations"
        say(f"{written.patients:,} patients, {written.draws:,} {what} of each  {written.folder}")
        return
    assert isinstance(written, Written)
    say(f"{written.rows:,} records x {written.columns} columns  {written.file}")


def _names(run: RunFolder) -> tuple[str, ...]:
    """Return what can be asked for by name: columns and, through time, codes ever."""
    columns = tuple(Schema.load(run.schema).names)
    if not run.visits.is_file():
        return columns
    return *columns, *(f"{EVER}{code.name}" for code in load_visit_schema(run.visits).codes)


def named(conditions: Iterable[str], columns: Iterable[str]) -> dict[str, str]:
    """Split ``COLUMN=VALUE``, where either may hold further equals signs: the longest name of a column counts."""
    found: dict[str, str] = {}
    for text in conditions:
        column, value = _split(text, "=", columns)
        if column in found:
            raise OptionError(f"condition.{column}={value}: {found[column]} was asked for already; once was expected")
        found[column] = value
    return found


def boosts(asked: Iterable[str], columns: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Split ``COLUMN.LEVEL=NUMBER``, where column and level may hold further points and equals signs."""
    found: dict[str, dict[str, Any]] = {}
    for text in asked:
        column, rest = _split(text, ".", columns)
        level, _, number = rest.rpartition("=")
        if not level:
            raise OptionError(f"boost.{text}: no level named; boost.COLUMN.LEVEL=NUMBER was expected")
        if level in found.get(column, {}):
            raise OptionError(f"boost.{text}: another number was given already; once was expected")
        found.setdefault(column, {})[level] = _number(number)
    return found


def _split(text: str, sign: str, columns: Iterable[str]) -> tuple[str, str]:
    """Return the longest name of a column with which a text begins, before a sign, and what stands behind that."""
    begun = [name for name in columns if text.startswith(f"{name}{sign}")]
    column = max(begun, key=len) if begun else text.partition(sign)[0]
    return column, text[len(column) + 1 :]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # whoever asks for a number says what is wrong


def _policy(constraints: Any) -> Any:
    expect(isinstance(constraints, Mapping), "constraints", constraints, "constraints.policy=keep, reject or repair")
    return constraints["policy"]


if __name__ == "__main__":
    run("generate", sys.argv[1:])
