"""``ehrsynth compare``: one page that compares the runs of a study."""

import sys
from collections.abc import Mapping
from typing import Any

from ehrsynth.cli.console import say
from ehrsynth.cli.main import run
from ehrsynth.cli.options import optional_path, path
from ehrsynth.errors import expect
from ehrsynth.files import writable
from ehrsynth.reporting.compare_page import statuses
from ehrsynth.study.compare import PAGE, compare


def task(config: Mapping[str, Any]) -> None:
    """Compare the runs of the study and write the page where ``out`` says, or else into the folder of the study."""
    runs = path(config, "runs")
    page = optional_path(config, "out") or runs / PAGE
    expect(page.suffix == ".html", "out", page, "a file .html")
    if config["out"] is not None:
        writable("out", page, file=True)
    compared = compare(runs, page)
    say(", ".join(f"{count} {status}" for status, count in statuses(compared.sets).items()))
    for remark in compared.remarks:
        say(f"WARNING: {remark}")
    say(f"comparison  {page}")


if __name__ == "__main__":
    run("compare", sys.argv[1:])
