"""Any synthetic table against real ones: tables in, scores out.

import ehrsynth
result = ehrsynth.evaluate(train, holdout, synthetic)
print(result.frame)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth import constraints as rules
from ehrsynth.data.tables import Reading, Source, read_schema, read_tables
from ehrsynth.disclosure import LEAST
from ehrsynth.evaluation.evaluator import Evaluator, RealData
from ehrsynth.evaluation.suite import Suite
from ehrsynth.files import sha256, writable
from ehrsynth.reporting.html import PRIVACY_PAGE
from ehrsynth.schema import SUBJECT, Schema
from ehrsynth.study.build import build
from ehrsynth.study.chain import Input, append, log_in
from ehrsynth.study.conf import Choice, load
from ehrsynth.study.judge import ROLES, Evaluation, examine, judge, writing
from ehrsynth.study.noted_scores import of_report
from ehrsynth.study.spec import whole
from ehrsynth.study.watch import NOBODY, Watch

Table = pd.DataFrame | str | Path
REPORT_FILES = ("report.html", PRIVACY_PAGE, "report.json", "report.parquet")
TABLES_ASIDE = ("sex_table", "population")
PLAIN = (bool, int, float, str, type(None))  # options of an evaluator; what else it holds was made from these


def evaluate(
    train: Table,
    holdout: Table,
    synthetic: Table,
    *,
    suite: Suite | Choice = "quick",
    schema: Schema | str | Path | None = None,
    constraints: str | Path | None = None,
    subject: str = SUBJECT,
    drop: str | Sequence[str] = (),
    outcomes: str | Sequence[str] = (),
    min_level: int = LEAST,
    sensitive: str | Sequence[str] | None = None,
    sex_table: str | Path | None = None,
    population: str | Path | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    out: str | Path | None = None,
    watch: Watch = NOBODY,
) -> Evaluation:
    """Score a synthetic table against real ones.

    Args:
        train: R, the rows the generator was trained on: a table, or a file of one (CSV or Parquet).
        holdout: H, real rows it never saw.
        synthetic: S.
        suite: ``quick``, ``full``, a YAML file of your own, or a suite.
        schema: the columns, or their ``schema.json``; inferred from R without it.
        constraints: ``constraints.json`` of a matrix folder.
        subject: the column that names the subject of a row; no metric sees it.
        drop: columns to leave out; one alone needs no list, here as below.
        outcomes: outcome columns of an inferred schema, for the utility metrics.
        min_level: levels of an inferred schema become ``other`` if fewer rows of R have them, since schema and scores
            name them; 1 keeps all.
        sensitive: columns to form subgroups by; None takes the schema's sensitive and demographic ones, age in bands.
        sex_table: CSV of codes that one sex alone can have, such as the phecode sex restrictions.
        population: table of the population that R was drawn from, for identity disclosure.
        seed: of all draws.
        cache: folder that keeps costly work on the real rows; as private as they are.
        out: folder for ``report.html`` and the rest, and for the schema if it was inferred.
        watch: who is told what happens.

    Raises:
        InputError: a table or an option is wrong; the message says which, and what would be right.
    """
    seed = whole("seed", seed)
    for place, folder in (("out", out), ("cache", cache)):
        if folder is not None:
            writable(place, Path(folder))
    options = {
        "sensitive": None if sensitive is None else _listed(sensitive),
        "sex_table": sex_table,
        "population": population,
    }
    chosen = suite if isinstance(suite, Suite) else load_suite(suite, options)
    known = schema if schema is None or isinstance(schema, Schema) else Schema.load(Path(schema))
    reading = Reading(
        known, subject, tuple(_listed(drop)), tuple(_listed(outcomes)), whole("min_level", min_level, least=1)
    )
    sources = {role: Source.of(role, table) for role, table in zip(ROLES, (train, holdout, synthetic), strict=True)}
    found = read_schema(sources["train"], reading)
    chosen.check(found)
    if known is None:
        if out is not None:
            file = Path(out) / "schema.json"
            with writing(file):
                found.save(file)
        watch.schema(found)
    tables = read_tables(sources, found, reading)
    records = [tables.records[role] for role in ROLES]
    declared = () if constraints is None else rules.load(Path(constraints), tables.schema)
    real = RealData(tables.schema, records[0], records[1], declared, None if cache is None else Path(cache))
    hashes = {
        role: own.digest().hex() if sources[role].file is None else sha256(Path(str(sources[role].file)))
        for role, own in zip(ROLES, records, strict=True)
    }
    evidence = examine(real, records[2], {role: source.name for role, source in sources.items()}, hashes)
    for fact, text in evidence.facts.items():
        watch.say(f"{fact}: {text}")
    evaluation = judge(evidence, chosen, seed, watch)
    if out is not None:
        evaluation.save(out)
        given = {"schema": schema, "constraints": constraints, **{name: options[name] for name in TABLES_ASIDE}}
        files = {name: Path(file) for name, file in given.items() if isinstance(file, str | Path)}
        read = {role: Input(hashes[role], sources[role].file) for role in ROLES}
        _note(Path(out), evaluation, chosen, reading, read | {name: Input.of(file) for name, file in files.items()})
    return evaluation


def _note(out: Path, evaluation: Evaluation, suite: Suite, reading: Reading, read: Mapping[str, Input]) -> None:
    """Go on with the log of the folder of a report."""
    questions = [options_of(each) for each in suite.evaluators]
    asked = {"subject": reading.subject, "drop": reading.drop, "outcomes": reading.outcomes}
    names = [*REPORT_FILES, *(["schema.json"] if reading.schema is None else [])]
    append(
        log_in(out),
        "evaluate",
        options={"suite": questions, **asked, "min_level": reading.min_level, "seed": evaluation.seed},
        inputs=read,
        outputs={name: sha256(out / name) for name in names},
        scores={"report.json": of_report(evaluation.to_dict())},
    )


def options_of(question: Evaluator[Any, Any]) -> dict[str, object]:
    """Return what a question is, and its options, for the log."""
    plain = {name: value for name, value in vars(question).items() if isinstance(value, PLAIN)}
    return {"question": type(question).__name__, **plain}


def load_suite(name: Choice, options: Mapping[str, object] | None = None) -> Suite:
    """Return a suite.

    Args:
        name: of the file in ``conf/suite``, or a YAML file of one's own.
        options: what its interpolations ask for: ``sensitive``, ``sex_table``, ``population``.

    Raises:
        OptionError: there is none of that name.
    """
    suite: Suite = build(load("suite", name, **(options or {})), "suite")
    return suite


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
