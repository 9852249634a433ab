"""What a synthetic table is worth to each site: scores against the site's own patients, held out from all training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ehrsynth.chunks import write_table
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.table_files import read_table
from ehrsynth.files import sha256
from ehrsynth.study.build import build
from ehrsynth.study.chain import append, log_in
from ehrsynth.study.federate.sites import Site
from ehrsynth.study.judge import real_rows
from ehrsynth.study.spec import Spec
from ehrsynth.study.watch import Watch

FILE = "sites.csv"
Tables = Mapping[str, Path | Mapping[str, Path]]  # by what they are called; of some, one a site


def per_site(spec: Spec, sites: Sequence[Site], tables: Tables, watch: Watch) -> pd.DataFrame:
    """Score tables by the quick suite, once against each site.

    Args:
        spec: whose quick suite it is.
        sites: with their real rows.
        tables: synthetic ones, under the columns of the sites.
        watch: who is told what happens.

    Returns:
        One row a site and table: ``site``, ``patients``, ``table``, and a column a metric.
    """
    suite, seed = build(spec.evaluation["quick"], "evaluation.quick"), spec.evaluation["seed"]
    rows = []
    with watch.steps("scoring by site", len(sites)) as step:
        for site in sites:
            step(site.name)
            real = real_rows(site.matrix, "holdout")
            fitted, encoder = suite.fit(real, seed), Encoder(real.schema)
            for name, table in tables.items():
                file = table[site.name] if isinstance(table, Mapping) else table
                scores = fitted.score(encoder.encode(read_table(file)))
                row = {"site": site.name, "patients": site.patients, "table": name}
                rows.append({**row, **{score.metric: score.value for score in scores}})
    return pd.DataFrame(rows)


def note_sites(folder: Path, spec: Spec, sites: Sequence[Site], tables: Tables, watch: Watch) -> pd.DataFrame:
    """Write ``sites.csv`` into the folder of a run, or read the one that is there."""
    file = folder / FILE
    if not file.is_file():
        write_table(file, per_site(spec, sites, tables, watch))
        asked = {"suite": spec.evaluation["quick"], "seed": spec.evaluation["seed"]}
        append(log_in(folder), "federate", options=asked, outputs={FILE: sha256(file)})
    return pd.read_csv(file)
