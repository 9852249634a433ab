"""Hold the runs of a study of patients through time against each other: a table of what tells most, and who is ahead.

    python experiments/trajectories/targets.py RUNS [--ours chronicle] [--into README.md --name equal]

RUNS is the folder of a study, as ``runs/trajectories/runs/equal``. A value is the mean over seeds; *fresh real* are
held-out patients, *order shuffled* the same with what their visits hold permuted within each patient. A model is ahead
of another if its value is nearer to that of fresh real patients; of scores of privacy, and of what tells real from
synthetic, if it is the better one by its direction. What the runs do not have stands in no row.
"""

import argparse
import sys
from pathlib import Path
from statistics import fmean

from ehrsynth.evaluation.score import ORDER_SHUFFLED, Score
from ehrsynth.study.rank import find_runs

sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
from table import line, put_into

OTHERS = "halo", "markov"
R2 = "visit_unigram", "record_unigram", "visit_bigram", "record_bigram", "sequential_bigram"
SHOWN = (
    *(f"temporal/halo_{name}_r2" for name in (*R2, "record_sequential_bigram")),
    *(f"temporal/{name}" for name in ("pairs_rare_r2", "sequences_rare_r2", "pairs_missed", "sequences_missed")),
    *(f"temporal/{name}" for name in ("gaps_ks", "gaps_wasserstein", "span_ks", "visits_ks", "codes_per_visit_ks")),
    *(f"temporal/{name}" for name in ("codes_by_visit_number", "codes_kept", "codes_new")),
    *(f"temporal/{name}" for name in ("persistence_r2", "persistence_error", "asymmetry", "discriminator_auc")),
)
BY_DIRECTION = ("temporal/discriminator_auc", "privacy/")  # where nearer to fresh real is not what is wanted
Found = dict[str, list[dict[str, Score]]]  # of each model, the scores of each run


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", type=Path)
    arguments.add_argument("--ours", default="chronicle")
    arguments.add_argument("--into", type=Path)
    arguments.add_argument("--name", default="equal")
    asked = arguments.parse_args()
    text = table(runs_of(asked.runs), asked.ours)
    if asked.into:
        put_into(asked.into, asked.name, text)
    print(text)


def runs_of(folder: Path) -> Found:
    """Return the scores of the finished runs of a study by model."""
    found: Found = {}
    for run in find_runs(f"{folder}/*/*"):
        found.setdefault(run.path.parent.name, []).append({score.metric: score for score in run.scores()})
    return found


def table(found: Found, ours: str) -> str:
    """Return the table in markdown.

    Raises:
        SystemExit: no run is of the model that is ours.
    """
    if ours not in found:
        raise SystemExit(f"no finished run of {ours!r}; there are some of {', '.join(sorted(found))}")
    models = [ours, *sorted(set(found) - {ours})]
    others = [name for name in OTHERS if name in found]
    heads = [*models, "fresh real", "order shuffled", *(f"ahead of {name}" for name in others)]
    lines = [line("", heads), line("---", ["---"] * len(heads))]
    ahead, asked = dict.fromkeys(others, 0), dict.fromkeys(others, 0)
    every = {name for runs in found.values() for own in runs for name in own}
    for metric in [*SHOWN, *sorted(name for name in every if name.startswith("privacy/"))]:
        scores = [own[metric] for runs in found.values() for own in runs if metric in own]
        values = {name: mean([own[metric].value for own in runs if metric in own]) for name, runs in found.items()}
        if all(value is None for value in values.values()):
            continue
        fresh, shuffled = (mean([s.anchors.get(name) for s in scores]) for name in ("fresh_real", ORDER_SHUFFLED))
        verdicts = []
        for name in others:
            better = is_ahead(scores[0], values[ours], values[name], fresh)
            verdicts.append("" if better is None else "yes" if better else "no")
            ahead[name] += better is True
            asked[name] += better is not None
        told = [*(values[name] for name in models), fresh, shuffled]
        lines.append(line(metric, [*("" if v is None else f"{v:.4g}" for v in told), *verdicts]))
    counts = "; ".join(f"of {name} in {ahead[name]} of {asked[name]}" for name in others)
    runs = ", ".join(f"{len(found[name])} of {name}" for name in models)
    return "\n".join([*lines, "", f"Runs: {runs}." + (f" {ours} is ahead {counts}." if others else "")]) + "\n"


def mean(values: list[float | None]) -> float | None:
    """Return the mean of what is known, None if nothing is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def is_ahead(score: Score, ours: float | None, other: float | None, fresh: float | None) -> bool | None:
    """Return whether our value is the better one; None if that cannot be said."""
    if ours is None or other is None or score.card.role not in ("score", "attack"):
        return None
    if score.metric.startswith(BY_DIRECTION):
        return ours < other if score.direction == "lower" else ours > other
    return None if fresh is None else abs(ours - fresh) < abs(other - fresh)


if __name__ == "__main__":
    main()
