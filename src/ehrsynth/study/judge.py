"""How a synthetic table is judged, whoever made it: looked at beside the real ones, scored, reported."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import FileError, TableError, machine_fault
from ehrsynth.evaluation.anchors import Anchors, anchor_scores, with_anchors
from ehrsynth.evaluation.columns import at_decimals
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.required_memory import require_memory
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.suite import FittedSuite, OnStep, Suite
from ehrsynth.files import write_bytes, write_json
from ehrsynth.layout import Records
from ehrsynth.metrics.copies import Overlap, overlap
from ehrsynth.metrics.neighbours import Points
from ehrsynth.metrics.plausibility import any_of, outside_range, unseen_levels
from ehrsynth.reporting.audited import Audited
from ehrsynth.reporting.figures import report_figures
from ehrsynth.reporting.guarantee import Guarantee
from ehrsynth.reporting.html import write_html
from ehrsynth.reporting.part_figures import part_figures
from ehrsynth.reporting.parts import scores_frame, write_parts
from ehrsynth.reporting.report import build_report
from ehrsynth.reporting.style import NamedFigure
from ehrsynth.reporting.summary import Finding, alarms, summarise
from ehrsynth.schema import Schema
from ehrsynth.study.watch import NOBODY, Watch

ROLES = ("train", "holdout", "synthetic")


@dataclass(frozen=True)
class Evidence:
    """What is judged: three tables under one schema, and what was noticed about them.

    Attributes:
        real: R, H and the declared rules.
        synthetic: S.
        names: file names of the tables, or their roles, by role.
        data: SHA-256 by role, of the file or of the encoded cells.
        facts: label -> text, for the head of the report.
        warnings: what a reader must know before any number.
    """

    real: RealData
    synthetic: Records
    names: Mapping[str, str]
    data: Mapping[str, str]
    facts: Mapping[str, str]
    warnings: tuple[str, ...]


class History(NamedTuple):
    """How the generator of S was trained, for the figures.

    Attributes:
        losses: by epoch.
        scores: of the checkpoints, by epoch.
        chosen: epoch of the checkpoint that drew S.
        guidance: what more guidance does within the groups of labels, of a model that has it.
    """

    losses: pd.DataFrame | None = None
    scores: pd.DataFrame | None = None
    chosen: int | None = None
    guidance: pd.DataFrame | None = None


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The scores of one synthetic table.

    Attributes:
        scores: one per metric, with their anchors.
        evidence: what was judged.
        seed: of all draws.
        title: heading of the report.
        about: label -> text, for the head of the report.
        command: that made S, if it is known.
        history: of the generator, if it is known.
        guarantee: of a private run.
        audited: what its audit found.
    """

    scores: tuple[Score, ...]
    evidence: Evidence
    seed: int
    title: str
    about: Mapping[str, str]
    command: str | None = None
    history: History | None = None
    guarantee: Guarantee | None = None
    audited: Audited | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before any number."""
        wrong = None if self.audited is None else self.audited.contradiction
        return (*([] if wrong is None else [wrong]), *self.evidence.warnings, *alarms(self.scores))

    @property
    def findings(self) -> list[Finding]:
        """What it is, what it keeps, whether it leaks, and what is not known, in plain words."""
        return summarise(self.scores, self.to_dict()["rows"])

    def __repr__(self) -> str:
        """Say what was judged; never a patient's row."""
        names = self.evidence.names
        return f"<Evaluation of {names['synthetic']} against {names['train']}: {len(self.scores)} scores, see .frame>"

    @property
    def schema(self) -> Schema:
        """The columns, as given or inferred."""
        return self.evidence.real.schema

    @property
    def frame(self) -> pd.DataFrame:
        """One row per metric: value, 95 % interval (low, high), the three anchors, status and reason."""
        return scores_frame(self.scores)

    @cached_property
    def figures(self) -> list[NamedFigure]:
        """The pictures of the report, in their order."""
        seen = self.evidence
        drawn = report_figures(seen.real, seen.synthetic, seed=self.seed, **(self.history or History())._asdict())
        return drawn + part_figures(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``report.json``."""
        seen = self.evidence
        report = build_report(self.scores, seen.real, seen.synthetic, data=seen.data, warnings=self.warnings)
        return report if self.audited is None else {**report, "audit": self.audited.to_dict()}

    def to_html(self, path: str | Path) -> None:
        """Write the report as one file that opens offline."""
        evidence, report = self.evidence, self.to_dict()
        command = {} if self.command is None else {"command": self.command}
        write_html(
            Path(path),
            title=self.title,
            facts={**self.about, **evidence.facts},
            rows=report["rows"],
            scores=self.scores,
            figures=self.figures,
            provenance={**command, **{f"{k} version": v for k, v in report["versions"].items()}, **evidence.data},
            warnings=self.warnings,
            guarantee=self.guarantee,
            audited=self.audited,
        )

    def draw(self, folder: str | Path) -> dict[str, Path]:
        """Write the figures as PNG files and return them by name."""
        files = {figure.name: Path(folder) / f"{figure.name}.png" for figure in self.figures}
        for figure in self.figures:
            write_bytes(files[figure.name], figure.png)
        return files

    def save_scores(self, folder: str | Path) -> None:
        """Write ``report.parquet`` and, last, ``report.json``."""
        write_parts(Path(folder) / "report.parquet", self.scores)
        write_json(Path(folder) / "report.json", self.to_dict())

    def save(self, folder: str | Path) -> None:
        """Write ``report.html``, ``report.parquet`` and, last, ``report.json``.

        Raises:
            FileError: the folder cannot be written to.
            MachineError: the disk is full or fails.
        """
        with writing(folder, "the report "):
            self.to_html(Path(folder) / "report.html")
            self.save_scores(folder)


def real_rows(matrix: Matrix, held_out: str, cache: Path | None = None) -> RealData:
    """Return the training rows of a matrix beside those of another part, as they are judged.

    Args:
        matrix: opened.
        held_out: ``validation`` or ``holdout``.
        cache: where costly work on them is kept.
    """
    declared = tuple(rule.bound_to(matrix.scale) for rule in matrix.constraints)
    return RealData(matrix.scale, matrix.judged("train"), matrix.judged(held_out), declared, cache)


def examine(real: RealData, synthetic: Records, names: Mapping[str, str], data: Mapping[str, str]) -> Evidence:
    """Look at the tables before they are scored: shared rows, unknown levels, numbers out of range.

    Args:
        real: R and H.
        synthetic: S.
        names: of the files, or what to call the tables, by role.
        data: their SHA-256 by role, and that of what else they came with.

    Raises:
        TableError: H is R.
    """
    found = shared_rows(real.schema, real.train, real.holdout, names)
    shared = f"{100 * found.shared:.2f} % (by chance about {100 * found.expected:.2f} %)"
    facts = {"held-out rows equal to a training row": shared}
    for role, records in (("holdout", real.holdout), ("synthetic", synthetic)):
        for what, columns in (
            ("an unseen level", unseen_levels(real.train, records)),
            ("a gap that training lacks or a number out of the training range", outside_range(real.train, records)),
        ):
            if count := int(any_of(columns, len(records)).sum()):
                facts[f"{role} rows with {what}"] = f"{count} of {len(records)}"
    warnings = (
        f"{shared} of the held-out rows equal a training row in every cell, more than chance explains: the holdout is"
        " not independent of the training rows, and every score that uses it understates the risks to privacy",
    )
    short = {role: Path(name).name for role, name in names.items()}
    return Evidence(real, synthetic, short, data, facts, warnings if found.beyond_chance else ())


def shared_rows(schema: Schema, train: Records, holdout: Records, names: Mapping[str, str]) -> Overlap:
    """Return how many rows of H equal one of R.

    Raises:
        TableError: H is R.
    """
    rounded = (at_decimals(schema, records) for records in (train, holdout))
    found = overlap(*(Points(records.bits, records.values) for records in rounded))
    if found.same:
        raise TableError(
            f"{names['holdout']}: the same rows as {names['train']};"
            " the holdout must be real rows that the generator never saw"
        )
    return found


def judge(
    evidence: Evidence,
    suite: Suite,
    seed: int,
    watch: Watch = NOBODY,
    *,
    anchors: Callable[[FittedSuite, OnStep], Anchors] | None = None,
    title: str | None = None,
    about: Mapping[str, str] | None = None,
    command: str | None = None,
    history: History | None = None,
) -> Evaluation:
    """Score S and the three stand-ins for it.

    Args:
        evidence: what is judged.
        suite: the questions.
        seed: of all draws.
        watch: who is told what happens, and warned.
        anchors: gives the scores of the stand-ins, if they need not be computed.
        title: of the report; else the names of the tables.
        about: label -> text for its head; else the names of the tables and the seed.
        command: that made S.
        history: of its generator.

    Raises:
        MachineError: the memory is too small for it.
    """
    require_memory(suite.evaluators, evidence.real, len(evidence.synthetic))
    for warning in evidence.warnings:
        watch.warn(warning)
    with watch.steps("evaluating", 6 * len(suite.evaluators)) as step:
        fitted = suite.fit(evidence.real, seed)
        scores = fitted.score(evidence.synthetic, step)
        found = anchor_scores(fitted, step) if anchors is None else anchors(fitted, step)
    names, told = evidence.names, tuple(with_anchors(scores, found))
    for warning in alarms(told):
        watch.warn(warning)
    return Evaluation(
        told,
        evidence,
        seed,
        title or f"{names['synthetic']} against {names['train']}",
        {**names, "seed": str(seed)} if about is None else about,
        command,
        history,
    )


@contextmanager
def writing(place: str | Path, what: str = "") -> Iterator[None]:
    """Turn what a disk refuses into a ``FileError``, and what it cannot do into a ``MachineError``."""
    try:
        yield
    except OSError as error:
        if (fault := machine_fault(error)) is not None:
            raise fault from None
        raise FileError(f"{place}: {what}cannot be written ({error.strerror})") from None
