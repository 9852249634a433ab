"""One model of several sites: the average of their weights, each site's by the number of its patients.

McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017, algorithm 1:
w = sum over sites k of (n_k / n) w_k. Buffers are averaged as weights are, the running statistics of BatchNorm too;
counters are rounded.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.study.federate.masks import Words, fixed, real, secure_sum

State = Mapping[str, Tensor]


def averaged(states: Sequence[State], patients: Sequence[int], generator: torch.Generator) -> dict[str, Tensor]:
    """Return the weighted mean of states; that of one state is itself, to the bit.

    Args:
        states: of the same model, one a site.
        patients: of each site, n_k.
        generator: of the masks under which they are summed.

    Raises:
        TrainingError: a weight is not finite, or beyond what a masked sum can hold.
    """
    if len(states) == 1:
        return dict(states[0])
    words = [share(state, own, sum(patients)) for state, own in zip(states, patients, strict=True)]
    return average(secure_sum(words, generator), states[0])


def share(state: State, patients: int, total: int) -> Words:
    """Return what a site adds to the sum: its weights by its part of all patients.

    Args:
        state: of its model.
        patients: that it has.
        total: that all have who add.

    Raises:
        TrainingError: a weight is not finite, or beyond what a masked sum can hold.
    """
    return fixed(patients / total * flattened(state))


def average(total: Words, like: State) -> dict[str, Tensor]:
    """Return the state that is the sum of all shares, in the shapes and types of another."""
    return restored(real(total), like)


def flattened(state: State) -> NDArray[np.float64]:
    """Return all numbers of a state, one tensor after the other."""
    return torch.cat([tensor.detach().cpu().double().flatten() for tensor in state.values()]).numpy()


def restored(numbers: NDArray[np.float64], like: State) -> dict[str, Tensor]:
    """Return a state that holds ``numbers`` in the shapes and types of another."""
    parts = torch.from_numpy(numbers).split([tensor.numel() for tensor in like.values()])
    return {name: _typed(part, tensor) for part, (name, tensor) in zip(parts, like.items(), strict=True)}


def _typed(numbers: Tensor, like: Tensor) -> Tensor:
    whole = numbers if like.is_floating_point() else numbers.round()
    return whole.reshape(like.shape).to(like.dtype)


def snapshot(state: State) -> dict[str, Tensor]:
    """Return a copy of a state that no training changes, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
