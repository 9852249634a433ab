"""What canaries show of audited runs: ``audits.py RUNS OUT`` writes audits.csv, audits.png and a table into README."""

import sys
from pathlib import Path

from curves import drawn, put_into, scores, tabled, with_earlier

BOUNDS = {
    "privacy/audit_mechanism": "at least, by weights",
    "privacy/audit_release": "at least, by release",
}
SHOWN = {"privacy/epsilon": "epsilon spent"} | BOUNDS

if __name__ == "__main__":
    runs, out = map(Path, sys.argv[1:])
    found = scores(runs, SHOWN)
    if found.empty:
        sys.exit(f"{runs}: no finished runs")
    found = with_earlier(found, out / "audits.csv")
    drawn(found, out / "audits.png", BOUNDS)
    put_into(out / "README.md", "audits", tabled(found, SHOWN))
