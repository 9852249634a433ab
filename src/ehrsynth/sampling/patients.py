"""From a trained model of visits to synthetic patients."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ehrsynth.layout import Records
from ehrsynth.models.visits.base import VisitModel, sampled
from ehrsynth.visits import Visits


class Patients(NamedTuple):
    """Patients through time.

    Attributes:
        static: [n], what is said of each once; NaN where missing.
        visits: theirs.
    """

    static: Records
    visits: Visits


def drawn_patients(
    model: VisitModel,
    n: int,
    seed: int,
    static: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Patients:
    """Draw patients.

    Args:
        model: a trained model.
        n: patients, at least 1.
        seed: of the draws.
        static: encoded rows [n, s] that they shall have; drawn if not given.
        progress: called with the number of patients done so far.

    Raises:
        OptionError: ``n`` is not positive, or not as many rows are given.
    """
    rows, visits = zip(*sampled(model, n, seed, static, progress=progress), strict=True)
    return Patients(Records.of_dense(model.layout, torch.cat(rows)).with_gaps(), Visits.joined(visits))
