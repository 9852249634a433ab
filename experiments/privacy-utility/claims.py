"""What models reach at the epsilons that papers claim: ``claims.py RUNS README`` writes its tables there."""

import sys
from pathlib import Path

from curves import put_into, scores, tabled

SHOWN = {
    "privacy/epsilon": "epsilon spent",
    "fidelity/correlation_rmse": "RMSE of correlations",
    "fidelity/correlation_distance": "distance of correlations",
    "utility/tstr_auroc": "TSTR AUROC",
    "privacy/membership_auc": "membership AUC",
    "privacy/linkability": "linkability",
}

if __name__ == "__main__":
    runs, readme = map(Path, sys.argv[1:])
    for name, of in scores(runs, SHOWN).groupby("table"):
        put_into(readme, str(name), tabled(of, SHOWN))
