"""Whether generators reproduce what the simulated hospital has planted: who dies, who comes again, and when.

    python experiments/trajectories/planted.py RUNS [--n 20000] [--into README.md]

RUNS is the folder of a study over trajectories of ``source=demo_visits``. Each model's first run draws ``n`` patients
from its chosen checkpoint. What is read off their records stands beside what is read off those of training and held-out
patients; s is the severity of a visit as ``ehrsynth.data.hospital_visits`` has it, by what was coded until then:

    dies, by s and by age    log odds that a visit is the one in which the patient dies, by s and by 15 years of age
    comes again, by s        log odds that another visit follows, of those who do not die in it
    log gap, by s            change of the logarithm of the days until then
    season                   amplitude over the year of how many visits there are, first ones aside
    season of influenza      the same of visits with J10
    begins, by log gap       log odds that a chronic condition begins, by the logarithm of the days since the last visit
    diabetes ahead           AUROC of HbA1c for diabetes within a year, of those who never had it coded

Planted are DEATH_SEVERITY, DEATH_AGE, for gaps -GAP_SLOPE, SEASON, and hazards that are steady over a gap, which is 1;
what records show of gaps is less, for follow-up ends.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score

from ehrsynth.data.hospital_visits import ACUTE, CHRONIC, PEAK, YEAR, severity
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.metrics.temporal.tasks import comes_within
from ehrsynth.models.visits.base import load_visit_model, sampled
from ehrsynth.visits import DAY, UNKNOWN, Visits, VisitSchema

sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
from table import first_runs, line, put_into

WORDS = (
    "dies, by s",
    "dies, by age",
    "comes again, by s",
    "log gap, by s",
    "season",
    "season of influenza",
    "begins, by log gap",
    "diabetes ahead",
)


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", type=Path)
    arguments.add_argument("--n", type=int, default=20_000)
    arguments.add_argument("--into", type=Path)
    arguments.add_argument("--name", default="planted")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    runs, folder = first_runs(asked.runs)
    data = Trajectories.open(folder, ("train", "holdout"))
    lines = [line("", list(WORDS)), line("---", ["---"] * len(WORDS))]
    for part in ("train", "holdout"):
        lines.append(line(f"*{part}*", cells(data.visits(part), data.visit_schema)))
    for name, run in sorted(runs.items()):
        model = load_visit_model(run.chosen_checkpoint, data.schema, data.visit_schema)
        drawn = Visits.joined(visits for _, visits in sampled(model, asked.n, seed=0))
        lines.append(line(name, cells(drawn, data.visit_schema)))
    text = "\n".join(lines) + "\n"
    if asked.into:
        put_into(asked.into, asked.name, text)
    print(text)


def cells(visits: Visits, schema: VisitSchema) -> list[str]:
    """Return what the records of some patients show."""
    return [f"{value:.2f}" for value in dynamics(visits, schema)]


def dynamics(visits: Visits, schema: VisitSchema) -> list[float]:
    """Return a number for each of ``WORDS``."""
    coded = pd.DataFrame(False, index=range(visits.count), columns=[*CHRONIC, *ACUTE])
    for name in coded:
        places = [place for place, code in enumerate(schema.codes) if code.name.endswith(f"_{name}")]
        coded.loc[visits.visit_of_code[np.isin(visits.codes, places)], name] = True
    begun = coded[[*CHRONIC]].groupby(visits.patient).cummax()
    weights = pd.Series({name: severity([name]) for name in coded})
    grave = (coded[[*ACUTE]] * weights[[*ACUTE]]).max(axis=1)
    s = (begun @ weights[[*CHRONIC]] + grave).to_numpy()
    age = (visits.starts - visits.born[visits.patient]) / DAY / YEAR
    last = np.append(visits.patient[1:] != visits.patient[:-1], True)
    died = visits.died[visits.patient]
    dies = last & (died != UNKNOWN) & (died // DAY <= visits.ends // DAY)
    dying = LogisticRegression(C=np.inf).fit(np.stack([s, (age - 60) / 15], axis=1), dies).coef_[0]
    again = LogisticRegression(C=np.inf).fit(s[~dies, None], ~last[~dies]).coef_[0, 0]
    before = np.flatnonzero(~last)
    days = np.maximum((visits.starts[before + 1] - visits.ends[before]) / DAY, 0.5)
    gap = LinearRegression().fit(s[before, None], np.log(days)).coef_[0]
    later = visits.number > 0
    flu = coded["J10"].to_numpy()
    had = begun.groupby(visits.patient).shift(fill_value=False)
    waited = np.log(np.maximum(visits.gaps[later], 0.5))
    could = [(~had[name][later].to_numpy(), coded[name][later].to_numpy()) for name in CHRONIC]
    gaps, began = (np.concatenate(part) for part in zip(*((waited[who], new[who]) for who, new in could), strict=True))
    begins = LogisticRegression(C=np.inf).fit(gaps[:, None], began).coef_[0, 0]
    return [
        *map(float, dying),
        float(again),
        float(gap),
        amplitude(visits.starts[later]),
        amplitude(visits.starts[flu]),
        float(begins),
        ahead(visits, coded["E11"].to_numpy(), begun["E11"].to_numpy(), schema),
    ]


def ahead(visits: Visits, coded: NDArray[np.bool_], begun: NDArray[np.bool_], schema: VisitSchema) -> float:
    """Return how well HbA1c ranks visits without diabetes so far by whether it is coded within a year."""
    [test] = [place for place, one in enumerate(schema.measurements) if "A1c" in one.name]
    here = visits.measured == test
    value = np.full(visits.count, np.nan)
    value[visits.visit_of_value[here]] = visits.values[here]
    asked = ~begun & np.isfinite(value)
    return float(roc_auc_score(comes_within(visits, coded, YEAR)[asked], value[asked]))


def amplitude(starts: NDArray[np.int64]) -> float:
    """Return a of 1 + a cos(2 pi (day - PEAK) / YEAR), the day counted from the first of a January."""
    angle = 2 * np.pi * (starts / DAY - PEAK) / YEAR
    return float(2 * np.cos(angle).mean()) if len(angle) else float("nan")


if __name__ == "__main__":
    main()
