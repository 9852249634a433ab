"""Evaluation from Python: tables in, scores out; ``ehrsynth evaluate`` is a shell around it.

import ehrsynth
result = ehrsynth.evaluate(train, holdout, synthetic)
print(result.frame)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ehrsynth import constraints as rules
from ehrsynth.cli.launch import conf_dir
from ehrsynth.data.tables import Reading, Source, Tables, read_schema, read_tables
from ehrsynth.errors import FileError, OptionError, TableError
from ehrsynth.evaluation.anchors import anchor_scores, with_anchors
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.score import ANCHORS, Score
from ehrsynth.evaluation.suite import OnStep, Suite
from ehrsynth.files import sha256, write_json
from ehrsynth.layout import Records
from ehrsynth.metrics.neighbours import Points
from ehrsynth.metrics.overlap import overlap
from ehrsynth.metrics.ranges import any_of, outside_range, unseen_levels
from ehrsynth.reporting.gallery import report_figures
from ehrsynth.reporting.html import write_html
from ehrsynth.reporting.part_gallery import part_figures
from ehrsynth.reporting.parts import write_parts
from ehrsynth.reporting.report import build_report
from ehrsynth.reporting.summary import Finding, summarise
from ehrsynth.schema import SUBJECT, Schema

ROLES = ("train", "holdout", "synthetic")
Table = pd.DataFrame | str | Path


@dataclass(frozen=True)
class Evidence:
    """What is judged: three tables under one schema, and what was noticed while they were read.

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


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The scores of one synthetic table.

    Attributes:
        scores: one per metric, with their anchors.
        cards: what the metrics mean.
        evidence: what was judged.
        seed: of all draws.
    """

    scores: tuple[Score, ...]
    cards: tuple[Card, ...]
    evidence: Evidence
    seed: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before any number."""
        return self.evidence.warnings

    @property
    def findings(self) -> list[Finding]:
        """What it is, what it keeps, whether it leaks, and what is not known, in plain words."""
        records = {"train": self.evidence.real.train, "holdout": self.evidence.real.holdout}
        rows = {role: len(table) for role, table in {**records, "synthetic": self.evidence.synthetic}.items()}
        return summarise(self.scores, rows)

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
        rows = [
            {
                "metric": score.metric,
                "value": score.value,
                "low": score.ci[0] if score.ci else None,
                "high": score.ci[1] if score.ci else None,
                **{anchor: score.anchors.get(anchor) for anchor in ANCHORS},
                "direction": score.direction,
                "status": score.status,
                "reason": score.reason,
            }
            for score in self.scores
        ]
        numbers = ["value", "low", "high", *ANCHORS]
        return pd.DataFrame(rows).set_index("metric").astype(dict.fromkeys(numbers, float))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``report.json``."""
        seen = self.evidence
        return build_report(self.scores, seen.real, seen.synthetic, data=seen.data, warnings=seen.warnings)

    def to_html(self, path: str | Path) -> None:
        """Write the report as one file that opens offline."""
        evidence, report = self.evidence, self.to_dict()
        write_html(
            Path(path),
            title=f"{evidence.names['synthetic']} against {evidence.names['train']}",
            facts={**evidence.names, "seed": str(self.seed), **evidence.facts},
            rows=report["rows"],
            scores=self.scores,
            cards=self.cards,
            figures=report_figures(evidence.real, evidence.synthetic, seed=self.seed) + part_figures(self.scores),
            provenance={**{f"{k} version": v for k, v in report["versions"].items()}, **evidence.data},
            warnings=self.warnings,
        )

    def save(self, folder: str | Path) -> None:
        """Write ``report.html``, ``report.parquet`` and, last, ``report.json``.

        Raises:
            FileError: the folder cannot be written to.
        """
        folder = Path(folder)
        try:
            self.to_html(folder / "report.html")
            write_parts(folder / "report.parquet", self.scores)
            write_json(folder / "report.json", self.to_dict())
        except OSError as error:
            raise FileError(f"{folder}: the report cannot be written ({error.strerror})") from None


def evaluate(
    train: Table,
    holdout: Table,
    synthetic: Table,
    *,
    suite: str | Suite = "quick",
    schema: Schema | str | Path | None = None,
    constraints: str | Path | None = None,
    subject: str = SUBJECT,
    drop: Sequence[str] = (),
    outcomes: Sequence[str] = (),
    sensitive: Sequence[str] | None = None,
    sex_table: str | Path | None = None,
    population: str | Path | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
) -> Evaluation:
    """Score a synthetic table against real ones.

    Args:
        train: R, the rows the generator was trained on: a table, or a file of one (CSV or Parquet).
        holdout: H, real rows it never saw.
        synthetic: S.
        suite: ``quick``, ``full``, or a suite of your own.
        schema: the columns, or their ``schema.json``; inferred from R without it.
        constraints: ``constraints.json`` of a matrix folder.
        subject: the column that names the subject of a row; no metric sees it.
        drop: columns to leave out.
        outcomes: outcome columns of an inferred schema, for the utility metrics.
        sensitive: columns to form subgroups by; None takes the schema's sensitive and demographic ones, age in bands.
        sex_table: CSV of codes that one sex alone can have, such as the phecode sex restrictions.
        population: table of the population that R was drawn from, for identity disclosure.
        seed: of all draws.
        cache: folder that keeps costly work on the real rows; as private as they are.

    Raises:
        InputError: a table or an option is wrong; the message says which, and what would be right.
    """
    options = {"sensitive": sensitive and list(sensitive), "sex_table": sex_table, "population": population}
    chosen = suite if isinstance(suite, Suite) else load_suite(suite, options)
    known = schema if schema is None or isinstance(schema, Schema) else Schema.load(Path(schema))
    reading = Reading(known, subject, tuple(drop), tuple(outcomes))
    sources = {role: Source.of(role, table) for role, table in zip(ROLES, (train, holdout, synthetic), strict=True)}
    tables = read_tables(sources, read_schema(sources["train"], reading), reading)
    evidence = examine(
        tables, sources, None if constraints is None else Path(constraints), None if cache is None else Path(cache)
    )
    return judge(evidence, chosen, seed)


def load_suite(name: str, options: Mapping[str, object] | None = None) -> Suite:
    """Return a suite that ships.

    Args:
        name: of the file in ``conf/suite``.
        options: what its interpolations ask for: ``sensitive``, ``sex_table``, ``population``.

    Raises:
        OptionError: there is none of that name.
    """
    path = conf_dir() / "suite" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise OptionError(f"suite={name}: no such suite; use one of {', '.join(known)}")
    suite: Suite = instantiate(OmegaConf.create({**(options or {}), "suite": OmegaConf.load(path)}).suite)
    return suite


def examine(
    tables: Tables, sources: Mapping[str, Source], constraints: Path | None = None, cache: Path | None = None
) -> Evidence:
    """Look at the tables before they are scored: shared rows, unknown levels, numbers out of range.

    Raises:
        TableError: H is R.
        InputError: the file of constraints is not readable or does not fit the schema.
    """
    train, holdout, synthetic = (tables.records[role] for role in ROLES)
    declared = () if constraints is None else rules.load(constraints, tables.schema)
    real = RealData(tables.schema, train, holdout, declared, cache)
    found = overlap(Points(train.bits, train.values), Points(holdout.bits, holdout.values))
    if found.same:
        raise TableError(
            f"{sources['holdout'].name}: the same rows as {sources['train'].name};"
            " the holdout must be real rows that the generator never saw"
        )
    shared = f"{100 * found.shared:.2f} % (by chance about {100 * found.expected:.2f} %)"
    facts = {"held-out rows equal to a training row": shared}
    for role in ROLES[1:]:
        for what, columns in (
            ("an unseen level", unseen_levels(train, tables.records[role])),
            (
                "a gap that training lacks or a number out of the training range",
                outside_range(train, tables.records[role]),
            ),
        ):
            if count := int(any_of(columns, len(tables.records[role])).sum()):
                facts[f"{role} rows with {what}"] = f"{count} of {len(tables.records[role])}"
    warnings = (
        f"{shared} of the held-out rows equal a training row in every cell, more than chance explains: the holdout is"
        " not independent of the training rows, and every score that uses it understates the risks to privacy",
    )
    hashes = {role: _hash(source, tables.records[role]) for role, source in sources.items()}
    names = {role: Path(source.name).name for role, source in sources.items()}
    return Evidence(real, synthetic, names, hashes, facts, warnings if found.beyond_chance else ())


def judge(evidence: Evidence, suite: Suite, seed: int, on_step: OnStep | None = None) -> Evaluation:
    """Score S and the three stand-ins for it."""
    fitted = suite.fit(evidence.real, seed)
    scores = fitted.score(evidence.synthetic, seed, on_step)
    anchored = with_anchors(scores, anchor_scores(fitted, seed, on_step))
    return Evaluation(tuple(anchored), suite.cards, evidence, seed)


def _hash(source: Source, records: Records) -> str:
    if source.file is not None:
        return sha256(source.file)
    return records.digest().hex()
