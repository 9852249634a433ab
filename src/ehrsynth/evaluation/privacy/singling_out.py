"""Singling out: does a description that fits one synthetic record fit one training patient?"""

from dataclasses import dataclass

import torch

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.columns import Levels
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.privacy.attempts import rate_parts
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics import singling_out
from ehrsynth.metrics.rates import Attempts, excess
from ehrsynth.metrics.singling_out import Predicates
from ehrsynth.seeding import numpy_rng

SINGLING_OUT = Cards.beside(__file__)["privacy/singling_out"]


@dataclass(kw_only=True)
class SinglingOut(Evaluator):
    """Whether descriptions that fit one synthetic record fit one training patient.

    Args:
        attacks: number of predicates to look for.
        columns: number of columns in a predicate.
        attempts: how many predicates to try for them.
        absent: whether the 0 of a code may stand in a predicate, as in the published attack. On sparse codes nearly
            all predicates are then made of zeros, and hardly any singles out a synthetic record.
    """

    cards = (SINGLING_OUT,)
    uses_holdout = True
    attacks: int = 2000
    columns: int = 3
    attempts: int = 100_000
    absent: bool = False

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Cut R and H into tables of one size."""
        if len(real.schema.columns) < self.columns:
            raise NotApplicableError(f"the data have fewer than {self.columns} columns")
        levels = Levels(real.schema)
        size = min(len(real.train), len(real.holdout))
        members = levels.columns(real.train)
        order = numpy_rng(seed, "singling_out/train").permutation(len(real.train))
        parts_of_train = [
            levels.columns(real.train[torch.from_numpy(order[start : start + size])])
            for start in range(0, len(order) - size + 1, size)
        ]
        holdout = levels.columns(capped(real.holdout, size, seed, "singling_out/holdout"))

        def rates(predicates: Predicates, random: Predicates) -> dict[str, Attempts]:
            tried = {
                "attack": (predicates, parts_of_train),
                "control": (predicates, [holdout]),
                "baseline": (random, parts_of_train),
                "attack_all": (predicates, [members]),
            }
            return {
                name: Attempts(
                    sum(float(singling_out.isolated(which, table).sum()) for table in tables) / len(tables), len(which)
                )
                for name, (which, tables) in tried.items()
            }

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            table = levels.columns(synthetic)
            rng = numpy_rng(seed, "predicates")
            many = singling_out.multivariate(table, self.attacks, self.columns, self.attempts, self.absent, rng)
            if not len(many):
                return {SINGLING_OUT.name: Undefined("no predicate was found that holds for one synthetic record only")}
            one = singling_out.univariate(table, self.attacks, rng)
            found = rates(many, singling_out.random_predicates(table, len(many), self.columns, rng))
            parts = rate_parts("rate", found)
            if len(one):
                single = rates(one, singling_out.random_predicates(table, len(one), 1, rng))
                parts |= rate_parts("univariate", single)
                parts["univariate", "excess"] = Value(*excess(single["attack"], single["control"]))
            else:
                parts["univariate", "excess"] = Undefined("no value occurs in one synthetic record only")
            return {SINGLING_OUT.name: Value(*excess(found["attack"], found["control"]), parts=parts)}

        return score
