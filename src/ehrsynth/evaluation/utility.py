"""Utility: does a model trained on synthetic patients work on real ones?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.fidelity import JMIR
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics import boosting
from ehrsynth.metrics.classification import auprc, auroc, f1_at_share, normal
from ehrsynth.seeding import derive

Importance = NDArray[np.float64]  # mean |SHAP| per feature

MODEL = "LightGBM with the tutorial's settings, all columns but the outcomes as features; mean over the binary outcomes"


def _card(measure: str, trained_on: str, definition: str, reading: str) -> Card:
    arm, table = ("trtr", "R") if trained_on == "real" else ("tstr", "S")
    return Card(
        name=f"utility/{arm}_{measure}",
        direction="higher",
        low=0,
        high=1,
        definition=f"{definition} on H of a model trained on {table} ({MODEL}).",
        reading=reading,
        paper=JMIR,
    )


REAL_NOTE = "The same for every synthetic table: what real training data reach, and so the mark for tstr."
CARDS = {
    "trtr": {
        "auroc": _card("auroc", "real", "Area under the ROC curve (interval: DeLong)", REAL_NOTE),
        "auprc": _card("auprc", "real", "Average precision (interval: logit)", REAL_NOTE),
        "f1": _card("f1", "real", "F1, calling positive as many as R has,", REAL_NOTE),
    },
    "tstr": {
        "auroc": _card(
            "auroc",
            "synthetic",
            "Area under the ROC curve (interval: DeLong)",
            "How well a model that saw only synthetic patients ranks real ones by risk; 0.5 is a coin. One outcome and"
            " one kind of model: other tasks may fare differently, and calibration is not judged.",
        ),
        "auprc": _card(
            "auprc",
            "synthetic",
            "Average precision (interval: logit)",
            "The same question for a rare outcome: how pure is the top of the ranking. Its floor is the prevalence,"
            " not 0.5.",
        ),
        "f1": _card(
            "f1",
            "synthetic",
            "F1, calling positive as many as S has,",
            "The same model at one working point. It suffers when the outcome is too frequent or too rare in S.",
        ),
    },
}
OVERLAP = Card(
    name="utility/feature_importance_overlap",
    direction="higher",
    low=0,
    high=1,
    definition="Share in common of the 20 features with the largest mean |SHAP| on rows of H (drawn at random), of"
    " the models trained on R and on S; mean over the binary outcome columns.",
    reading="Would a model trained on synthetic data explain itself by the same features? The order within the 20"
    " does not count, and features that stand for each other may swap.",
    paper=JMIR,
)


class OutcomePrediction(Evaluator):
    """Predict each binary outcome of H after training on R, and on S.

    Args:
        rounds: trees; 2000 as published.
        max_rows: to train on, drawn at random; None takes all.
        explained_rows: of H, for the SHAP values; 0 leaves the overlap out.
    """

    uses_holdout = True

    def __init__(self, *, rounds: int = 2000, max_rows: int | None = None, explained_rows: int = 500) -> None:
        self.rounds = rounds
        self.max_rows = max_rows
        self.explained_rows = explained_rows
        performance = tuple(card for arm in CARDS.values() for card in arm.values())
        self.cards = (*performance, OVERLAP) if explained_rows else performance

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Train on R and test on H."""
        names = {column.name for column in real.schema.outcomes}
        fields = real.layout.fields
        outcomes = [i for i, field in enumerate(fields) if field.column in names and field.kind == "bit"]
        features = [i for i, field in enumerate(fields) if field.column not in names]
        if not outcomes:
            others = ", ".join(f"{column.name!r} is {column.kind}" for column in real.schema.outcomes)
            raise NotApplicableError(
                f"the schema has no binary column with the role outcome{others and f' ({others})'}"
            )
        for table, records in (("training", real.train), ("held-out", real.holdout)):
            if constant := _constant(records, outcomes):
                raise NotApplicableError(f"outcome {constant!r} is constant in the {table} rows")
        test = _features(real.holdout, features)
        truths = [real.holdout.bits[:, outcome].numpy() for outcome in outcomes]
        explained = _features(capped(real.holdout, self.explained_rows, seed, "explained"), features)

        def train_and_test(records: Records, arm: str, seed: int) -> tuple[dict[str, Value], list[Importance]]:
            drawn = capped(records, self.max_rows, seed, "utility")
            x, trees = _features(drawn, features), derive(seed, "trees") % 2**31
            performance, importances = [], []
            for outcome, truth in zip(outcomes, truths, strict=True):
                y = drawn.bits[:, outcome].numpy()
                model = boosting.fit_trees(x, y, self.rounds, trees)
                performance.append(_performance(truth, np.asarray(model.predict(test)), float(y.mean())))
                if self.explained_rows:
                    importances.append(boosting.importance(model, explained))
            cards = CARDS[arm]
            return {cards[key].name: _mean([found[key] for found in performance]) for key in cards}, importances

        benchmark, expected = train_and_test(real.train, "trtr", seed)

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            if constant := _constant(capped(synthetic, self.max_rows, seed, "utility"), outcomes):
                reason = Undefined(f"outcome {constant!r} is constant in the synthetic rows")
                return {card.name: benchmark.get(card.name, reason) for card in self.cards}
            values, found = train_and_test(synthetic, "tstr", seed)
            if self.explained_rows:
                overlaps = [boosting.top_overlap(r, s) for r, s in zip(expected, found, strict=True)]
                values[OVERLAP.name] = Value(float(np.mean(overlaps)))
            return {**benchmark, **values}

        return score


def _performance(truth: NDArray[np.uint8], risk: NDArray[np.float64], share: float) -> dict[str, Value]:
    """Return the value of each measure for one outcome; ``share`` of the records are called positive."""
    return {
        "auroc": Value(*normal(*auroc(truth, risk))),
        "auprc": Value(*auprc(truth, risk)),
        "f1": Value(f1_at_share(truth, risk, share)),
    }


def _mean(values: Sequence[Value]) -> Value:
    """Average over outcomes; the interval as if their errors were fully correlated, so never too narrow."""
    intervals = [value.ci for value in values if value.ci]
    low, high = np.mean(intervals, axis=0) if intervals else (0.0, 0.0)
    return Value(float(np.mean([value.value for value in values])), (float(low), float(high)) if intervals else None)


def _features(records: Records, columns: Sequence[int]) -> NDArray[np.float32]:
    return np.asarray(records.dense()[:, columns].numpy())


def _constant(records: Records, columns: Sequence[int]) -> str | None:
    """Return the name of the first column that is the same in all records."""
    for column in columns:
        if records.bits[:, column].unique().numel() < 2:
            return records.layout.names[column]
    return None
