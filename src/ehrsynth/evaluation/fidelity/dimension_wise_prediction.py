"""Fidelity of the relations that make a code predictable from the rest of the record."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.evaluation.groups import needs_two_rows
from ehrsynth.evaluation.subsets import capped, code_columns
from ehrsynth.layout import Records
from ehrsynth.metrics.dimension_wise_prediction import agreement, code_f1, design_matrix, entropy
from ehrsynth.metrics.intervals import t_mean
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points
from ehrsynth.metrics.prevalence import prevalence
from ehrsynth.seeding import derive

CARDS = Cards.beside(__file__)
PREDICTION, GAP = CARDS["fidelity/dimension_wise_prediction"], CARDS["fidelity/dimension_wise_prediction_gap"]


@dataclass(kw_only=True)
class DimensionWisePrediction(Evaluator):
    """Whether codes can be predicted from the rest of the record as in real data.

    Args:
        codes: how many of the most entropic codes to predict.
        max_rows: to train on, drawn at random from R and from S; None takes all.
    """

    cards = (PREDICTION, GAP)
    uses_holdout = True
    codes: int = 30
    max_rows: int | None = 20_000

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Train on R and test on H."""
        candidates = code_columns(real.schema, real.layout)
        if len(candidates) < 3:
            raise NotApplicableError(f"the schema has {len(candidates)} codes; a correlation needs at least 3")
        information = entropy(prevalence(real.train.bits)[candidates])
        codes = [candidates[int(i)] for i in information.argsort(descending=True, stable=True)[: self.codes]]
        means = observed_means(real.train.values)
        test = design_matrix(Points.of(real.holdout, means))

        def f1(records: Records, seed: int) -> NDArray[np.float64]:
            train = capped(records, self.max_rows, seed, "prediction")
            return code_f1(design_matrix(Points.of(train, means)), test, codes, derive(seed, "solver") % 2**32)

        key = {"work": "dimension-wise prediction", "codes": self.codes, "max_rows": self.max_rows, "seed": seed}
        expected = real.memory.array(key, lambda: f1(real.train, seed))
        names = [real.layout.names[code] for code in codes]

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            found = f1(synthetic, seed)
            parts = {
                (kind, name): Value(float(value))
                for kind, side in (("f1_real", expected), ("f1_synthetic", found))
                for name, value in zip(names, side, strict=True)
            }
            return {
                PREDICTION.name: Value(*agreement(expected, found), parts),
                GAP.name: Value(*t_mean(expected - found, GAP.low, GAP.high)),
            }

        return score
