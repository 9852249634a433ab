"""A run on disk: ``runs/STUDY/MODEL/RUN_ID``, its identity and its files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth.errors import FileError
from ehrsynth.evaluation.score import Score
from ehrsynth.files import read_json
from ehrsynth.models.base import read_checkpoint, require_schema
from ehrsynth.reporting.parts import scores_frame
from ehrsynth.reporting.report import Report, read_report
from ehrsynth.schema import Schema


class _File:
    """A file of a folder, as an attribute that gives its path."""

    def __init__(self, name: str, doc: str) -> None:
        self.name = name
        self.__doc__ = doc

    def __get__(self, run: "RunFolder", owner: type) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; ``report.json`` is written last and marks it as finished."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Return a finished run.

        Raises:
            FileError: the folder is missing or its run has not finished.
        """
        run = cls(path)
        if not run.report.is_file():
            found = "an unfinished run" if run.config.is_file() else "no run"
            raise FileError(f"{path}: {found} there; give the folder of a finished one (it has a report.json)")
        return run

    config = _File("config.yaml", "The resolved configuration.")
    report = _File("report.json", "The scores; its presence means that the run is finished.")
    html = _File("report.html", "The report to open in a browser.")
    metrics = _File("metrics.csv", "One row of scores a checkpoint.")
    losses = _File("losses.csv", "One row of mean losses an epoch; models without a loss have none.")
    schema = _File("schema.json", "The columns of the synthetic table.")
    synthetic = _File("synthetic.parquet", "The synthetic table.")

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.report.is_file()

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the run: command, seeds, data, versions, the chosen checkpoint."""
        content: dict[str, Any] = read_json(self.path / "provenance.json")
        return content

    @property
    def trained(self) -> bool:
        """Whether ``train`` wrote this folder; a report of ``evaluate`` has no provenance."""
        return (self.path / "provenance.json").is_file()

    @property
    def real_data(self) -> tuple[str | None, str | None]:
        """Hashes of the training and held-out rows: scores on other rows cannot be compared."""
        data = self._content.data
        return data.get("train"), data.get("holdout")

    @property
    def frame(self) -> pd.DataFrame:
        """One row per metric: value, 95 % interval (low, high), the three anchors, status and reason."""
        return scores_frame(self.scores())

    @property
    def rows(self) -> dict[str, int]:
        """Numbers of ``train``, ``holdout`` and ``synthetic`` records."""
        return dict(self._content.rows)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before any number."""
        return self._content.warnings

    @property
    def figures(self) -> dict[str, Path]:
        """The pictures of the report, by name."""
        return {file.stem: file for file in sorted((self.path / "figures").glob("*.png"))}

    @property
    def _content(self) -> Report:
        return read_report(self.report)

    @property
    def chosen_checkpoint(self) -> Path:
        """The checkpoint the profile chose."""
        return self.path / "checkpoints" / str(self.provenance["checkpoint"])

    def scores(self) -> list[Score]:
        """Return the scores of the report."""
        return list(self._content.scores)

    def latest_checkpoint(self, schema: Schema) -> Path | None:
        """Return the newest checkpoint, to resume from.

        Raises:
            FileError: it is not readable, although files get their name only when they are complete.
            SchemaError: it comes from another schema.
        """
        found = sorted((self.path / "checkpoints").glob("epoch=*.ckpt"))
        if not found:
            return None
        require_schema(found[-1], Schema.from_dict(read_checkpoint(found[-1])["schema"]), schema)
        return found[-1]
