"""How far numbers are from training rows when they are drawn through states, beside held-out patients.

    python experiments/hard-case/through_states.py MATRIX [MOST]

For ranges of the law with atoms (``law_of``) and of the even one (``quantiles``): the mean over numbers of the
Wasserstein distance to training rows, in units of their range, of as many drawn rows as there are held-out ones, states
at their training frequencies; the same with the training rows' own states, so that only the draw within a range is
left; and the share of drawn numbers that no training row has. Means of ``DRAWS`` draws.

Then held-out rows through states and back, how they go together left as it is: AUROC of the discriminator and records
that break rules, as they are and repaired. Means of ``JUDGED`` draws.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import wasserstein_distance

from ehrsynth.constraints import Rules
from ehrsynth.constraints.policy import Policy, enforced
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.matrix import Matrix
from ehrsynth.evaluation.evaluator import RealData, Value
from ehrsynth.evaluation.fidelity.discriminator import Discriminator
from ehrsynth.layout import Records
from ehrsynth.models.law import law_of
from ehrsynth.models.quantiles import quantiles
from ehrsynth.models.states import States, edges_of

DRAWS = 30
JUDGED = 5
POLICIES: tuple[Policy, ...] = ("keep", "repair")


def main(folder: str, most: str = "32") -> None:
    """Print the table."""
    matrix = Matrix.open(Path(folder))
    train, encoder = matrix.records("train"), Encoder(matrix.schema)
    numbers = [column.name for column in matrix.schema.columns if column.numeric]
    real = {name: matrix.train[name].dropna().to_numpy(float) for name in numbers}
    generator = torch.Generator().manual_seed(0)

    def scores(table: pd.DataFrame) -> tuple[float, float]:
        made = {name: table[name].dropna().to_numpy(float) for name in numbers}
        far = [wasserstein_distance(real[name], made[name]) / np.ptp(real[name]) for name in numbers]
        return float(np.mean(far)), float(np.mean([1 - np.isin(made[name], real[name]).mean() for name in numbers]))

    def show(what: str, found: list[tuple[float, float]]) -> None:
        print(
            f"{what:40} Wasserstein {np.mean(found, 0)[0]:.6f}   numbers of no training row {np.mean(found, 0)[1]:.4f}"
        )

    show("held-out patients", [scores(matrix.holdout)])
    for name, law in (("law_of", law_of(train, matrix.schema)), ("quantiles", quantiles(train))):
        states = States(train.layout, law, edges_of(train, law, int(most)))
        own = torch.cat(list(states.blocks(train)))
        for shuffled in (True, False):
            found = []
            for _ in range(DRAWS):
                chosen = own
                if shuffled:
                    chosen = own.gather(
                        0, torch.randint(len(own), (len(matrix.holdout), own.shape[1]), generator=generator)
                    )
                rows = states.records(chosen, generator, None)
                found.append(scores(encoder.decode(Records.of_dense(train.layout, rows).with_gaps())))
            show(f"{name}, states {'at their frequencies' if shuffled else 'of training'}", found)
    law = law_of(train, matrix.schema)
    judge(matrix, States(train.layout, law, edges_of(train, law, int(most))), generator)


def judge(matrix: Matrix, states: States, generator: torch.Generator) -> None:
    """Print what becomes of held-out rows."""
    train, holdout, encoder = matrix.records("train"), matrix.records("holdout"), Encoder(matrix.schema)
    rules, real = Rules(matrix.constraints, matrix.schema), RealData(matrix.schema, train, holdout)

    def auroc(records: Records) -> float:
        found = [Discriminator().fit(real, seed)(records, seed) for seed in range(JUDGED)]
        values = [value for scores in found for value in scores.values() if isinstance(value, Value)]
        return float(np.mean([value.value for value in values]))

    print(f"held-out patients                    AUROC {auroc(holdout):.3f}")
    rows = states.records(states.of(holdout), generator, None)
    for policy in POLICIES:
        kept = enforced(policy, rules, rows)
        made = encoder.encode(encoder.decode(Records.of_dense(train.layout, kept.rows).with_gaps()))
        print(
            f"the same through states, {policy:8} AUROC {auroc(made):.3f}"
            f"   records that break a rule {rules.broken(made.dense()).float().mean():.4f}"
            f"   cells changed in each {kept.changed.float().mean():.3f}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
