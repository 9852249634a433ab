"""What an offline run of W&B holds, read back from its file as `wandb sync` would send it."""

import json
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Any


class WandbFile:
    """The only offline run of a run folder.

    Attributes:
        folder: that W&B made for it.
        records: all that was recorded.
    """

    def __init__(self, run: Path) -> None:
        (file,) = run.glob("wandb/offline-run-*/*.wandb")
        self.folder = file.parent
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self.records = [json.loads(line) for line in said.splitlines()]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the contents of the records of a kind."""
        return [record[kind] for record in self.records if record["type"] == kind]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration."""
        first, *later = [
            update
            for record in (*self.of("run"), *self.of("config"))
            for update in [record.get("config", record).get("update", {})]
        ]
        return {**first, **{key: value for update in later for key, value in update.items()}}

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The summary as it is in the end."""
        return {key: value for record in self.of("summary") for key, value in record["update"].items()}

    @property
    def exit_code(self) -> int:
        """With which the run ended."""
        return int(self.of("exit")[-1].get("exit_code", 0))

    def by_epoch(self, metric: str) -> list[tuple[int, float]]:
        """Return epochs and values of a metric, one for each time it was logged."""
        rows = [record["item"] for record in self.of("history")]
        return [(row["epoch"], row[metric]) for row in rows if metric in row]
