"""A run on disk: ``runs/STUDY/MODEL/RUN_ID``, its identity and its files."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ehrsynth.errors import FileError
from ehrsynth.evaluation.score import Score
from ehrsynth.files import read_json
from ehrsynth.models.base import read_checkpoint, require_schema
from ehrsynth.reporting.report import read_report
from ehrsynth.schema import Schema

PREPARED_BY = ("source", "cohort", "features", "preprocess", "split", "constraints")  # the fingerprint stands for them
# Where results go and who is told of them does not change what they are.
NOT_IDENTITY = ("paths", "logger", "study", "experiment", *PREPARED_BY)


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

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def report(self) -> Path:
        """The scores; its presence means that the run is finished."""
        return self.path / "report.json"

    @property
    def html(self) -> Path:
        """The report to open in a browser."""
        return self.path / "report.html"

    @property
    def metrics(self) -> Path:
        """One row of scores a checkpoint."""
        return self.path / "metrics.csv"

    @property
    def schema(self) -> Path:
        """The columns of the synthetic table."""
        return self.path / "schema.json"

    @property
    def losses(self) -> Path:
        """One row of mean losses an epoch; models without a loss have none."""
        return self.path / "losses.csv"

    @property
    def synthetic(self) -> Path:
        """The synthetic table."""
        return self.path / "synthetic.parquet"

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
        data = read_report(self.report).data
        return data.get("train"), data.get("holdout")

    @property
    def chosen_checkpoint(self) -> Path:
        """The checkpoint the profile chose."""
        return self.path / "checkpoints" / str(self.provenance["checkpoint"])

    def scores(self) -> list[Score]:
        """Return the scores of the report."""
        return list(read_report(self.report).scores)

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


def identity(config: Mapping[str, Any], fingerprint: str) -> str:
    """Return the run's identity: a hash of the resolved config, minus loggers and paths, and of the data.

    Args:
        config: resolved configuration.
        fingerprint: of the matrix, which stands for the folder it happens to lie in.
    """
    kept = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    data = kept["data"]
    kept["data"] = {"fingerprint": fingerprint, "batch_size": data["batch_size"], "drop_last": data["drop_last"]}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:10]


def variant(config: Mapping[str, Any], fingerprint: str) -> str:
    """Return the identity without the seed: runs that share it are repetitions of one another."""
    return identity({**config, "seed": None}, fingerprint)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as plain containers with every interpolation resolved."""
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
