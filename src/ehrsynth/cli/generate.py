"""``ehrsynth generate``: a run folder -> a synthetic table."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from ehrsynth.cli.console import WATCH, say
from ehrsynth.cli.main import run
from ehrsynth.cli.options import path
from ehrsynth.schema import Schema
from ehrsynth.study.generate import Written, generate
from ehrsynth.study.run_folder import RunFolder

OPTIONS = ("n", "seed", "device", "reintroduce", "quote_formulas", "model_class")


def task(config: Mapping[str, Any]) -> None:
    """Draw records from the chosen checkpoint of ``run`` and write them to ``out``."""
    options = {name: config[name] for name in OPTIONS}
    run, condition = path(config, "run"), config["condition"]
    if config["conditions"]:
        columns = Schema.load(RunFolder.open(run).schema).names
        condition = {**(condition or {}), **named(config["conditions"], columns)}
    written = generate(run, out=path(config, "out"), condition=condition, watch=WATCH, **options)
    assert isinstance(written, Written)
    say(f"{written.rows:,} records x {written.columns} columns  {written.file}")


def named(conditions: Iterable[str], columns: Iterable[str]) -> dict[str, str]:
    """Split ``COLUMN=VALUE``, where either may hold further equals signs: the longest name of a column counts."""
    longest = sorted(columns, key=len, reverse=True)
    found = {}
    for condition in conditions:
        column = next((name for name in longest if condition.startswith(f"{name}=")), condition.partition("=")[0])
        found[column] = condition[len(column) + 1 :]
    return found


if __name__ == "__main__":
    run("generate", sys.argv[1:])
