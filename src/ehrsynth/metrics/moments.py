"""First and second moments of encoded records, streamed in blocks, and the correlations they give."""

import torch
from torch import Tensor
from torchmetrics import Metric

from ehrsynth.layout import Records
from ehrsynth.metrics.missing import filled

ROUNDING = 1e-12  # a variance below this share of the mean square is rounding: the column is constant


class Moments(Metric):
    """Count, sum and Gram matrix of rows; they add up over batches and over ranks.

    float64 throughout, so that sums of 0/1 columns are exact and those of values good to 1e-12.

    Args:
        width: number of columns, p.
        sync: add up over ranks when computing; False where one rank holds all rows.
    """

    count: Tensor
    total: Tensor
    gram: Tensor

    def __init__(self, width: int, sync: bool = True) -> None:
        super().__init__(sync_on_compute=sync)
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(width, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("gram", torch.zeros(width, width, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        """Add rows ``x`` [m, p] without missing values."""
        x = x.to(torch.float64)
        self.count += len(x)
        self.total += x.sum(0)
        self.gram.addmm_(x.T, x)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return mean [p] and (population) covariance [p, p]."""
        mean = self.total / self.count
        return mean, self.gram / self.count - torch.outer(mean, mean)


def moments(*tables: Records, means: Tensor, block: int = 8192) -> tuple[Tensor, Tensor]:
    """Return mean [p] and covariance [p, p] of the pooled rows of ``tables``.

    Args:
        tables: records of one layout.
        means: [C], what to put for missing values.
        block: rows made dense at a time.
    """
    metric = Moments(tables[0].layout.width, sync=False)
    for table in tables:
        for start in range(0, len(table), block):
            part = table[start : start + block]
            metric.update(torch.cat([part.bits.to(torch.float64), filled(part.values.double(), means)], dim=1))
    mean, covariance = metric.compute()
    return mean, covariance


def correlation(mean: Tensor, covariance: Tensor) -> Tensor:
    """Return Pearson correlations [p, p]; all those of a constant column are 0, its own included."""
    variance = covariance.diagonal()
    varies = variance > ROUNDING * (variance + mean.square())
    scale = torch.where(varies, variance.clamp_min(0).rsqrt(), 0.0)
    return (covariance * torch.outer(scale, scale)).clamp(-1, 1)
