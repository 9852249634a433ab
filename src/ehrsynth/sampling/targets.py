"""What tables are calibrated to: how many training rows have each of many features.

Counts are all that is kept of patients, and what can be read off them: none of one to nine training rows, neither as a
count nor as the difference of some. So they may lie in a run folder, as a checkpoint does. Under differential privacy
they would have to be paid for, like any other look at the training rows.
"""

from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD

from ehrsynth.disclosure import LEAST
from ehrsynth.errors import FileError, machine_fault
from ehrsynth.files import require, write_bytes
from ehrsynth.layout import Layout, Records
from ehrsynth.models.quantiles import GRID, quantiles
from ehrsynth.models.states import States, edges_of
from ehrsynth.models.told import may_tell
from ehrsynth.sampling.features import Features, Floats, Indices, Sparse, one_of, states_of
from ehrsynth.schema import Schema
from ehrsynth.seeding import derive, numpy_rng

RANGES = 16  # of a number, about
PAIRS = 400  # the commonest of two codes, of a state with an outcome, and with a column that tells who somebody is
COMMON = 1_000  # codes among which pairs of two are looked for
CLASSES = 80
ROWS_EACH = 50  # training rows for each class, and for each pair of a kind, at least: of few rows little is matched
COMPONENTS = 40  # principal components of the states in which classes are found
SEEN = 20_000  # training rows among which features are found; all of them are counted
JOINT = 0.9  # of these rows, to be in cells of ten, for numbers of codes of several domains to be looked at together
COUNTED = 50_000  # rows at a time
PERSON = ("demographic", "sensitive", "quasi_identifier")  # roles
ARRAYS = ("singles", "pairs", "counted", "caps", "strides", "cells", "centres", "classes")


@dataclass(frozen=True, eq=False)
class Targets:
    """Features of records, and how many training rows have each.

    Attributes:
        features: what is looked at.
        counts: training rows that have each, [j].
        rows: training rows.
    """

    features: Features = field(repr=False)
    counts: Indices = field(repr=False)
    rows: int

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def shares(self) -> Floats:
        """Share of the training rows that have each feature, [j]."""
        return self.counts / self.rows

    @classmethod
    def of(cls, train: Records, schema: Schema, seed: int) -> Self:
        """Choose features of training rows, and count them.

        Args:
            train: training rows, NaN where missing.
            schema: of them.
            seed: of the rows that are looked at to choose, and of the classes.
        """
        found = candidates(train, schema, seed)
        counts = np.zeros(len(found), np.int64)
        for block in train.blocks(COUNTED):
            counts += found.of(block).sum(0).astype(np.int64)
        told = may_be_told(found, counts, len(train))
        return cls(found.only(told), counts[told], len(train))

    def save(self, path: Path) -> None:
        """Write the numbers; the names are those of the schema."""
        states, content = self.features.states, BytesIO()
        arrays: dict[str, Any] = {name: getattr(self.features, name) for name in ARRAYS}
        arrays |= {"quantiles": states.quantiles.numpy(), "edges": states.edges.numpy()}
        np.savez_compressed(content, **arrays, counts=self.counts, rows=np.array(self.rows))
        write_bytes(path, content.getvalue())

    @classmethod
    def load(cls, path: Path, schema: Schema) -> Self:
        """Read what ``save`` wrote for records of this schema.

        Raises:
            FileError: it is missing, or no such file.
        """
        require(path)
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                law = {name: torch.from_numpy(content[name]) for name in ("quantiles", "edges")}
                features = Features(States(Layout.of(schema), **law), **{name: content[name] for name in ARRAYS})
                found = cls(features, content["counts"], int(content["rows"]))
            if not _fits(found):
                raise ValueError
        except Exception as error:  # numpy raises half a dozen kinds for a file that is not its own
            if (fault := machine_fault(error)) is not None:
                raise fault from error
            raise FileError(f"{path}: no targets of records of this schema ({type(error).__name__})") from error
        return found


