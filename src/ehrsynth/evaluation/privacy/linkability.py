"""Linkability: does the synthetic table join two data sets about one patient?"""

from collections.abc import Sequence
from dataclasses import dataclass

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.columns import mixed
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value, check_names
from ehrsynth.evaluation.privacy.attempts import rate_parts, shuffled, targets
from ehrsynth.layout import Records
from ehrsynth.metrics.gower import Mixed
from ehrsynth.metrics.linkability import linked
from ehrsynth.metrics.rates import Attempts, excess
from ehrsynth.schema import Schema
from ehrsynth.seeding import numpy_rng

LINKABILITY = Cards.beside(__file__)["privacy/linkability"]


@dataclass(kw_only=True)
class Linkability(Evaluator):
    """Whether synthetic records join two halves of what is known of training patients.

    Args:
        attacks: rows of each of R and H to attack, drawn at random.
        neighbours: nearest synthetic records on each side.
        known: the names of the columns on each side; None deals every domain out to both.
    """

    cards = (LINKABILITY,)
    uses_holdout = True
    attacks: int = 2000
    neighbours: int = 1
    known: tuple[Sequence[str], Sequence[str]] | None = None

    def check(self, schema: Schema) -> None:
        """Look at the two sides."""
        one, other = map(set, self.known or ((), ()))
        check_names("linkability: known", one | other, schema)
        if one & other:
            raise OptionError("linkability: known: the two sides must have no column in common")

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Divide the columns and draw the patients."""
        if len(real.schema.columns) < 2:
            raise NotApplicableError("the data have a single column, which no two data sets can share out")
        self.check(real.schema)
        sides = [set(side) for side in self.known] if self.known else _halves(real, seed)
        attacked = targets(real, self.attacks, seed, "linkability")

        def halved(table: Records) -> tuple[Mixed, Mixed]:
            return mixed(table, sides[0]), mixed(table, sides[1])

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            source = halved(shuffled(synthetic, seed))
            found = {
                name: Attempts(int(linked(halved(table), source, self.neighbours).sum()), len(table))
                for name, table in zip(("attack", "control"), attacked, strict=True)
            }
            n, m, rng = len(attacked[0]), len(synthetic), numpy_rng(seed, "baseline")
            one, other = (rng.integers(m, size=(n, min(self.neighbours, m))) for _ in range(2))
            found["baseline"] = Attempts(int((one[:, :, None] == other[:, None]).any((1, 2)).sum()), n)
            return {
                LINKABILITY.name: Value(*excess(found["attack"], found["control"]), parts=rate_parts("rate", found))
            }

        return score


def _halves(real: RealData, seed: int) -> list[set[str]]:
    """Deal the columns of each domain out to two sides at random."""
    columns = sorted(real.schema.columns, key=lambda column: column.name)
    places = numpy_rng(seed, "linkability/columns").permutation(len(columns))
    dealt = sorted(zip(columns, places, strict=True), key=lambda pair: (pair[0].domain, pair[1]))
    names = [column.name for column, _ in dealt]
    return [set(names[::2]), set(names[1::2])]
