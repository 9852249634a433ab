"""Held-out records cut off at a visit and continued by a model: do events come to whom, and when, they came?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Card, Cards
from ehrsynth.evaluation.evaluator import Value
from ehrsynth.evaluation.score import Score
from ehrsynth.metrics.classification import auroc
from ehrsynth.metrics.grouped import groups_of
from ehrsynth.metrics.intervals import normal
from ehrsynth.metrics.replicates import jackknife
from ehrsynth.metrics.temporal.next_visit import fit_logistic, history, linear
from ehrsynth.metrics.temporal.reshaped import first_visits
from ehrsynth.visits import DAY, UNKNOWN, Integers, Visits, VisitSchema

CARDS = Cards.beside(__file__)
CONTINUED, LOGISTIC = CARDS["temporal/continuation_auroc"], CARDS["temporal/continuation_logistic_auroc"]
LEAST = 10  # patients to whom an event comes within a horizon, and does not, for it to be asked
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class CutOff:
    """Records that are cut off after some of their visits.

    Attributes:
        visits: of n patients, whole.
        lengths: [n], visits that are known; 1 or more.
        patients: [n], their places in the table they come from.
    """

    visits: Visits
    lengths: Integers
    patients: Integers

    @classmethod
    def of(cls, visits: Visits, most: int, rng: np.random.Generator) -> "CutOff":
        """Draw at most ``most`` patients that have a visit, and for each after which of them to cut."""
        patients = rng.permutation(np.flatnonzero(visits.per_patient > 0))[:most]
        some = visits.of_patients(patients)
        return cls(some, 1 + rng.integers(some.per_patient), patients)

    @property
    def known(self) -> Visits:
        """The visits up to the cut; of a death nobody knows yet."""
        return replace(first_visits(self.visits, self.lengths), died=np.full(len(self.visits), UNKNOWN))

    def before(self, schema: VisitSchema, codes: Integers) -> Numbers:
        """Return the history up to the cut, [n, p]."""
        return np.asarray(history(self.visits, schema, codes)[self.visits.offsets[:-1] + self.lengths - 1])


def days_to(visits: Visits, lengths: Integers, codes: Integers, width: int) -> Numbers:
    """Return the days from the last known visit to the first later one with each code [n, k]; infinite if none comes.

    Args:
        visits: of n patients, all with ``lengths`` visits or more.
        lengths: [n], how many are known.
        codes: [k], which are looked for.
        width: codes of the schema.
    """
    days = np.full((len(visits), width), np.inf)
    visit = visits.visit_of_code
    owner = visits.patient[visit]
    later = visits.number[visit] >= lengths[owner]
    cut = visits.starts[visits.offsets[:-1] + lengths - 1]
    passed = (visits.starts[visit] - cut[owner]) / DAY
    np.minimum.at(days, (owner[later], visits.codes[later]), passed[later])
    return np.asarray(days[:, codes])


def logistic_odds(
    train: CutOff, test: CutOff, schema: VisitSchema, features: Integers, codes: Integers, horizons: Sequence[int]
) -> Numbers:
    """Return the log odds [n, k, h] of each code within each horizon, learned from records of R that are cut off."""
    width = len(schema.codes)
    came = days_to(train.visits, train.lengths, codes, width)
    x, unseen = train.before(schema, features), test.before(schema, features)
    return np.stack([linear(unseen, fit_logistic(x, came <= days)) for days in horizons], axis=2)


def continuation_scores(
    came: Numbers, drawn: Numbers, odds: Numbers, names: Sequence[str], horizons: Sequence[int]
) -> list[Score]:
    """Return how well the share of continuations with an event tells to whom it came, beside a regression.

    Args:
        came: [n, k] days to each of k events; infinite if it never came.
        drawn: [n, draws, k], the same in the continuations.
        odds: [n, k, h], what a regression on the known visits says.
        names: of the k events.
        horizons: h of them, in days.
    """
    truth = np.stack([came <= days for days in horizons], axis=2)
    chance = np.stack([(drawn <= days).mean(1) for days in horizons], axis=2)
    with_it = truth.sum(0)
    asked = np.argwhere(np.minimum(with_it, len(came) - with_it) >= LEAST)
    if not len(asked):
        return without_continuations(f"no event comes, and does not, to {LEAST} patients within a horizon")
    order = np.arange(len(came))
    kept = [order, *(np.delete(order, part) for part in groups_of(len(came)))]

    def score(card: Card, predicted: Numbers) -> Score:
        areas = np.array([[_area(truth[rows, k, h], predicted[rows, k, h]) for k, h in asked] for rows in kept])
        parts = {
            ("horizon", f"within {horizons[h]} days"): Value(*jackknife(areas[:, asked[:, 1] == h].mean(1), 0, 1))
            for h in np.unique(asked[:, 1])
        }
        for k, h in asked:
            name = f"{names[k]} within {horizons[h]} days"
            parts["event", name] = Value(*normal(*auroc(truth[:, k, h], predicted[:, k, h])))
        return Score(card, *jackknife(areas.mean(1), 0, 1), parts=parts)

    regression, continued = score(LOGISTIC, odds), score(CONTINUED, chance)
    rates = {}
    for k, h in asked:
        name, observed = f"{names[k]} within {horizons[h]} days", float(truth[:, k, h].mean())
        rates["base rate", name] = Value(observed)
        rates["continued rate", name] = Value(float(chance[:, k, h].mean()))
    anchors = {"fresh_real": regression.value, "train_copy": None, "independent": 0.5}
    return [replace(continued, parts={**continued.parts, **rates}, anchors=anchors), regression]


def without_continuations(reason: str) -> list[Score]:
    """Return the same scores, skipped for a reason."""
    return [Score(card, None, status="skipped", reason=reason) for card in (CONTINUED, LOGISTIC)]


def _area(truth: NDArray[np.bool_], predicted: Numbers) -> float:
    """Return the AUROC; 0.5 where all answers are the same."""
    return auroc(truth, predicted)[0] if 0 < truth.sum() < len(truth) else 0.5
