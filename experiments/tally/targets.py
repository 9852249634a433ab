"""Hold Tally's runs against what was aimed at: a table of each aim, its value over seeds, and fresh real patients.

    python experiments/tally/targets.py RUNS KIND [--model tally] [--into README.md --name codes]

RUNS is the folder of a study; KIND is ``codes`` or ``mixed``. A value is the mean over seeds and, in brackets, the
least and the largest. An aim is met in a run as the words say; how many do stands last. What a table does not have
stands in no row. Slopes of calibration are of boosted trees that learn each outcome from synthetic rows, or for *fresh
real* from training rows, and are asked about held-out patients.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from ehrsynth.data.encoding import Encoder
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.table_files import read_table
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.utility.outcomes import Problem, Trees
from ehrsynth.study.rank import find_runs
from ehrsynth.study.run_folder import RunFolder

sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
from table import line, put_into

TREES = 300, 0.05, None  # as in conf/suite/full.yaml
FLOOR = 1e-6  # of a predicted probability
Met = Callable[[float, Score], bool]


class Aim(NamedTuple):
    """A metric, what is aimed at in words, and whether a value meets it."""

    metric: str
    words: str
    met: Met


def fresh(score: Score) -> float:
    """Return what fresh real patients score."""
    value = score.anchors.get("fresh_real")
    return float("nan") if value is None else value


def at_most(limit: float) -> Met:
    """Return whether a value is at most ``limit``."""
    return lambda value, score: value <= limit


def above_fresh(more: float) -> Met:
    """Return whether a value is at most ``more`` above that of fresh real patients."""
    return lambda value, score: value <= fresh(score) + more


def holds_fresh(value: float, score: Score) -> bool:
    """Return whether fresh real patients lie in the score's interval."""
    return score.ci is not None and score.ci[0] <= fresh(score) <= score.ci[1]


def not_above_zero(value: float, score: Score) -> bool:
    """Return whether a score's interval reaches down to zero."""
    return score.ci is not None and score.ci[0] <= 0


PRIVACY = [
    *(
        Aim(f"privacy/membership_{name}auc", "at most fresh real + 0.003", above_fresh(0.003))
        for name in ("", "density_", "classifier_")
    ),
    *(
        Aim(f"privacy/{name}_excess", "not above zero beyond its interval", not_above_zero)
        for name in ("attribute_f1", "copies")
    ),
]
AIMS = {
    "codes": [
        Aim("fidelity/apd", "no worse than fresh real", above_fresh(0)),
        Aim("fidelity/correlation_distance", "no worse than fresh real", above_fresh(0)),
        Aim("fidelity/nonzero_columns", "all", lambda value, score: value == 1),
        *(
            Aim(f"fidelity/latent_deviation_ln{k}", "within 0.15 of fresh real", lambda v, s: abs(v - fresh(s)) <= 0.15)
            for k in ("", "_k20")
        ),
        Aim("fidelity/concept_abundance", "at most 0.005", at_most(0.005)),
        Aim("fidelity/dimension_wise_prediction", "at least 0.998", lambda value, score: value >= 0.998),
        Aim("fidelity/discriminator_auc", "at most 0.51", at_most(0.51)),
        *(
            Aim(f"fidelity/{name}", "fresh real in its interval", holds_fresh)
            for name in ("rare_pair_lift_error_1pct", "precision", "recall", "density", "coverage")
        ),
        *PRIVACY,
    ],
    "mixed": [
        *(
            Aim(
                f"utility/tstr_auroc{name}", "at most 0.01 below TRTR", lambda v, s: v >= s.anchors["train_copy"] - 0.01
            )
            for name in ("", "_logistic", "_mlp")
        ),
        Aim("validity/knowledge_violation", "at most 0.001", at_most(0.001)),
        Aim("fidelity/wasserstein", "at most 1.5 times fresh real", lambda value, score: value <= 1.5 * fresh(score)),
        Aim("fidelity/discriminator_auc", "at most 0.53", at_most(0.53)),
        *PRIVACY,
    ],
}


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", type=Path)
    arguments.add_argument("kind", choices=sorted(AIMS))
    arguments.add_argument("--model", default="tally")
    arguments.add_argument("--into", type=Path)
    arguments.add_argument("--name")
    asked = arguments.parse_args()
    runs = sorted(find_runs(f"{asked.runs}/{asked.model}/*"), key=lambda run: run.provenance["seed"])
    scores = [{score.metric: score for score in run.scores()} for run in runs]
    lines = [line("metric", ["aim", asked.model, "fresh real", "met"]), line("---", ["---"] * 4)]
    for aim in AIMS[asked.kind]:
        found = [(s.value, s) for own in scores if (s := own[aim.metric]).value is not None]
        if not found:  # such as one-sex codes, of a table that has none
            continue
        values = np.array([value for value, _ in found])
        met = sum(aim.met(value, score) for value, score in found)
        lines.append(row(aim.metric, aim.words, values, fresh(found[0][1]), f"{met} of {len(runs)}"))
    if asked.kind == "mixed":
        slopes = np.array([slope for run in runs for slope in calibration(run, synthetic=True)])
        real = float(np.mean(calibration(runs[0], synthetic=False)))
        met = int(((slopes >= 0.9) & (slopes <= 1.1)).sum())
        lines.append(row("calibration slope (TSTR)", "0.9 to 1.1", slopes, real, f"{met} of {len(slopes)}"))
    seconds = [run.provenance["seconds"] for run in runs]
    told = ", ".join(f"{each['train']:.0f} and {each['generate']:.0f}" for each in seconds)
    text = "\n".join([*lines, "", f"Seconds to train, checkpoints included, and to draw, by seed: {told}."]) + "\n"
    if asked.into:
        put_into(asked.into, asked.name or asked.kind, text)
    print(text)


def row(metric: str, words: str, values: NDArray[np.float64], real: float, met: str) -> str:
    """Return a line of the table; of a slope the real one is of a model that real rows taught."""
    spread = f"{values.mean():.4g} ({values.min():.4g} to {values.max():.4g})"
    return line(metric.split("/")[-1], [words, spread, f"{real:.4g}", met])


def calibration(run: RunFolder, synthetic: bool) -> list[float]:
    """Return the slope of each outcome's log odds among held-out patients, as its rows or training rows teach it."""
    matrix = Matrix.open(Path(run.provenance["matrix"]["folder"]))
    problem, trees = Problem(RealData(matrix.schema, matrix.records("train"), matrix.records("holdout"))), Trees(*TREES)
    if synthetic:
        trained = trees.on_synthetic(problem, Encoder(matrix.schema).encode(read_table(run.synthetic)))
    else:
        trained = trees.on_real(problem)
    if isinstance(trained, str):
        raise SystemExit(f"{run.path}: {trained}")
    found = []
    for chance, truth in zip(trained.risks, problem.truths, strict=True):
        odds = logit(np.clip(chance, FLOOR, 1 - FLOOR))[:, None]
        found.append(float(LogisticRegression(C=np.inf).fit(odds, truth).coef_[0, 0]))
    return found


if __name__ == "__main__":
    main()
