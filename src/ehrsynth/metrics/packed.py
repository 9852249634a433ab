"""Squared distances of 0/1 columns packed 64 to a word: exclusive or, then count the ones.

On sparse codes this is five to ten times faster on a CPU than the matrix product, and exact.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from ehrsynth import bits
from ehrsynth.bits import Cells

Words = NDArray[np.uint64]
Values = NDArray[np.float32]


def pack(cells: Cells) -> Words:
    """Return uint8 0/1 ``cells`` [n, B] as words [n, ceil(B / 64)], the last one filled up with zeros."""
    packed = bits.pack(cells).packed.numpy()
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))).view(np.uint64)


def squared_distances(left: Words, left_values: Values, right: Words, right_values: Values) -> NDArray[np.float32]:
    """Return the squared distance [m, n] of each record on the left to each on the right; 0 exactly for equal ones.

    Args:
        left: [m, w], from ``pack``.
        left_values: [m, c].
        right: [w, n], transposed, so that the inner loop runs along memory.
        right_values: [c, n].
    """
    out = np.empty((len(left), right.shape[1]), np.float32)
    threads = min(torch.get_num_threads(), len(left))
    if threads < 2:
        _fill(left, left_values, right, right_values, out)
        return out
    # Threads of our own, because those of numba are OpenMP's, which do not survive a fork.
    edges = np.linspace(0, len(left), threads + 1).astype(int)
    parts = [slice(start, stop) for start, stop in pairwise(edges)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda rows: _fill(left[rows], left_values[rows], right, right_values, out[rows]), parts))
    return out


@numba.njit(nogil=True, cache=True)
def _fill(left: Words, left_values: Values, right: Words, right_values: Values, out: Values) -> None:
    for i in range(len(left)):
        row = out[i]
        row[:] = 0
        for k in range(left.shape[1]):
            word = left[i, k]
            for j in range(len(row)):
                x = word ^ right[k, j]
                # The ones of 64 bits by adding neighbours up: the compiler knows this and uses the processor's own.
                x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
                x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
                x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
                row[j] += np.float32((x * np.uint64(0x0101010101010101)) >> np.uint64(56))
        for k in range(left_values.shape[1]):
            value = left_values[i, k]
            for j in range(len(row)):
                difference = value - right_values[k, j]
                row[j] += difference * difference
