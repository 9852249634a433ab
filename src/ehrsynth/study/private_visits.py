"""A private run over patients through time: what its model starts from, and how it trains."""

import torch
from torch import Tensor

from ehrsynth.accounting import rho_within
from ehrsynth.data.private_module import MIDDLE
from ehrsynth.data.private_trajectories import PrivateTrajectoryDataModule
from ehrsynth.errors import OptionError, expect
from ehrsynth.layout import Records
from ehrsynth.ledger import Look, mechanisms_of
from ehrsynth.models.noisy_looks import NoisySums
from ehrsynth.models.private import PrivateGradients
from ehrsynth.models.visits.base import VisitModel
from ehrsynth.models.visits.noisy_rows import noisy_rows
from ehrsynth.seeding import secret_rng
from ehrsynth.study.loaded_run import torch_device
from ehrsynth.study.privacy import Privacy
from ehrsynth.study.private_run import private_gradients
from ehrsynth.study.spec import Spec

PUBLIC = (
    Look("ranges in which dates are counted", "public", "first visits from 1900 to 2219, up to twenty years between"),
    Look("most visits of a record", "public", "model.visits"),
    Look("gaps of rows", "public", "filled with the middle of their bounds"),
)
ORDER = Look("order of codes", "public", "that of the vocabulary, or drawn")


def filled_with_middles(records: Records) -> Tensor:
    """Return rows [n, s] in which what is missing is the middle of its bounds, for others' values are theirs."""
    return records.dense().nan_to_num(MIDDLE)


def train_privately(spec: Spec, model: VisitModel, data: PrivateTrajectoryDataModule) -> PrivateGradients | None:
    """Let a model look at training patients with noise, and return how its gradients are to be made private.

    Of the share of epsilon that ``privacy.marginals`` is, the tree of their rows spends half the rho, and the noisy
    sums over their visits the other half.

    Returns:
        None for a model that has learned all it will.
    """
    asked = Privacy.of(spec.privacy)
    assert asked is not None
    model.seed = int(secret_rng().initial_seed())
    if model.private == "release":
        model.observe(data.static, data.visits)
        model.looks = (*PUBLIC, *model.looks)
        return None
    if not asked.marginals:
        raise OptionError(
            "privacy.marginals=0: rows and dates of patients are drawn as noisy sums tell them; a share of epsilon,"
            " such as 0.2, was expected"
        )
    expect(asked.draws == 1, "privacy.draws", asked.draws, f"1, for the loss of {spec.model_name} draws nothing,")
    n, delta = data.patients, asked.delta or 1 / data.patients
    half = rho_within(asked.marginals * asked.epsilon, delta) / 2
    tree = noisy_rows(model.schema, data.static, half, delta, model.statics.bins)
    noisy = NoisySums((2 * half) ** -0.5, model.noisy_looks, secret_rng())
    with torch.no_grad():
        model.observe_noisily(data.static, data.visits, noisy, tree)
    model.looks = (*PUBLIC, ORDER, *tree.looks, *noisy.looks)
    device = torch_device("cpu" if spec.trainer["accelerator"] == "cpu" else "auto")
    return private_gradients(asked, mechanisms_of(model.looks), n, data.rate, device)
