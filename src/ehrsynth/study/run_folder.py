"""A run on disk: ``runs/STUDY/MODEL/RUN_ID``, its files, and whether they are the ones that were written."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth.callbacks.evaluate import checkpoints_of
from ehrsynth.errors import FileError
from ehrsynth.evaluation.score import Score
from ehrsynth.files import as_json, read_object, sha256, write_json, write_text
from ehrsynth.models.base import read_checkpoint, require_schema, schema_of
from ehrsynth.reporting.parts import scores_frame
from ehrsynth.reporting.report import Report, read_report
from ehrsynth.schema import Schema
from ehrsynth.study import noted_scores
from ehrsynth.study.chain import LOG, Input, append, log_in
from ehrsynth.words import printable

PROVENANCE, MANIFEST = "provenance.json", "manifest.json"
FACTS = {"model": str, "variant": str, "seed": int, "matrix": {"folder": str}}  # of provenance, which all who ask need
FILE_NAMES = re.compile(
    r"(checkpoints/|figures/|synthetic/(data|metadata)/)?[\w=+-][\w=+.-]*", re.ASCII
)  # names of files that a run writes
MENDED = "the same `ehrsynth train` makes it again"
BY_EARLIER_VERSIONS = ("config.yaml", "schema.json", "metrics.csv", "synthetic.parquet", "report.html", "card.md")


class _File:
    """A file of a folder, as an attribute that gives its path."""

    def __init__(self, name: str, doc: str) -> None:
        self.name = name
        self.__doc__ = doc

    def __get__(self, run: "RunFolder", owner: type) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; ``report.json`` is written last and marks it as finished.

    Before it comes ``manifest.json``, the SHA-256 of every file of the run. Whoever uses a finished run asks for the
    files it needs by ``require``, so that none is believed that was damaged or exchanged. It is no signature: who
    writes a manifest too can still forge a run. ``log.jsonl`` binds the run to its matrix; see ``verify``.
    """

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
    canaries = _File("canaries.json", "How the coins fell by which canaries of an audit became training rows.")
    visits = _File("visits.json", "What visits are made of, of a run over patients through time.")
    constraints = _File("constraints.json", "The rules of its data.")
    targets = _File("targets.npz", "Counts of training rows that records can be calibrated to.")
    sites = _File("sites.json", "Who took part in a federated training, and when somebody fell out.")
    synthetic = _File("synthetic.parquet", "The synthetic table.")
    synthetic_visits = _File("synthetic", "The synthetic patients through time, a MEDS dataset.")
    pruned = _File("pruned.json", "The names of checkpoints that were removed when the choice was made.")
    manifest = _File(MANIFEST, "The SHA-256 of every other file.")

    @property
    def shown(self) -> str:
        """The path as it can be written down: the name of a folder need not be UTF-8."""
        return printable(str(self.path))

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.report.is_file()

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the run: command, seeds, data, versions, the chosen checkpoint."""
        return self.facts(**FACTS)

    def facts(self, **wanted: Any) -> dict[str, Any]:
        """Return the provenance.

        Args:
            wanted: what must be in it, as ``read_object`` takes it.

        Raises:
            FileError: it is missing or malformed.
        """
        return read_object(self.path / PROVENANCE, **wanted)

    @property
    def trained(self) -> bool:
        """Whether ``train`` wrote this folder; a report of ``evaluate`` has none of these."""
        return any((self.path / name).exists() for name in (PROVENANCE, MANIFEST, "checkpoints"))

    @property
    def hashes(self) -> dict[str, str] | None:
        """The SHA-256 of every file as it was written; None for a run of a version that kept none.

        Raises:
            FileError: the manifest is malformed, or missing though there was one.
        """
        if not self.manifest.is_file() and not (self._provenance_names_a_manifest()):
            return None
        files: dict[str, str] = read_object(self.manifest, files=dict)["files"]
        if not all(FILE_NAMES.fullmatch(name) for name in files):
            raise FileError(f"{self.manifest}: names files that no run writes; {MENDED}")
        return files

    def _provenance_names_a_manifest(self) -> bool:
        return (self.path / PROVENANCE).is_file() and "manifest" in self.facts()

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
    def contradiction(self) -> str | None:
        """What an audit says against the epsilon that the run claims; None if there is nothing, or no audit."""
        audit = self.facts().get("audit")
        found = audit.get("contradiction") if isinstance(audit, Mapping) else None
        return None if found is None else printable(str(found))

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
        file = self.path / PROVENANCE
        name = str(self.facts(checkpoint=str)["checkpoint"])
        if not FILE_NAMES.fullmatch(f"checkpoints/{name}"):
            raise FileError(f"{file}: checkpoint: found {name[:80]!r}; the name of a file in checkpoints/ was expected")
        return self.path / "checkpoints" / name

    @property
    def handed_over(self) -> Path:
        """The synthetic table, or the folder of synthetic patients through time."""
        return self.synthetic_visits if self.visits.is_file() else self.synthetic

    def scores(self) -> list[Score]:
        """Return the scores of the report."""
        return list(self._content.scores)

    def finish(self, report: Mapping[str, Any], options: Mapping[str, Any], inputs: Mapping[str, Input]) -> None:
        """Write down what every file of the run holds, note the step and then, last of all, write ``report.json``.

        Args:
            report: its content.
            options: of the run, for its log.
            inputs: what it was made from, likewise.
        """
        text = as_json(report)
        hashes = {name: sha256(self.path / name) for name in self._written()}
        hashes[self.report.name] = hashlib.sha256(text.encode()).hexdigest()
        write_json(self.manifest, {"version": 1, "files": hashes})
        scores = {self.report.name: noted_scores.of_report(report)}
        if self.metrics.is_file():
            scores[self.metrics.name] = noted_scores.of_checkpoints(self.metrics)
        outputs = {**hashes, self.manifest.name: sha256(self.manifest)}
        removed = dict.fromkeys(f"checkpoints/{name}" for name in self._given_up())
        append(
            log_in(self.path), "train", options=options, inputs=inputs, outputs={**removed, **outputs}, scores=scores
        )
        write_text(self.report, text)

    def prune(self, checkpoints: Sequence[str]) -> None:
        """Remove checkpoints that are candidates no more, and note their names: the others can be resumed from."""
        write_json(self.pruned, {"checkpoints": list(checkpoints)})
        for name in checkpoints:
            (self.path / "checkpoints" / name).unlink(missing_ok=True)

    def _written(self) -> list[str]:
        below = ("checkpoints", "figures", "synthetic/data", "synthetic/metadata")
        folders = (self.path, *(self.path / name for name in below))
        files = [path for folder in folders for path in sorted(folder.glob("*")) if path.is_file()]
        names = [path.relative_to(self.path).as_posix() for path in files]
        apart = (self.manifest.name, self.report.name, LOG)
        return [name for name in names if FILE_NAMES.fullmatch(name) and name not in apart]

    def _given_up(self) -> list[str]:
        """Return the names of checkpoints that were removed when the choice was made."""
        return list(read_object(self.pruned, checkpoints=list)["checkpoints"]) if self.pruned.is_file() else []

    def require(self, *files: Path) -> None:
        """Make sure that files of a finished run are there and as they were written.

        Raises:
            FileError: one is missing, altered, or leads out of the folder.
        """
        hashes = self.hashes
        for file in files:
            if not Path(realpath(file)).is_relative_to(realpath(self.path)):  # resolve() stumbles over loops
                raise FileError(f"{file}: leads out of the run folder; copy what it stands for into its place")
            if not file.is_file():
                raise FileError(f"{file}: no such file; the run has one, and {MENDED}")
            if hashes is not None and sha256(file) != hashes.get(file.relative_to(self.path).as_posix()):
                raise FileError(f"{file}: not as the run wrote it (sha256 differs); remove it, and {MENDED}")

    def missing(self) -> list[str]:
        """Return what a finished run lacks; ``train`` makes it again.

        Raises:
            FileError: a file that is there is not as it was written.
        """
        if not self.manifest.is_file() and self._provenance_names_a_manifest():
            return [MANIFEST]
        hashes = self.hashes
        names = [PROVENANCE, *BY_EARLIER_VERSIONS] if hashes is None else sorted(hashes)
        absent = [name for name in names if not (self.path / name).is_file()]
        self.require(*(self.path / name for name in names if name not in absent))
        if hashes is None and PROVENANCE not in absent and not self.chosen_checkpoint.is_file():
            absent.append(f"checkpoints/{self.chosen_checkpoint.name}")
        return absent

    def latest_checkpoint(self, schema: Schema, say: Callable[[str], None]) -> Path | None:
        """Return the newest checkpoint that is sound and lacks none of those before it, to resume from.

        Args:
            schema: of the run.
            say: is told why a newer one is not taken.

        Raises:
            SchemaError: it comes from another schema.
        """
        found = sorted((self.path / "checkpoints").glob("epoch=*.ckpt"))
        given_up = self._given_up()
        for path in reversed(found):
            try:
                content = read_checkpoint(path)
                require_schema(path, schema_of(path, content), schema)
                before = _before(path, content)
            except FileError as error:  # although files get their name only when they are complete
                say(f"{error}; training goes on from the checkpoint before it")
                continue
            absent = [name for name in before if name not in given_up and not path.with_name(name).is_file()]
            if not absent:
                return path
            say(f"{path.with_name(absent[0])}: no such file; training goes on from the checkpoint before it")
        return None


def _before(path: Path, checkpoint: Mapping[str, Any]) -> list[str]:
    """Return the names of a checkpoint and of those before it, as they stand in the one at ``path``."""
    try:
        names = checkpoints_of(checkpoint)
    except (AttributeError, LookupError, TypeError):
        names = [""]
    if not all(FILE_NAMES.fullmatch(f"checkpoints/{name}") for name in names):
        raise FileError(f"{path}: does not name the checkpoints before it")
    return names
