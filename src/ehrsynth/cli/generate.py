"""``ehrsynth generate``: a run folder -> a synthetic table."""

import sys
from collections.abc import Mapping
from typing import Any

from ehrsynth.cli.console import WATCH, out
from ehrsynth.cli.main import run
from ehrsynth.cli.options import path
from ehrsynth.study.generate import Written, generate

OPTIONS = ("n", "seed", "condition", "device", "reintroduce", "model_class")


def task(config: Mapping[str, Any]) -> None:
    """Draw records from the chosen checkpoint of ``run`` and write them to ``out``."""
    options = {name: config[name] for name in OPTIONS}
    written = generate(path(config, "run"), out=path(config, "out"), watch=WATCH, **options)
    assert isinstance(written, Written)
    out.print(f"{written.rows:,} records x {written.columns} columns  {written.file}")


if __name__ == "__main__":
    run("generate", sys.argv[1:])