def _fits(found: Targets) -> bool:
    """Whether what a file holds are targets of its schema."""
    features, law = found.features, found.features.states
    s, (q, k), (m, width) = len(features.variables), features.counted.shape, features.centres.shape
    numbers = law.layout.width - law.layout.values.start
    return (
        law.quantiles.shape == (GRID, numbers)
        and len(law.edges) == numbers
        and (k, width) == (law.codes, s)
        and features.caps.shape == (q,)
        and features.strides.shape[1:] == (q,)
        and features.pairs.shape[1:] == features.cells.shape[1:] == (2,)
        and all(_below(of, size) for of, size in ((features.singles, s), (features.pairs, s), (features.classes, m)))
        and _below(features.cells[:, 0], len(features.strides))
        and found.counts.shape == (len(features),)
        and bool(((found.counts >= LEAST) & (found.counts < found.rows)).all())
    )


def _below(places: Indices, size: int) -> bool:
    return places.dtype == np.int64 and bool(((places >= 0) & (places < size)).all())


def candidates(train: Records, schema: Schema, seed: int) -> Features:
    """Return features that training rows have, some of which may not be told."""
    law = quantiles(train)
    states = States(train.layout, law, edges_of(train, law, RANGES))
    rows = train
    if len(train) > SEEN:
        chosen = np.sort(numpy_rng(seed, "targets").choice(len(train), SEEN, replace=False))
        rows = train[torch.from_numpy(chosen)]
    seen = states_of(states, rows)
    counted, caps, strides = _histograms(seen[:, : states.codes], schema, states)
    centres = _centres(seen, min(CLASSES, len(train) // ROWS_EACH), seed)
    none, singles = np.zeros((0, 2), np.int64), np.arange(seen.shape[1])
    bare = Features(states, singles, none, counted, caps, strides, none, centres, np.arange(len(centres)))
    reached = bare.histograms(seen[:, : states.codes])
    cells = [np.unique(reached[:, table]) for table in range(len(strides))]
    numbered = [np.stack([np.full(len(own), table), own], axis=1) for table, own in enumerate(cells)]
    pairs = _pairs(seen, schema, bare, min(PAIRS, len(train) // ROWS_EACH))
    return replace(bare, pairs=pairs, cells=np.concatenate([none, *numbered]))


def may_be_told(features: Features, counts: Indices, n: int) -> NDArray[np.bool_]:
    """Return which features [j] may be targets.

    Where features are parts of a whole, such as the levels of a category, those that are left out are ten rows or more
    together, or nobody. Two states are told together if each of the four cells of their table may be.
    """
    s, k, c, _ = np.cumsum(features.parts)
    told = (counts >= LEAST) & (counts < n)
    _leave_enough(told[:s], counts[:s], features.variables[features.singles], n)
    _leave_enough(told[k:c], counts[k:c], features.cells[:, 0], n)
    _leave_enough(told[c:], counts[c:], np.zeros(len(counts) - c, np.int64), n)
    of_state = dict(zip(features.singles.tolist(), np.where(told[:s], counts[:s], 0).tolist(), strict=True))
    first, second = features.pairs.T
    a, b = (np.array([of_state[state] for state in part.tolist()], np.int64) for part in (first, second))
    both, told_both = counts[s:k], told[s:k]
    table = np.stack([both, a - both, b - both, n - a - b + both])
    expected = np.stack([a * b, a * (n - b), (n - a) * b, (n - a) * (n - b)]) / n
    told_both &= (a > 0) & (b > 0) & may_tell(table, expected).all(0)
    before = -1
    while before != (before := int(told_both.sum())):
        _leave_enough(told_both, both, _numbered(first, features.variables[second]), a)
        _leave_enough(told_both, both, _numbered(second, features.variables[first]), b)
    return told


def _leave_enough(told: NDArray[np.bool_], counts: Indices, whole: Indices, size: Indices | int) -> None:
    """Tell less, the smallest first, until what is not told of each whole is ten rows or more, or nobody."""
    if not len(told):
        return
    sizes = np.zeros(int(whole.max()) + 1, np.int64)
    sizes[whole] = size
    left = sizes - np.bincount(whole, counts * told, len(sizes)).astype(np.int64)
    for one in np.flatnonzero((left > 0) & (left < LEAST)):
        parts = np.flatnonzero((whole == one) & told)
        for part in parts[np.argsort(counts[parts], kind="stable")]:
            if not 0 < left[one] < LEAST:
                break
            told[part] = False
            left[one] += counts[part]


def _numbered(*keys: Indices) -> Indices:
    """Return a small number for each tuple of keys, the same for equal ones."""
    return np.unique(np.stack(keys), axis=1, return_inverse=True)[1].ravel()


def _histograms(codes: Sparse, schema: Schema, states: States) -> tuple[Indices, Indices, Indices]:
    """Return which codes are counted together, up to which number, and the histograms: see ``Features``.

    Codes are counted by domain, and domains together if that leaves few cells; else each alone, and all of them.
    """
    columns = [schema.by_name[encoded.column] for encoded in states.layout.fields[: states.codes]]
    domains = sorted({column.domain for column in columns if column.is_code})
    counted = np.array([[column.is_code and column.domain == d for column in columns] for d in domains], np.int64)
    counted = counted.reshape(len(domains), len(columns))
    numbers = codes.astype(np.int64) @ counted.T
    caps = np.array([_cap(number) for number in numbers.T], np.int64)
    strides = np.cumprod([1, *(caps[:-1] + 1)])[None, : len(caps)]
    often = np.unique(np.minimum(numbers, caps) @ strides.T, return_counts=True)[1]
    if len(domains) > 1 and often[often >= LEAST].sum() < JOINT * len(numbers):
        counted = np.concatenate([counted, counted.sum(0, keepdims=True)])
        caps = np.append(caps, _cap(numbers.sum(1)))
        strides = np.eye(len(caps), dtype=np.int64)
    return counted, caps, strides if len(caps) else np.zeros((0, 0), np.int64)


def _cap(numbers: Indices) -> int:
    """Return the largest number that ten records reach."""
    return int(np.sort(numbers)[-LEAST]) if len(numbers) >= LEAST else 0


def _centres(seen: Sparse, classes: int, seed: int) -> Floats:
    """Return the centres [m, S] of k-means classes on principal components: shares of their rows with each state.

    Of a class no state is told that one to nine of its rows have, or that all but so many have.
    """
    components = min(COMPONENTS, seen.shape[1] - 1)
    if classes < 2 or components < 1:
        return np.zeros((0, seen.shape[1]))
    random = derive(seed, "latent classes") % 2**32
    where = TruncatedSVD(components, random_state=random).fit_transform(seen.astype(np.float64))
    label = KMeans(classes, n_init=1, max_iter=50, random_state=random).fit_predict(where).astype(np.int64)
    members = one_of(np.arange(classes), label)
    counts, sizes = (members.T @ seen).toarray(), members.sum(0)
    counts, sizes = counts[sizes >= LEAST], sizes[sizes >= LEAST, None]
    counts = np.where(counts < LEAST, 0, np.where(sizes - counts < LEAST, sizes, counts))
    found: Floats = counts / sizes
    return found


def _pairs(seen: Sparse, schema: Schema, features: Features, most: int) -> Indices:
    """Return pairs of states [k, 2]: the commonest of two codes, with an outcome, and with who somebody is.

    They are so many of each kind, at ``most``.
    """
    columns = [schema.by_name[features.states.columns[variable]] for variable in features.variables]
    often = np.asarray(seen.sum(0)).ravel()
    codes = np.flatnonzero([column.is_code for column in columns])
    common = np.sort(codes[np.argsort(-often[codes].astype(np.int64), kind="stable")[:COMMON]])
    outcomes = np.flatnonzero([column.role == "outcome" for column in columns])
    persons = np.flatnonzero([column.role in PERSON or column.domain == "demographics" for column in columns])
    everything = np.arange(len(columns))
    sides = ((common, common), (outcomes, everything), (persons, everything))
    found = np.concatenate([_commonest(seen, features.variables, *pair, most) for pair in sides])
    return np.unique(np.sort(found, axis=1), axis=0)


def _commonest(seen: Sparse, variables: Indices, left: Indices, right: Indices, most: int) -> Indices:
    """Return the commonest pairs of a state on the left with one of another column on the right."""
    together = (seen[:, left].astype(np.int64).T @ seen[:, right].astype(np.int64)).tocoo()
    first, second = left[together.row], right[together.col]
    twice = np.isin(second, left) & np.isin(first, right) & (first > second)
    kept = (variables[first] != variables[second]) & ~twice
    first, second, counts = first[kept], second[kept], together.data[kept]
    return np.stack([first, second], axis=1)[np.lexsort((second, first, -counts))[:most]]
