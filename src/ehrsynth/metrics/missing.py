"""Missing values, in the one way all joint metrics treat them: filled with the mean of the training rows.

The missing indicator is itself an encoded column, so a filled cell still differs from an observed one.
"""

import torch
from torch import Tensor


def observed_means(values: Tensor) -> Tensor:
    """Return the mean [C] of the observed cells of ``values`` [n, C] in float64; 0 where a column has none."""
    return values.to(torch.float64).nanmean(0).nan_to_num(0.0)


def filled(values: Tensor, means: Tensor) -> Tensor:
    """Return ``values`` [n, C] with NaN replaced by the ``means`` [C] of their columns."""
    return torch.where(values.isnan(), means.to(values.dtype), values)
