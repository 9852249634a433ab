"""First, second and third line of treatment."""

from dataclasses import dataclass

import numpy as np

from ehrsynth.errors import OptionError, expect
from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.groups import needs_two_rows, replicated
from ehrsynth.evaluation.temporal.groups import summed
from ehrsynth.metrics.temporal.pathways import MOST, pathways, spelled
from ehrsynth.visits import Visits, VisitSchema

PATHWAYS = Cards.beside(__file__)["temporal/pathways"]
TOLD = 10  # patients of R on a path before it is written out


@dataclass(kw_only=True)
class Pathways(VisitEvaluator):
    """Which codes of a class patients get first, second and third.

    Args:
        domain: the class; None for medications, or diagnoses where there are none.
        codes: how many of it, the most common of R, at most 20.
        top: paths that are looked at one by one, the most common of R; all others are one.
    """

    cards = (PATHWAYS,)
    domain: str | None = None
    codes: int = 10
    top: int = 20

    def __post_init__(self) -> None:
        expect(2 <= self.codes <= MOST, "codes", self.codes, f"a number from 2 to {MOST}")

    def check(self, schema: VisitSchema) -> None:
        """Raise an ``OptionError`` if no code is of the domain."""
        if self.domain is not None and self.domain not in schema.domains:
            known = ", ".join(schema.domains) or "none"
            raise OptionError(f"domain={self.domain}: no code is of this domain; there are {known}")

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Count the paths of R."""
        named = [name for name in (self.domain, "medication", "diagnosis", *real.schema.domains) if name]
        domain = next((name for name in named if name in real.schema.domains), None)
        if domain is None:
            raise NotApplicableError("the schema has no code")
        places = real.schema.domains[domain]
        counts = np.bincount(real.train.codes, minlength=real.width)[places]
        common = np.argsort(-counts, kind="stable")[: self.codes]
        codes = places.start + np.sort(common[counts[common] > 0])
        if len(codes) < 2:
            raise NotApplicableError(f"training patients have fewer than two codes of the domain {domain}")
        keys, patients = pathways(real.train, real.width, codes)
        top = np.argsort(-patients, kind="stable")[: self.top]
        paths, known = keys[top], patients[top]
        expected = np.append(known, patients.sum() - known.sum()) / patients.sum()
        names = [real.schema.codes[code].name for code in codes]

        def count(visits: Visits) -> np.ndarray:
            found = pathways(visits, real.width, codes)
            on_top = found.at(paths)
            return np.append(on_top, found.counts.sum() - on_top.sum())

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            sums = summed(real, synthetic, count)
            if not sums[0].any():
                return self.undefined(f"no synthetic patient has one of the {len(codes)} codes")
            found = sums / np.maximum(sums.sum(1, keepdims=True), 1)
            off = np.abs(found - expected)
            parts = {
                ("path", spelled(int(path), names)): replicated(PATHWAYS, off[:, i])
                for i, path in enumerate(paths)
                if known[i] >= TOLD
            }
            return {PATHWAYS.name: replicated(PATHWAYS, off.sum(1) / 2, parts)}

        return score
