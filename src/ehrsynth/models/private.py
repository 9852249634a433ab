"""DP-SGD: each patient's gradient is clipped, and their sum told with noise.

Abadi et al., Deep learning with differential privacy, CCS 2016; the norms of per-record gradients without these
gradients: Li et al., Large language models can be strong differentially private learners, ICLR 2022 (ghost clipping),
by the hooks and the optimizer of Opacus.
"""

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from typing_extensions import override

from ehrsynth.errors import OptionError, TrainingError
from ehrsynth.models.base import SeededModel

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


class PrivateGradients(SingleDeviceStrategy):
    """Trains a model whose ``record_losses`` go through ``record_modules`` by DP-SGD; Lightning does all else.

    Args:
        device: to train on.
        noise: returns the noise multiplier of a training of so many steps.
        max_grad_norm: that the gradient of a record is clipped to.
        batch: records of a step as expected.
        draws: noise levels, or latent vectors, of a record within its gradient.
        generator: of the noise, on the device.
        most: steps that the budget allows, if it may end before the training does.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        noise: Callable[[int], float],
        max_grad_norm: float,
        batch: float,
        draws: int,
        generator: torch.Generator,
        most: int | None = None,
    ) -> None:
        super().__init__(device)
        self.noise, self.max_grad_norm, self.batch, self.draws = noise, max_grad_norm, batch, draws
        self.generator, self.most = generator, most
        self.noise_multiplier = 0.0
        self.hooks: Any = None
        self.sums: list[Tensor] = []  # of the clipped gradients of a step

    @override
    def setup(self, trainer: Any) -> None:
        super().setup(trainer)
        hooks_of, private_of = _opacus()
        steps = trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise OptionError(
                "trainer.max_epochs: privacy=dp needs an end of the training, to know how much noise it takes"
            )
        self.noise_multiplier = self.noise(int(steps))
        model = self.lightning_module
        assert isinstance(model, SeededModel)
        modules = nn.ModuleList(model.record_modules())
        self.hooks = hooks_of(modules, loss_reduction="mean", max_grad_norm=self.max_grad_norm)
        covered = {id(weights) for weights in self.hooks.trainable_parameters}
        trained = [{id(weights) for group in of.param_groups for weights in group["params"]} for of in self.optimizers]
        if covered not in trained or (model.automatic_optimization and len(trained) > 1):
            raise TrainingError(f"{type(model).__name__}: not all of its weights are in record_modules")
        self.place = trained.index(covered)
        private = private_of(
            self.optimizers[self.place],
            noise_multiplier=self.noise_multiplier,
            max_grad_norm=self.max_grad_norm,
            expected_batch_size=self.batch,
            loss_reduction="mean",
            generator=self.generator,
        )
        self.optimizers = [private if place == self.place else other for place, other in enumerate(self.optimizers)]

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of each record [n]; of an empty batch none; a model by hand takes its step here."""
        model = self.lightning_module
        assert isinstance(model, SeededModel)
        if self.most is not None and model.global_step + 1 >= self.most:
            model.trainer.should_stop = True  # after this step all is spent
        self.sums = [torch.zeros_like(weights) for weights in self.hooks.trainable_parameters]
        losses, rng = torch.zeros(0, device=model.device), model.step_rng(batch_idx)
        if len(batch):
            losses = torch.cat([self._clipped(model, part, rng) for part in model.private_parts(batch)])
            model.log_losses(batch_idx, total=losses.mean())
        if not model.automatic_optimization:
            self.optimizers[self.place].zero_grad()
            self.backward(losses, None)
            optimizers = model.optimizers()
            (optimizers[self.place] if isinstance(optimizers, list) else optimizers).step()
            self.hooks.disable_hooks()
            model.after_private_step(batch_idx, max(1, round(self.batch)))
            self.hooks.enable_hooks()
        return losses

    def _clipped(self, model: SeededModel, part: Any, rng: torch.Generator) -> Tensor:
        """Add up the clipped gradients of some records, and return their losses [n]."""
        private = self.hooks
        with self.precision_plugin.train_step_context():
            losses = model.record_losses(part, rng, self.draws)
        for weights in private.trainable_parameters:
            weights._norm_sample = None  # so that none of a part before is taken for one of this
        losses.mean().backward(retain_graph=True)
        if any(weights._norm_sample is None for weights in private.trainable_parameters):
            raise TrainingError(
                f"{type(model).__name__}: some weights were used past record_modules, so that the gradients of its"
                " records cannot be clipped"
            )
        self.optimizers[self.place].zero_grad()
        share = private.get_clipping_coef()
        private.disable_hooks()
        (share * losses).sum().backward()
        private.enable_hooks()
        for total, weights in zip(self.sums, private.trainable_parameters, strict=True):
            total += weights.grad
        return losses.detach()

    @override
    def backward(self, closure_loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Leave the sum of the clipped gradients; the optimizer adds noise and divides by the expected batch."""
        if not self.hooks.hooks_enabled:  # of ``after_private_step``, which sees no record
            closure_loss.backward()
            return closure_loss.detach()
        for total, weights in zip(self.sums, self.hooks.trainable_parameters, strict=True):
            weights.grad = total
        return closure_loss

    @override
    def teardown(self) -> None:
        """Leave the model as it was, without hooks."""
        if self.hooks is not None:
            self.hooks.cleanup()
        super().teardown()


def _opacus() -> tuple[Any, Any]:
    """Return the hooks that find norms of gradients, and the optimizer that adds noise."""
    try:
        from opacus.grad_sample import GradSampleHooksFastGradientClipping
        from opacus.optimizers import DPOptimizerFastGradientClipping
    except ImportError:
        raise OptionError("privacy=dp needs the package opacus; pip install 'ehrsynth[privacy]' brings it") from None
    norms: dict[type[nn.Module], Any] = GradSampleHooksFastGradientClipping.NORM_SAMPLERS
    norms[TableProduct], norms[TableRows], norms[Affine] = _norms_of_products, _norms_of_rows, _norms_of_affine
    norms[AffineOf] = _norms_of_affine_of
    return GradSampleHooksFastGradientClipping, DPOptimizerFastGradientClipping
