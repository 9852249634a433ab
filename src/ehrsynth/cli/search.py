"""``ehrsynth search``: trials of settings of a model, and the winners in full."""

import re
import sys
from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ehrsynth.cli.console import WATCH, out, say
from ehrsynth.cli.main import run
from ehrsynth.cli.overrides import command_of
from ehrsynth.cli.tables import number
from ehrsynth.study import search
from ehrsynth.study.search.record import winners_of
from ehrsynth.study.search.spec import SearchSpec

OWN = re.compile(r"[+~]{0,2}(trials|seconds|workers|winners|search)(\.|=|$)")  # what ``train`` does not take


def task(config: Mapping[str, Any]) -> None:
    """Search, and print the winners, and where their reports and the page of the search are."""
    overrides = [text for text in HydraConfig.get().overrides.task if not OWN.match(text)]
    found = search.run(SearchSpec.of(config, command_of(overrides)), WATCH)
    searched = found.searched
    table = Table(title=f"{searched.model}: {searched.budget}", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("trial", "score", *searched.objectives):
        table.add_column(column, justify="right")
    table.add_column("winners, as one would type them", overflow="fold")
    for _, trial in winners_of(searched).iterrows():
        scores = [number(trial[name]) for name in ("score", *searched.objectives)]
        table.add_row(str(trial["trial"]), *scores, str(trial["options"]))
    table.caption = "on validation patients; the best of many trials looks better than it is, so read its report"
    out.print(table)
    for folder in found.runs:
        drawn = folder.synthetic_visits if folder.visits.is_file() else folder.synthetic
        say(f"winner's report  {folder.html}", f"synthetic data   {drawn}")
    say(f"search page      {found.page}")


if __name__ == "__main__":
    run("search", sys.argv[1:])
