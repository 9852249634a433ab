"""Where the codes of a visit lie in the tree of ICD: how deep, how far apart, in how many chapters."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehrsynth.visits import Visits

# The last number of each chapter of ICD-9-CM; what begins with E or V comes after them.
_ICD9 = (139, 239, 279, 289, 319, 389, 459, 519, 579, 629, 679, 709, 739, 759, 779, 799)
# The first category of each chapter of ICD-10, of those before U; V to Y, then Z, stand before it in the list.
_ICD10 = (
    *("A00", "C00", "D50", "E00", "F00", "G00", "H00", "H60", "I00", "J00", "K00", "L00", "M00", "N00", "O00", "P00"),
    *("Q00", "R00", "S00", "U00", "V00", "Z00"),
)
_NINE = re.compile(r"([0-9]{3}|V[0-9]{2}|E[0-9]{3})\.?([0-9]{0,2})")
_TEN = re.compile(r"([A-Z][0-9][0-9A-Z])\.?([0-9A-Z]{0,4})")
_BETWEEN = re.compile(r"[_/:|]+")


def icd_path(name: str) -> tuple[str, ...] | None:
    """Return the nodes from the chapter down to a code, such as ``("9:chapter 3", "9:250", "9:2508", "9:25083")``.

    Args:
        name: of a code; what stands before the last ``_``, ``/``, ``:`` or ``|`` may say ICD-10 (``dx_icd10_E11.9``).

    Returns:
        None if the name ends in no code of ICD-9-CM or ICD-10.
    """
    *before, code = _BETWEEN.split(name.upper())
    said_ten = any(part.startswith("ICD10") for part in before)
    if not said_ten and (found := _NINE.fullmatch(code)):
        head, rest = found.groups()
        chapter = len(_ICD9) + 2 + "EV".index(head[0]) if head[0] in "EV" else 1 + bisect_left(_ICD9, int(head))
        return _path("9", chapter, head, rest)
    if found := _TEN.fullmatch(code):
        return _path("10", bisect_right(_ICD10, found[1]), *found.groups())
    return None


def _path(version: str, chapter: int, head: str, rest: str) -> tuple[str, ...]:
    return (f"{version}:chapter {chapter}", *(f"{version}:{head}{rest[:i]}" for i in range(len(rest) + 1)))


@dataclass(frozen=True)
class Tree:
    """The place of each code in a tree.

    Attributes:
        nodes: [width, levels], the node of each code at each level from the top; -1 below the code, and everywhere
            for a code that is not in the tree.
    """

    nodes: NDArray[np.int64]

    @classmethod
    def of(cls, paths: Sequence[tuple[str, ...] | None]) -> "Tree":
        """Build the tree from the path of each code, None for one that has no place."""
        numbers = {node: i for i, node in enumerate(dict.fromkeys(node for path in paths for node in path or ()))}
        nodes = np.full((len(paths), max((len(path or ()) for path in paths), default=0)), -1, np.int64)
        for row, path in zip(nodes, paths, strict=True):
            row[: len(path or ())] = [numbers[node] for node in path or ()]
        return cls(nodes)

    @property
    def depth(self) -> NDArray[np.int64]:
        """Levels from the root to each code [width]: 1 for a chapter; 0 for one that is not in the tree."""
        return np.asarray((self.nodes >= 0).sum(1))


def hierarchy_sums(visits: Visits, tree: Tree) -> NDArray[np.float64]:
    """Return sums that add up over patients [3, 2], each beside what it is divided by.

    Depth of codes over codes; distance in the tree between the two codes of every pair of a visit over pairs; share of
    a visit's codes that lie in its most frequent chapter over visits of two codes or more. Codes without a place in
    the tree are left out.
    """
    depth = tree.depth[visits.codes]
    inside = depth > 0
    visit, depth, nodes = visits.visit_of_code[inside], depth[inside], tree.nodes[visits.codes[inside]]
    k = np.bincount(visit, minlength=visits.count).astype(np.float64)
    pairs = k * (k - 1) / 2
    shared, purity = 0.0, 0.0
    for level in range(nodes.shape[1]):
        there = nodes[:, level] >= 0
        keys, counts = np.unique(visit[there] * (tree.nodes.max() + 1) + nodes[there, level], return_counts=True)
        shared += float((counts * (counts - 1) / 2).sum())  # pairs with this ancestor in common
        if level == 0:
            most = np.zeros(visits.count)
            np.maximum.at(most, keys // (tree.nodes.max() + 1), counts)
            purity = float((most[k > 1] / k[k > 1]).sum())
    distance = float(((k - 1)[visit] * depth).sum()) - 2 * shared
    return np.array([[depth.sum(), k.sum()], [distance, pairs.sum()], [purity, (k > 1).sum()]], dtype=np.float64)
