"""The rules of a matrix: those worth proposing, in the order of the schema, or those of a file, or none."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehrsynth.constraints import AtMost, Constraint, OneHot, Range
from ehrsynth.data.proposals.check import LEAST_SUPPORT, checked
from ehrsynth.data.proposals.codes import MOST, Codes, companions, declared_sexes, one_sex_rules, parents, unsaid
from ehrsynth.data.proposals.file import read_content, read_rules
from ehrsynth.data.wide import Wide
from ehrsynth.errors import OptionError
from ehrsynth.schema import Schema

PROPOSE, NONE = "propose", "none"
LARGE = 100  # records with both numbers, before one is said to be the smaller
LEAST_EXPECTED = 20.0  # records of the other order, by chance
MOST_ORDERS = 20  # of numbers; a table of panels and days has many, and chance makes none of them
SAMPLE = 5_000  # records that rule most pairs out


def rules_file(option: str) -> Path | None:
    """Return the file that ``constraints=option`` names, if it names one.

    Raises:
        OptionError: it is neither a choice nor the name of a YAML file.
    """
    if option in (PROPOSE, NONE):
        return None
    if not str(option).endswith((".yaml", ".yml")):
        raise OptionError(f"constraints={option}: {PROPOSE}, {NONE} or a .yaml file was expected")
    return Path(option)


def require_rules_of_rows(option: str) -> None:
    """Raise an ``OptionError`` if the file that an option names has rules over time, which no row can keep or break."""
    if (file := rules_file(option)) is not None and (over_time := read_content(file).get("over_time")):
        many = f"{len(over_time)} rules" if isinstance(over_time, list) else "rules"
        raise OptionError(
            f"{file}: over_time: {many} over time, and the rows of a matrix have no visits; leave the list out, or"
            " prepare form=trajectories"
        )


def rules_of(option: str, schema: Schema, train: Wide) -> tuple[tuple[Constraint, ...], dict[str, Any]]:
    """Return the rules, and the step for provenance.

    Args:
        option: ``propose`` those that hold in the training rows, ``none``, or the YAML file that declares them.
        schema: fitted on the training rows.
        train: the training rows.

    Raises:
        InputError: the file is not readable, or a rule does not fit schema or training rows.
    """
    file, detail = rules_file(option), {}
    if file is not None:
        rules, option = read_rules(file, schema, train), "declared"
    else:
        rules = propose(schema, train) if option == PROPOSE else ()
        if wrong := contradicted(schema, train) if option == PROPOSE else 0:
            detail["codes of one sex, by the vocabulary, that training rows contradict"] = wrong
    step = {"step": f"constraints: {option}", "columns": len(schema.columns), "detail": {"rules": len(rules), **detail}}
    return rules, step


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
    candidates: list[Constraint] = [
        *sexes,
        *hierarchy,
        *[rule for rule in always if rule not in set(hierarchy)][:MOST],
        *unsaid(never, sexes, hierarchy)[:MOST],
        *_ranges(schema, train),
        *_orders(schema, train),
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


def _ranges(schema: Schema, train: Wide) -> list[Range]:
    """Return the believable range of every number whose feature names one."""
    ranges = {column.name: train.specs[column.name].plausible for column in schema.columns if column.numeric}
    return [Range(name, float(range_[0]), float(range_[1])) for name, range_ in ranges.items() if range_ is not None]


def _orders(schema: Schema, train: Wide) -> list[AtMost]:
    """Return pairs of numbers of one domain of which one is never above the other, where chance would turn them round.

    A pair counts if ``LARGE`` or more records have both numbers, always in that order, while ``LEAST_EXPECTED`` or more
    would have the other if the two were independent: of height and weight, say, the ranges alone tell the order. At
    most ``MOST_ORDERS`` pairs, those with most evidence first.
    """
    numeric = [column for column in schema.columns if column.numeric]
    cells = {column.name: train.cells[column.name].to_numpy(float, na_value=np.nan) for column in numeric}
    found = []
    for column in numeric:
        for other in numeric:
            if column.name != other.name and column.domain == other.domain:
                small, large = cells[column.name], cells[other.name]
                if (small[:SAMPLE] > large[:SAMPLE]).any() or (small > large).any():
                    continue
                both = int((~np.isnan(small) & ~np.isnan(large)).sum())
                expected = both * _chance_above(small, large) if both >= LARGE else 0.0
                if expected >= LEAST_EXPECTED:
                    found.append((-expected, column.name, other.name))
    return [AtMost(small, large) for _, small, large in sorted(found)[:MOST_ORDERS]]


def _chance_above(small: NDArray[np.float64], large: NDArray[np.float64]) -> float:
    """Return how often a value of ``small`` is above one of ``large``, each drawn alone."""
    ordered = np.sort(large[~np.isnan(large)])
    below = np.searchsorted(ordered, small[~np.isnan(small)], side="left")
    return float(below.mean() / len(ordered))
