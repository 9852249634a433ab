"""Every table against the patients that each site held out: ``python table.py RUNS MODEL OUT.csv``."""

import sys
from pathlib import Path

import pandas as pd

from ehrsynth.data.matrix import Matrix
from ehrsynth.study.conf import parsed
from ehrsynth.study.federate.per_site import per_site
from ehrsynth.study.federate.sites import sites_of
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import Spec
from ehrsynth.study.watch import NOBODY

SHOWN = [
    "utility/tstr_auroc",
    "fidelity/dimension_wise_distance",
    "fidelity/correlation_distance",
    "privacy/membership_auc",
]


def scored(study: Path, model: str) -> pd.DataFrame:
    """Return one row a site and table of a study: those that ``federate`` has scored, and the pooled model's."""
    averaged, pooled = (RunFolder(_one(study / name)) for name in (f"{model}_fedavg", model))
    spec = Spec.of(parsed(averaged.config.read_text(encoding="utf-8"), averaged.config), "")
    matrix = Matrix.open(Path(averaged.facts(matrix={"folder": str})["matrix"]["folder"]))
    assert spec.federation is not None
    sites = sites_of(matrix, spec.federation["by"])
    tables = {"pooled": pooled.synthetic, "real training rows": matrix.folder / "train.parquet"}
    parts = [per_site(spec, sites, tables, NOBODY)]
    parts += [pd.read_csv(_one(study / f"{model}_{method}") / "sites.csv") for method in ("fedavg", "merged")]
    return pd.concat(parts).assign(study=study.name)


def _one(folder: Path) -> Path:
    return next(file.parent for file in folder.glob("*/report.json"))


if __name__ == "__main__":
    runs, model, out = sys.argv[1:]
    found = pd.concat([scored(Path(study), model) for study in sorted(Path(runs).iterdir()) if study.name[0] != "."])
    found = found[["study", "site", "patients", "table", *SHOWN]]
    found.sort_values(["study", "patients", "site"], ascending=[True, False, True]).round(4).to_csv(out, index=False)
    print(found.pivot_table(index=["study", "patients", "site"], columns="table", values=SHOWN).round(3).to_string())
