"""A private run over patients through time: what its model starts from, and how it trains."""

import torch
from torch import Tensor

from ehrsynth.accounting import ZeroConcentrated, epsilon_of, rho_within
from ehrsynth.data.private_module import MIDDLE
from ehrsynth.data.private_trajectories import PrivateTrajectoryDataModule
from ehrsynth.errors import OptionError, expect
from ehrsynth.layout import Records
from ehrsynth.ledger import Look, mechanisms_of
from ehrsynth.models.dp_tree import DPTree
from ehrsynth.models.noisy_looks import NoisySums
from ehrsynth.models.private import PrivateGradients
from ehrsynth.models.visits.base import VisitModel
from ehrsynth.seeding import secret_rng
from ehrsynth.study.loaded_run import torch_device
from ehrsynth.study.privacy import Privacy
from ehrsynth.study.private_run import private_gradients
from ehrsynth.study.spec import Spec

PUBLIC = (
    Look("ranges in which dates are counted", "public", "first visits from 1900 to 2219, up to twenty years between"),
    Look("most visits of a record, order of its codes", "public", "model.visits; that of the vocabulary, or drawn"),
    Look("gaps of rows", "public", "filled with the middle of their bounds"),
)


def filled_with_middles(records: Records) -> Tensor:
    """Return rows [n, s] in which what is missing is the middle of its bounds, for others' values are theirs."""
    return records.dense().nan_to_num(MIDDLE)


def train_privately(spec: Spec, model: VisitModel, data: PrivateTrajectoryDataModule) -> PrivateGradients:
    """Let a model look at training patients with noise, and return how its gradients are to be made private.

    Of the share of epsilon that ``privacy.marginals`` is, the tree of their rows spends half the rho, and the noisy
    sums over their visits the other half.
    """
    asked = Privacy.of(spec.privacy)
    assert asked is not None
    if not asked.marginals:
        raise OptionError(
            "privacy.marginals=0: rows and dates of patients are drawn as noisy sums tell them; a share of epsilon,"
            " such as 0.2, was expected"
        )
    expect(asked.draws == 1, "privacy.draws", asked.draws, f"1, for the loss of {spec.model_name} draws nothing,")
    model.seed = int(secret_rng().initial_seed())
    n, delta = data.patients, asked.delta or 1 / data.patients
    half = rho_within(asked.marginals * asked.epsilon, delta) / 2
    tree = DPTree(
        schema=model.schema,
        epsilon=epsilon_of([ZeroConcentrated(half)], delta).rdp,
        delta=delta,
        bins=model.statics.bins,
        counted=0.0,  # codes belong to visits
    )
    tree.observe(Records.of_dense(model.layout, data.static))
    noisy = NoisySums((2 * half) ** -0.5, model.noisy_looks, secret_rng())
    with torch.no_grad():
        model.observe_noisily(data.static, data.visits, noisy, tree)
    model.looks = (*PUBLIC, *tree.looks, *noisy.looks)
    device = torch_device("cpu" if spec.trainer["accelerator"] == "cpu" else "auto")
    return private_gradients(asked, mechanisms_of(model.looks), n, data.rate, device)
