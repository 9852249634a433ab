"""Patients through time of any generator against real ones: MEDS folders or long tables in, scores out.

import ehrsynth
result = ehrsynth.evaluate_trajectories("train", "holdout", "synthetic")   # folders of MEDS, or files
print(result.frame)
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ehrsynth.data.foreign_visits import Foreign, Patients, made_alike, read_alike
from ehrsynth.disclosure import LEAST
from ehrsynth.evaluation.anchors import anchor_scores, with_anchors
from ehrsynth.evaluation.suite import Suite
from ehrsynth.files import sha256, writable
from ehrsynth.study.chain import Input, append, log_in
from ehrsynth.study.conf import Choice
from ehrsynth.study.evaluate import REPORT_FILES, Table, load_suite, options_of
from ehrsynth.study.judge import ROLES, Evaluation, examine, judge
from ehrsynth.study.noted_scores import of_report
from ehrsynth.study.spec import whole
from ehrsynth.study.through_time import Judged
from ehrsynth.study.watch import NOBODY, Watch


def evaluate_trajectories(
    train: Table,
    holdout: Table,
    synthetic: Table,
    *,
    suite: Suite | Choice = "quick",
    temporal: Suite | Choice = "temporal_quick",
    min_patients: int = LEAST,
    seed: int = 0,
    out: str | Path | None = None,
    watch: Watch = NOBODY,
) -> Evaluation:
    """Score synthetic patients through time against real ones, as rows and by their visits.

    Args:
        train: R, the patients the generator was trained on: a folder of MEDS, or a long table ``id, time, visit_codes``
            with perhaps ``labels``, or its file.
        holdout: H, real patients it never saw.
        synthetic: S.
        suite: what is asked of the patients as rows: ``quick``, ``full``, a YAML file of your own, or a suite.
        temporal: what is asked of their visits, likewise: ``temporal_quick``, ``temporal``, ...
        min_patients: training patients that must have a code; others are left out, since reports name codes.
        seed: of all draws.
        out: folder for ``report.html`` and the rest.
        watch: who is told what happens.

    Raises:
        InputError: a table or an option is wrong; the message says which, and what would be right.
    """
    seed, least = whole("seed", seed), whole("min_patients", min_patients, least=1)
    if out is not None:
        writable("out", Path(out))
    suites = {"suite": suite, "temporal": temporal}
    asked = {name: one if isinstance(one, Suite) else load_suite(one) for name, one in suites.items()}
    given = read_alike(dict(zip(ROLES, (train, holdout, synthetic), strict=True)))
    data = made_alike(given, least)
    real = Judged(data, "holdout")
    asked["suite"].check(real.rows.schema)
    asked["temporal"].check(real.visits.schema)
    rows = real.rows_of(data.records("synthetic"), data.visits("synthetic"))
    names, hashes = ({role: of(one) for role, one in given.items()} for of in (lambda one: one.name, _digest))
    evidence = examine(real.rows, rows, names, hashes)
    evidence = replace(evidence, facts={**evidence.facts, **_facts(data, given)})
    for fact, text in evidence.facts.items():
        watch.say(f"{fact}: {text}")
    evaluation = judge(evidence, asked["suite"], seed, watch)
    with watch.steps("evaluating visits", 7 * len(asked["temporal"].evaluators)) as step:
        fitted = asked["temporal"].fit(real.visits, seed)
        scores = with_anchors(fitted.score(data.visits("synthetic"), step), anchor_scores(fitted, step))
    evaluation = replace(evaluation, scores=(*evaluation.scores, *scores))
    if out is not None:
        evaluation.save(out)
        questions = {name: [options_of(each) for each in one.evaluators] for name, one in asked.items()}
        read = {f"{role}/{i}": Input.of(file) for role, one in given.items() for i, file in enumerate(one.files)}
        append(
            log_in(Path(out)),
            "evaluate",
            options={"form": "trajectories", **questions, "min_patients": least, "seed": seed},
            inputs=read,
            outputs={name: sha256(Path(out) / name) for name in REPORT_FILES},
            scores={"report.json": of_report(evaluation.to_dict())},
        )
    return evaluation


def _facts(data: Patients, given: Mapping[str, Foreign]) -> dict[str, str]:
    """Return what was read, and what was left out of it."""
    facts = {}
    for role, one in given.items():
        visits = data.visits(role)
        by = {True: ", by the stays that its rows name", False: ", one for each day", None: ""}[one.stays]
        facts[f"{role} patients"] = f"{len(visits):,} with {visits.count:,} visits{by}"
        if data.strange[role]:
            share = 100 * data.strange[role] / len(one.rows)
            facts[f"{role} entries with a code that is not common in training"] = f"{share:.2f} % of {len(one.rows):,}"
    return facts


def _digest(one: Foreign) -> str:
    """Return the SHA-256 of a file as it is, of several that of theirs, and of a table in memory that of its rows."""
    if len(one.files) == 1:
        return sha256(one.files[0])
    content = [sha256(file) for file in one.files] or [one.rows.to_csv(index=False)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
