"""Fidelity of the number of codes in a record."""

import torch

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.evaluation.groups import grouped, needs_two_rows, replicated
from ehrsynth.evaluation.subsets import code_columns
from ehrsynth.layout import Records
from ehrsynth.metrics import concept_abundance as metric
from ehrsynth.metrics.replicates import replicates

CARDS = Cards.beside(__file__)
FORMS = {
    "fidelity/concept_abundance": metric.abundance,
    "fidelity/concept_abundance_published": metric.abundance_as_published,
}


class ConceptAbundance(Evaluator):
    """Whether records have as many codes as real ones."""

    cards = tuple(CARDS[name] for name in FORMS)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the codes of each record of R."""
        codes = code_columns(real.schema, real.layout)
        if not codes:
            raise NotApplicableError(
                "the schema has no code (a binary column of domain diagnosis, procedure, medication)"
            )
        chosen = torch.zeros(real.layout.binary.stop)
        chosen[codes] = 1
        known = metric.codes_per_record(real.train.bits, chosen)
        if known.min() == known.max():
            raise NotApplicableError("every training record has the same number of codes")
        edges = metric.abundance_edges(known)
        expected = metric.abundance(known, edges)

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            counts = [metric.codes_per_record(group.bits, chosen) for group in grouped(real, synthetic)]
            return {
                name: replicated(CARDS[name], metric.half_l1(expected, replicates([binned(x, edges) for x in counts])))
                for name, binned in FORMS.items()
            }

        return score
