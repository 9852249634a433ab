"""``ehrsynth study``: what of a study is done, running, failed, missing."""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.table import Table

from ehrsynth.cli.console import WATCH, err, out, say
from ehrsynth.cli.main import run
from ehrsynth.cli.messages import failure
from ehrsynth.cli.options import path
from ehrsynth.errors import expect
from ehrsynth.study.attempt import forget
from ehrsynth.study.conf import parsed
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import Spec
from ehrsynth.study.status import RunStatus, status_of
from ehrsynth.study.train import run as carry_out
from ehrsynth.words import printable

STYLES = {"done": "green", "running": "cyan", "failed": "red", "diverged": "red", "killed": "yellow"}
EVERY = 5  # seconds between two looks


def task(config: Mapping[str, Any]) -> None:
    """Print where a study stands, again and again if that is asked for, and carry out what failed if that is."""
    study = path(config, "study")
    expect(config["retry"] in (None, "failed"), "retry", config["retry"], "failed")
    expect(isinstance(config["watch"], bool), "watch", config["watch"], "true or false")
    if config["retry"] == "failed":
        retry(study)
    found = status_of(study)
    if config["watch"]:
        with Live(shown(study, found), console=err) as live:
            while any(each.status == "running" for each in found):
                time.sleep(EVERY)
                live.update(shown(study, found := status_of(study)))
    else:
        out.print(shown(study, found))


def shown(study: Path, runs: Sequence[RunStatus]) -> Group:
    """Return a line for each run and a line for all."""
    table = Table("run", "status", "epoch", "time", "reason", box=SIMPLE_HEAD, title=printable(str(study)))
    table.columns[4].overflow = "fold"
    for each in runs:
        epoch = "" if each.epochs is None else f"{each.epoch or 0}/{each.epochs}"
        spent = "" if each.seconds is None else str(timedelta(seconds=round(each.seconds)))
        name = each.run or each.command.removeprefix("ehrsynth train ")
        table.add_row(name, each.status, epoch, spent, each.reason, style=STYLES.get(each.status))
    counts = Counter(each.status for each in runs)
    return Group(table, ", ".join(f"{count} {status}" for status, count in counts.items()))


def retry(study: Path) -> None:
    """Carry out again every run of a study that failed, diverged or was killed, one after the other, whatever happens.

    What never began, because its options were refused, only the sweep that asked for it can begin.
    """
    for each in status_of(study):
        if each.status not in ("failed", "diverged", "killed") or not each.run:
            continue
        folder = RunFolder(study / each.run)
        forget(folder.path)
        config = parsed(folder.config.read_text(encoding="utf-8"), folder.config)
        config["paths"]["runs"] = str(study.parent)  # where it lies now
        try:
            carry_out(Spec.of(config | {"study": study.name}, each.command), WATCH)
        except Exception as error:  # the others shall have their turn; its folder keeps the reason
            say(f"{folder.path}: failed again: {failure(error)}")


if __name__ == "__main__":
    run("study", sys.argv[1:])
