"""Uses of weights that tell records apart, and the norms of the gradients of each record, without these gradients.

Li et al., Large language models can be strong differentially private learners, ICLR 2022 (ghost clipping). Opacus knows
the norms of torch's own layers; these are of weights that are used past one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

OUTPUTS = 64  # of an ``AffineOf`` computed at a time


class PerRecord(nn.Module):
    """Weights that no layer has, given to each record as rows of its own, so that their gradients can be told apart.

    Args:
        weights: of the model; they are not kept here a second time.
    """

    def __init__(self, weights: nn.Parameter) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, rows: Tensor) -> Tensor:
        """Return the weights of the shape of ``rows`` [..., C], whose content does not matter."""
        return torch.zeros_like(rows) + self.weights


class TableProduct(nn.Module):
    """Products with a table that a network has, of which it gives each record its own: the norms are found from these.

    Args:
        table: [S, width], or of more dimensions, of which the first are S in all.
        scores: whether states [n, k, width] become scores [n, k, S], and not counts [n, k, S] sums [n, k, width].
        of: which rows of the table take part; all by default.
    """

    def __init__(self, table: nn.Parameter, scores: bool = False, of: Tensor | None = None) -> None:
        super().__init__()
        self.table, self.scores, self.of = table, scores, of

    def forward(self, rows: Tensor) -> Tensor:
        """Return the products."""
        table = self.table.flatten(0, -2)
        table = table if self.of is None else table[self.of]
        return rows @ (table.T if self.scores else table)


class TableRows(nn.Module):
    """Rows of a table that a network has, looked up for each record; as ``TableProduct`` of ones.

    Args:
        table: [S, width].
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table

    def forward(self, ids: Tensor) -> Tensor:
        """Return rows [n, k, width] of ids [n, k]; of -1, which is none, zero."""
        return self.table[ids.clamp(min=0)] * (ids >= 0)[..., None]


class Affine(nn.Module):
    """A linear layer of weights that a network has, of which it calls no layer that tells records apart.

    Args:
        weight: [out, in].
        bias: [out], if there is one.
        mask: returns which of the weights take part [out, in], wherever the network is by then; all by default.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, mask: Callable[[], Tensor] | None = None) -> None:
        super().__init__()
        self.weight, self.bias, self.mask = weight, bias, mask

    def forward(self, rows: Tensor) -> Tensor:
        """Return [n, k, out] of rows [n, k, in]."""
        return nn.functional.linear(rows, self.weight if self.mask is None else self.weight * self.mask(), self.bias)


class AffineOf(nn.Module):
    """An affine layer of which each output reads one of several inputs, and no product of the others is made.

    Args:
        layer: [width] to [outputs], which a network has.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, rows: Tensor, which: Tensor) -> Tensor:
        """Return [n, d, outputs].

        Args:
            rows: [n, k, width].
            which: int64 [n, d, outputs], of the k rows that each output reads; no lower than that of the output before.
        """
        n, k, width = rows.shape
        places = (which + k * torch.arange(n, device=which.device)[:, None, None]).flatten(0, 1)
        rows, found = rows.reshape(n * k, width), []
        for at, weight, bias in zip(
            places.split(OUTPUTS, 1), self.weight.split(OUTPUTS), self.bias.split(OUTPUTS), strict=True
        ):
            first, number = at[:, :1], at[:, -1] - at[:, 0] + 1
            start = (number.cumsum(0) - number)[:, None]
            read = torch.arange(int(number.sum()), device=at.device)
            read = read + torch.repeat_interleave((first - start).squeeze(1), number)
            products = nn.functional.linear(rows[read], weight, bias)
            found.append(products.gather(0, at - first + start))
        return torch.cat(found, dim=1).view(which.shape)


def _norms_of_affine_of(layer: AffineOf, inputs: list[Tensor], gradients: Tensor) -> dict[Tensor, Tensor]:
    """Return the norms [n] of the gradients of weight and bias: a row of the weight gets g_o row_which(o) of each d."""
    rows, which = inputs
    among = rows @ rows.transpose(1, 2)
    record = torch.arange(len(rows), device=rows.device)[:, None]
    total = torch.zeros(len(rows), device=rows.device)
    for here, one in zip(which.unbind(1), gradients.unbind(1), strict=True):
        for there, other in zip(which.unbind(1), gradients.unbind(1), strict=True):
            total = total + (one * other * among[record, here, there]).sum(1)
    return {layer.weight: total.clamp(min=0).sqrt(), layer.bias: gradients.sum(1).norm(dim=1)}


def _norms_of_affine(layer: Affine, inputs: list[Tensor], gradients: Tensor) -> dict[Tensor, Tensor]:
    """Return the norms [n] of the gradients of weight and bias; under a mask that of one record at a time is made."""
    (rows,) = inputs
    if layer.mask is None:
        among = [part @ part.transpose(1, 2) for part in (rows, gradients)]
        found: dict[Tensor, Tensor] = {layer.weight: (among[0] * among[1]).sum((1, 2)).clamp(min=0).sqrt()}
    else:
        mask = layer.mask()
        each = [((there.T @ here) * mask).norm() for here, there in zip(rows, gradients, strict=True)]
        found = {layer.weight: torch.stack(each)}
    return found if layer.bias is None else {**found, layer.bias: gradients.sum(1).norm(dim=1)}


def _norms_of_products(layer: TableProduct, inputs: list[Tensor], gradients: Tensor) -> dict[Tensor, Tensor]:
    """Return the norms [n] of what records add to the gradient of a table: of sum over k of input_k gradient_k^T."""
    among = [rows @ rows.transpose(1, 2) for rows in (inputs[0], gradients)]
    return {layer.table: (among[0] * among[1]).sum((1, 2)).clamp(min=0).sqrt()}


def _norms_of_rows(layer: TableRows, inputs: list[Tensor], gradients: Tensor) -> dict[Tensor, Tensor]:
    """Return the same where each input is a row of ones and zeros."""
    (ids,) = inputs
    same = (ids[:, :, None] == ids[:, None]) & (ids >= 0)[:, None]
    return {layer.table: (same * (gradients @ gradients.transpose(1, 2))).sum((1, 2)).clamp(min=0).sqrt()}


NORMS: dict[type[nn.Module], Any] = {  # for ``PerRecord`` Opacus makes the gradients, which are small
    TableProduct: _norms_of_products,
    TableRows: _norms_of_rows,
    Affine: _norms_of_affine,
    AffineOf: _norms_of_affine_of,
}
