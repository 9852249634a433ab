"""``ehrsynth verify``: whether a folder, or a file, and all that it came from, is as it was written."""

import sys
from collections.abc import Mapping
from os.path import relpath
from typing import Any

from ehrsynth.cli.console import say
from ehrsynth.cli.main import run
from ehrsynth.cli.options import optional_path, path
from ehrsynth.errors import AlteredError
from ehrsynth.study.verify import Verdict, verify


def task(config: Mapping[str, Any]) -> None:
    """Verify ``place``, signed first if that is asked for, and print what was found."""
    place = path(config, "place")
    verdict = verify(place, key=optional_path(config, "key"), sign=optional_path(config, "sign"))
    show(verdict)
    if not verdict.whole:
        count = len(verdict.findings)
        raise AlteredError(f"{place}: {count} {'thing is' if count == 1 else 'things are'} not as expected")


def show(verdict: Verdict) -> None:
    """Print the steps, what was altered, what could not be followed, and what the chain is worth."""
    for log, record in verdict.steps:
        wrote = f"  {len(record.outputs)} files" if record.outputs else ""
        say(f"{record.step:<9}{record.time}  ehrsynth {record.version}  {relpath(log)}{wrote}")
    for finding in verdict.findings:
        say(f"WRONG: {finding}", style="bold red")
    for line in verdict.unfollowed:
        say(f"not followed: {line}")
    for remark in verdict.remarks:
        say(remark)
    say(f"head {verdict.head}")
    if verdict.whole:
        say(f"{verdict.files} files of {len(verdict.steps)} steps are as they were written")


if __name__ == "__main__":
    run("verify", sys.argv[1:])
