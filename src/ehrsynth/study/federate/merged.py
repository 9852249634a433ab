"""Sites that send no weights: each trains a model of its own and generates its share, and the tables are put together.

It asks for one message a site, works for any model, and with ``privacy=dp`` each site trains privately. A patient is at
one site, so what is spent on a patient is what that site has spent: of all of them the most (McSherry, Privacy
Integrated Queries, SIGMOD 2009, theorem 4, parallel composition).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth.chunks import write_table
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.table_files import read_table
from ehrsynth.files import write_json
from ehrsynth.ledger import LEDGER, Ledger
from ehrsynth.seeding import numpy_rng
from ehrsynth.study import train
from ehrsynth.study.build import build
from ehrsynth.study.evaluate import evaluate
from ehrsynth.study.federate.sites import Site
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import Spec
from ehrsynth.study.watch import Watch

SYNTHETIC, REPORT, SITES = "synthetic.parquet", "report.json", "sites.json"


def merged(spec: Spec, by: str | None, matrix: Matrix, sites: Sequence[Site], watch: Watch) -> tuple[Path, list[Path]]:
    """Train at each site, put the synthetic tables together, and judge what comes of it.

    Returns:
        The folder of the merged table with its report, and the tables of the sites.

    Raises:
        InputError, TrainingError: of a training.
    """
    total = sum(site.patients for site in sites)
    runs = []
    for site in sites:
        watch.say(f"site {site.name}: {site.patients:,} training patients")
        n = None if spec.n is None else max(1, round(spec.n * site.patients / total))
        name = {"_name_": f"{spec.model_name}_local"}
        own = replace(spec, model={**spec.model, **name}, n=n, federation={"by": by, "site": site.name})
        runs.append(train.run(own, watch))
    digest = hashlib.sha256(" ".join(run.path.name for run in runs).encode()).hexdigest()[:10]
    folder = train.study_folder(spec) / f"{spec.model_name}_merged" / digest
    tables = [run.synthetic for run in runs]
    if not (folder / REPORT).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        table = pd.concat(map(read_table, tables), ignore_index=True)
        order = numpy_rng(spec.seed, "merged").permutation(len(table))  # or the place of a row would tell its site
        write_table(folder / SYNTHETIC, table.iloc[order])
        write_json(folder / SITES, _facts(sites, runs))
        evaluate(
            matrix.folder / "train.parquet",
            matrix.folder / "holdout.parquet",
            folder / SYNTHETIC,
            suite=build(spec.evaluation["full"], "evaluation.full"),
            schema=matrix.schema,
            constraints=matrix.folder / "constraints.json",
            seed=spec.evaluation["seed"],
            out=folder,
            watch=watch,
        )
    return folder, tables


def _facts(sites: Sequence[Site], runs: Sequence[RunFolder]) -> dict[str, Any]:
    ledgers = [run.facts().get(LEDGER) for run in runs]
    own = [
        {"site": site.name, "patients": site.patients, "run": run.path.name, LEDGER: ledger}
        for site, run, ledger in zip(sites, runs, ledgers, strict=True)
    ]
    return {"version": 1, "method": "merged", "sites": own, "privacy": _spent(ledgers)}


def _spent(noted: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Return what was spent on any patient at most; None unless every site trained privately."""
    ledgers = [Ledger.from_dict(one) for one in noted if one is not None]
    if len(ledgers) < len(noted):
        return None
    unaccounted = sorted({what for ledger in ledgers for what in ledger.unaccounted})
    most = max(ledger.spent.value for ledger in ledgers)
    return {
        "rule": "parallel composition: a patient is at one site, so the most of the sites",
        "epsilon": None if unaccounted else most,
        "epsilon of the trainings": most,
        "delta": max(ledger.delta for ledger in ledgers),
        "unaccounted": unaccounted,
    }
