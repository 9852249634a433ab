"""``ehrsynth federate``: several sites' patients -> one generator, or one synthetic table."""

import sys
from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ehrsynth.cli.console import WATCH, out, say
from ehrsynth.cli.main import run
from ehrsynth.cli.overrides import command_of
from ehrsynth.cli.tables import number, score_table
from ehrsynth.evaluation.card import catalogue
from ehrsynth.study.federate import carry_out
from ehrsynth.study.federate.carry_out import Federated, FederateSpec


def task(config: Mapping[str, Any]) -> None:
    """Train over sites, and print the scores, those by site, and where everything is."""
    command = command_of(HydraConfig.get().overrides.task).replace("ehrsynth train", "ehrsynth federate", 1)
    found = carry_out.run(FederateSpec.of(config, command), WATCH)
    if found.run is not None:
        out.print(score_table(found.run.scores(), f"{found.folder}"))
    out.print(site_table(found))
    say(f"report     {found.folder / 'report.html'}", f"synthetic  {found.folder / 'synthetic.parquet'}")
    if found.run is not None:
        say(f"checkpoint {found.run.chosen_checkpoint}")


def site_table(found: Federated) -> Table:
    """Return the headline scores of each site."""
    watched = sorted((card for card in catalogue().values() if card.short), key=lambda card: card.headline)
    shown = [card for card in watched if card.name in found.frame]
    table = Table(title="against the patients that each site held out", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("site", "patients", "table", *(f"{card.arrow} {card.short}" for card in shown)):
        table.add_column(column, justify="left" if column in ("site", "table") else "right")
    for _, row in found.frame.iterrows():
        scores = [number(row[card.name]) for card in shown]
        table.add_row(str(row["site"]), f"{row['patients']:,}", str(row["table"]), *scores)
    return table


if __name__ == "__main__":
    run("federate", sys.argv[1:])
