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
from ehrsynth.models.private_layers import NORMS


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
    GradSampleHooksFastGradientClipping.NORM_SAMPLERS.update(NORMS)
    return GradSampleHooksFastGradientClipping, DPOptimizerFastGradientClipping
