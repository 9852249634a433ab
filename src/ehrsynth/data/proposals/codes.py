"""Codes that only one sex has, that stand below others, that go together, or that never do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.constraints import Exclusive, Implies, OnlyIf
from ehrsynth.data.wide import Wide
from ehrsynth.schema import Column, Schema

SEX = ("sex", "gender")  # what a column of it is called
LEAST_EXPECTED = 10.0  # records that chance would give
CHANCE = 0.01  # of a pair among all that were looked at which keeps apart by accident
LARGE = 100  # records of both codes, before one is said to imply the other
LEAST_LIFT = 10.0
MOST = 5  # found in data, of each kind: the likeliest to mean something
BLOCK = 256  # codes counted against all others at a time


@dataclass(frozen=True, eq=False)
class Codes:
    """The clinical codes of the training rows.

    Attributes:
        names: of the columns.
        domains: of each.
        ones: int32 [n, m], 1 where a record has the code.
    """

    names: Sequence[str]
    domains: Sequence[str]
    ones: sparse.csr_array

    @classmethod
    def of(cls, schema: Schema, train: Wide) -> "Codes":
        """Collect them, from among the codes of ``train`` and from its cells."""
        names = [column.name for column in schema.columns if column.is_code]
        place = {name: i for i, name in enumerate(train.code_names)}
        sparse_names = [name for name in names if name in place]
        dense_names = [name for name in names if name not in place]
        chosen = train.codes[:, [place[name] for name in sparse_names]].astype(np.int32)
        cells = sparse.csr_array(train.cells[dense_names].to_numpy(np.int32))
        ones = sparse.csr_array(sparse.hstack([chosen, cells], format="csr"))
        names = [*sparse_names, *dense_names]
        return cls(names, [schema.by_name[name].domain for name in names], ones)

    @cached_property
    def support(self) -> NDArray[np.int64]:
        """Records that have each code."""
        return np.asarray(self.ones.sum(0), np.int64).reshape(-1)

    def __len__(self) -> int:
        return int(self.ones.shape[0])


def one_sex_rules(schema: Schema, train: Wide, codes: Codes) -> list[OnlyIf]:
    """Return a rule per code that is seen in one sex only, and often enough for that to be no accident.

    A code counts if all training rows that have it are of one sex, while ``LEAST_EXPECTED`` or more of the others would
    have it if sex and code were independent. The least support is the caller's.
    """
    sex = _sex(schema)
    if sex is None:
        return []
    cells = train.cells[sex.name]
    of_level = np.stack([(cells.astype(str) == level).to_numpy() for level in sex.levels])
    share = of_level.sum(1) / max(int(cells.notna().sum()), 1)
    positives = np.asarray(of_level.astype(np.int32) @ codes.ones, np.int64)
    only, support = positives.argmax(0), codes.support  # the support counts unknown sex too
    expected = support * (1 - share[only])
    kept = (support > 0) & (positives.max(0) == support) & (expected >= LEAST_EXPECTED)
    return [OnlyIf(codes.names[j], f"{sex.name}={sex.levels[int(only[j])]}") for j in np.flatnonzero(kept).tolist()]


def declared_sexes(schema: Schema, train: Wide) -> list[OnlyIf]:
    """Return a rule per column of which a vocabulary says that one sex alone can have it.

    They are knowledge and not found in patients, so they need no support; training rows may still contradict them.
    """
    sex = _sex(schema)
    if sex is None:
        return []
    level = {level[:1].upper(): level for level in reversed(sex.levels)}
    return [
        OnlyIf(name, f"{sex.name}={level[only]}")
        for name, only in train.sexes.items()
        if name in schema.by_name and only in level
    ]


def _sex(schema: Schema) -> Column | None:
    return next((c for c in schema.columns if c.name.lower() in SEX and c.kind == "categorical"), None)


def parents(codes: Codes) -> list[Implies]:
    """Return which codes always come with the nearest one above them: 401.11 with 401.1, or else 401, of their domain.

    The names tell who stands above whom.
    """
    domain = dict(zip(codes.names, codes.domains, strict=True))
    place = {name: i for i, name in enumerate(codes.names)}
    pairs = []
    for name in codes.names:
        head, dot, decimals = name.rpartition(".")
        shorter = [f"{head}.{decimals[:length]}" for length in range(len(decimals) - 1, 0, -1)] + [head]
        above = next((parent for parent in shorter if dot and domain.get(parent) == domain[name]), None)
        if above is not None:
            pairs.append((place[name], place[above]))
    if not pairs:
        return []
    children, above_them = np.array(pairs).T
    columns = sparse.csc_array(codes.ones)
    together = np.asarray(columns[:, children].multiply(columns[:, above_them]).sum(0)).reshape(-1)
    always = together == codes.support[children]
    return [Implies(codes.names[i], codes.names[j]) for (i, j), kept in zip(pairs, always, strict=True) if kept]


def companions(codes: Codes) -> tuple[list[Implies], list[Exclusive]]:
    """Return codes that always, and codes that never, occur together, although nothing in their names says so.

    A code implies another if ``LARGE`` or more records have it and all of them the other, which is ``LEAST_LIFT`` times
    its share of all records. Two codes exclude one another if no record has both, while by chance at least
    ``LEAST_EXPECTED`` would, and so many that among all pairs looked at one such pair would be an accident (Bonferroni,
    for independent codes). At most ``MOST`` of each, those with most evidence first.
    """
    n, support = len(codes), codes.support
    candidates = np.flatnonzero(support >= LEAST_EXPECTED)
    pairs = max(len(candidates) * (len(candidates) - 1) // 2, 1)
    least = max(LEAST_EXPECTED, log(pairs / CHANCE))
    always: list[tuple[int, int, int]] = []
    never: list[tuple[float, int, int]] = []
    for rows, together in _counts(codes, candidates):
        mine, others = support[rows][:, None], support[candidates][None, :]
        itself = rows[:, None] == candidates[None, :]
        follows = (together == mine) & (np.minimum(mine, others) >= LARGE) & (n >= LEAST_LIFT * others) & ~itself
        always += [(-int(support[rows[i]]), int(rows[i]), int(candidates[j])) for i, j in np.argwhere(follows)]
        expected = mine * (others / n)
        apart = (together == 0) & (expected >= least) & (rows[:, None] < candidates[None, :])
        never += [(-float(expected[i, j]), int(rows[i]), int(candidates[j])) for i, j in np.argwhere(apart)]
    named = codes.names
    implied = [Implies(named[a], named[b]) for _, a, b in sorted(always)]
    return implied, [Exclusive((named[a], named[b])) for _, a, b in sorted(never)]


def unsaid(never: Sequence[Exclusive], sexes: Sequence[OnlyIf], hierarchy: Sequence[Implies]) -> list[Exclusive]:
    """Return the exclusions that no other rule implies.

    Codes of different sexes need none, nor does a code below one that excludes the other.
    """
    of_sex = {rule.column: rule.given for rule in sexes}
    above = {rule.column: rule.then for rule in hierarchy}
    apart, found = {frozenset(rule.columns) for rule in never}, []
    for rule in never:
        one, other = rule.columns
        higher = {frozenset((above.get(one, one), other)), frozenset((one, above.get(other, other)))}
        of_two_sexes = one in of_sex and other in of_sex and of_sex[one] != of_sex[other]
        if not of_two_sexes and not (higher - {frozenset(rule.columns)}) & apart:
            found.append(rule)
    return found


def _counts(codes: Codes, candidates: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield blocks of candidates and how many records have each of them together with each candidate."""
    ones = sparse.csr_array(codes.ones[:, candidates])
    columns = sparse.csc_array(ones)
    for start in range(0, len(candidates), BLOCK):
        block = sparse.csr_array(columns[:, start : start + BLOCK].T)
        yield candidates[start : start + BLOCK], (block @ ones).toarray()
