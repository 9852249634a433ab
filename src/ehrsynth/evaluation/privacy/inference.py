"""Inference: can one hidden attribute of a training patient be read off the synthetic table?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.columns import Levels, mixed, most_entropic
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.evaluation.privacy.attempts import rate_parts, shuffled, targets
from ehrsynth.layout import Records
from ehrsynth.metrics import inference
from ehrsynth.metrics.rates import Attempts, excess

INFERENCE = Cards.beside(__file__)["privacy/inference"]


@dataclass(kw_only=True)
class Inference(Evaluator):
    """Whether a hidden attribute of training patients can be read off synthetic records.

    Args:
        attacks: rows of each of R and H to attack, drawn at random.
        secrets: names of the columns to guess, one at a time; None takes outcomes, sensitive columns, and the
            ``entropic`` most entropic others.
        entropic: how many of the most entropic columns to add where ``secrets`` is None.
    """

    cards = (INFERENCE,)
    uses_holdout = True
    column_options: ClassVar = {"secrets": "inference: secrets"}
    attacks: int = 2000
    secrets: Sequence[str] | None = None
    entropic: int = 4

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Choose the secrets and draw the patients."""
        if len(real.schema.columns) < 2:
            raise NotApplicableError("the data have a single column: nothing is known of a patient but the secret")
        self.check(real.schema)
        named = list(self.secrets) if self.secrets is not None else self._default(real)
        if not named:
            raise NotApplicableError("no column to keep secret: no outcome, no sensitive column, none named")
        levels = Levels(real.schema)
        everything = set(real.schema.names)
        discrete = np.array([not real.schema.by_name[name].numeric for name in named])
        attacked = targets(real, self.attacks, seed, "inference")

        def right(target: Records, source: Records) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
            truth, offered = levels.of(target, named), levels.of(source, named)
            scaled = levels.scaled(target, named), levels.scaled(source, named)
            near = inference.nearest_without(mixed(target, everything), mixed(source, everything), scaled, discrete)
            blind = np.arange(len(target)) % len(source)  # the records of S are in random order
            return (
                inference.right(np.take_along_axis(offered, near, axis=0), truth, discrete),
                inference.right(offered[blind], truth, discrete),
            )

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            source = shuffled(synthetic, seed)
            (attack, baseline), (control, _) = (right(table, source) for table in attacked)
            guesses = {"attack": attack, "control": control, "baseline": baseline}
            found = {name: Attempts(float(hits.mean(1).sum()), len(hits)) for name, hits in guesses.items()}
            parts = rate_parts("rate", found)
            for i, name in enumerate(named):
                each = {side: Attempts(int(hits[:, i].sum()), len(hits)) for side, hits in guesses.items()}
                parts["column", name] = Value(*excess(each["attack"], each["control"]))
                parts["column_attack", name] = Value(*each["attack"].rate)
                parts["column_control", name] = Value(*each["control"].rate)
            return {INFERENCE.name: Value(*excess(found["attack"], found["control"]), parts=parts)}

        return score

    def _default(self, real: RealData) -> list[str]:
        named = [column.name for column in real.schema.columns if column.role in ("outcome", "sensitive")]
        return named + most_entropic(real, self.entropic, without=named)
