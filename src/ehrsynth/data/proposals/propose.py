"""All rules worth proposing, in the order of the schema."""

from collections.abc import Mapping, Sequence

from ehrsynth.constraints import Constraint, Exclusive, OneHot
from ehrsynth.data.proposals.check import checked
from ehrsynth.data.proposals.codes import MOST, Codes, companions, parents
from ehrsynth.data.proposals.numbers import orders, plausible_ranges
from ehrsynth.data.proposals.sexes import declared_sexes, one_sex_rules
from ehrsynth.data.wide import Wide
from ehrsynth.schema import Schema

LEAST_SUPPORT = 20  # records a rule must speak about; a rule on fewer would tell about them, and be chance


def propose(schema: Schema, train: Wide) -> tuple[Constraint, ...]:
    """Return rules that hold without exception in the training rows and speak about ``LEAST_SUPPORT`` of them or more.

    Codes of one sex, as the rows show or a vocabulary declares (these need no support: they are no finding); codes and
    those above them; codes that always or never go together beyond chance; ranges of numbers; numbers in a fixed order;
    one level a category.

    Args:
        schema: fitted on the training rows.
        train: the training rows, codes as sparse as they came.
    """
    codes = Codes.of(schema, train)
    declared = declared_sexes(schema, train)
    sexes = list(dict.fromkeys([*declared, *one_sex_rules(schema, train, codes)]))
    hierarchy = parents(codes)
    always, never = companions(codes)
    told = _Told({rule.column: rule.given for rule in sexes}, {rule.column: rule.then for rule in hierarchy}, never)
    candidates: list[Constraint] = [
        *sexes,
        *hierarchy,
        *[rule for rule in always if rule not in set(hierarchy)][:MOST],
        *[rule for rule in never if not told(rule)][:MOST],
        *plausible_ranges(schema, train),
        *orders(schema, train),
        *[OneHot(column.name) for column in schema.columns if column.kind == "categorical"],
    ]
    knowledge = set(declared)
    return tuple(
        found.rule
        for found in checked(candidates, schema, train)
        if not found.exceptions and (found.support >= LEAST_SUPPORT or found.rule in knowledge)
    )


def contradicted(schema: Schema, train: Wide) -> int:
    """Return how many codes occur in training rows of a sex that the vocabulary says cannot have them."""
    return sum(found.exceptions > 0 for found in checked(declared_sexes(schema, train), schema, train))


class _Told:
    """Whether other rules say already that two codes exclude one another.

    They are of different sexes, or one stands below a code that excludes the other.
    """

    def __init__(self, of_sex: Mapping[str, str], above: Mapping[str, str], never: Sequence[Exclusive]) -> None:
        self.of_sex = of_sex
        self.above = above
        self.apart = {frozenset(rule.columns) for rule in never}

    def __call__(self, rule: Exclusive) -> bool:
        one, other = rule.columns
        sexes = {self.of_sex.get(one), self.of_sex.get(other)}
        higher = (frozenset((self.above.get(code, code), its)) for code, its in ((one, other), (other, one)))
        return (len(sexes) == 2 and None not in sexes) or any(
            pair in self.apart and pair != frozenset(rule.columns) for pair in higher
        )
