"""EMR-WGAN against the tutorial's own networks and steps: same weights, same noise, same numbers.

emr_wgan.json was computed once by the classes and the two steps of GAN_training.py
(github.com/yanchao0222/tutorial_data_synthesis_and_evaluation, commit 7683caa) under TensorFlow 2.15 with the RMSprop
that TensorFlow 2.10 had, on the tensors made by ``frozen`` here: 6 rows of 3 bits, a race of 3 levels and a number,
width 6, noise 3, learning rates 0.01 and 0.02. Columns are in our order.

One thing was mended there: ``tf.nn.moments`` stops the gradient at the mean, which is right for a first derivative, but
leaves a term of 1 / width out of the second, which the gradient penalty takes through LayerNorm.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ehrsynth.models.emr_wgan import EMRWGAN
from ehrsynth.schema import Column, Schema
from tests.training import fit

WIDTH, NOISE, ROWS = 6, 3, 6
THEIRS = json.loads(Path(__file__).with_name("emr_wgan.json").read_text(encoding="utf-8"))


def frozen(salt: int, *shape: int) -> Tensor:
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (0.7 * (0.37 * i * i + 1.3 * i + salt).sin()).reshape(shape).float()


def share(salt: int) -> Tensor:
    return (frozen(salt, ROWS, 1) + 0.7) / 1.4


def rows() -> Tensor:
    race = torch.eye(3)[[0, 1, 2, 0, 1, 0]]
    return torch.cat([(frozen(104, ROWS, 3) > 0).float(), race, share(105)], dim=1)


def model() -> EMRWGAN:
    schema = Schema(
        (
            *(Column(f"code{i}", "binary") for i in range(3)),
            Column("race", "categorical", ("a", "b", "c")),
            Column("age", "continuous", bounds=(0, 1)),
        )
    )
    made = EMRWGAN(schema=schema, width=WIDTH, noise_width=NOISE, lr_generator=0.01, lr_critic=0.02)
    weights: dict[str, Tensor] = {}
    for i in range(5):
        of_generator, of_critic = f"generator.trunk.layers.{i}", f"critic.trunk.layers.{i}"
        weights[f"{of_generator}.0.weight"] = frozen(10 + i, WIDTH, WIDTH if i else NOISE)
        weights[f"{of_generator}.0.bias"] = frozen(20 + i, WIDTH)
        weights[f"{of_generator}.1.weight"] = 1 + frozen(30 + i, WIDTH)
        weights[f"{of_generator}.1.bias"] = 0.5 + frozen(40 + i, WIDTH)
        weights[f"{of_critic}.0.weight"] = frozen(60 + i, WIDTH, WIDTH if i else 7)
        weights[f"{of_critic}.0.bias"] = 0.5 + frozen(70 + i, WIDTH)
        weights[f"{of_critic}.2.weight"] = 1 + frozen(80 + i, WIDTH)
        weights[f"{of_critic}.2.bias"] = frozen(90 + i, WIDTH)
    weights |= {"generator.heads.weight": 0.25 * frozen(50, 7, WIDTH), "generator.heads.bias": frozen(51, 7)}
    weights |= {"critic.score.weight": 0.25 * frozen(99, 1, WIDTH), "critic.score.bias": frozen(100, 1)}
    assert {name for name, _ in made.named_parameters()} == set(weights)
    made.load_state_dict(weights, strict=False)
    return made


def assert_close(ours: Tensor, theirs: Any, what: str = "", *, atol: float = 1e-6) -> None:
    torch.testing.assert_close(ours.detach(), torch.tensor(theirs), rtol=1e-5, atol=atol, msg=lambda m: f"{what}: {m}")


def test_both_networks_map_as_the_tutorials() -> None:
    made = model()
    assert_close(made.generator.eval()(frozen(101, ROWS, NOISE)), THEIRS["rows"])
    assert_close(made.generator.train()(frozen(102, ROWS, NOISE)), THEIRS["rows_in_training"])
    assert_close(made.critic(rows()).squeeze(1), THEIRS["scores"])


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> EMRWGAN:
    """The model after one batch, with the tutorial's noise; its share of generated rows is one minus our e."""
    made, noise = model(), iter([frozen(101, ROWS, NOISE), frozen(102, ROWS, NOISE)])
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn", lambda *_, **__: next(noise))
        patch.setattr(torch, "rand", lambda *_, **__: 1 - share(103))
        fit(made, [rows()], 1)
    assert next(noise, None) is None
    return made


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_batch_gives_the_losses_gradients_and_steps_of_the_tutorial(trained: EMRWGAN) -> None:
    for name in ("critic", "wasserstein", "generator"):
        assert float(trained.trainer.callback_metrics[f"loss/{name}"]) == pytest.approx(THEIRS[name], rel=1e-5)
    gradients = {name: weights.grad for name, weights in trained.named_parameters()}
    assert set(gradients) == set(THEIRS["gradients"])
    for name, gradient in gradients.items():
        assert gradient is not None
        assert_close(gradient, THEIRS["gradients"][name], name)
    after = trained.state_dict()
    for name, weights in THEIRS["weights"].items():
        if name.startswith("generator.trunk") and name.endswith("0.bias"):
            continue  # before BatchNorm a bias has no gradient, and RMSprop makes a step of its rounding
        theirs = torch.tensor(weights)
        if name.endswith("running_var"):  # Keras keeps the variance over n, torch that over n - 1
            theirs = 0.99 + (theirs - 0.99) * ROWS / (ROWS - 1)
        assert_close(after[name], theirs.tolist(), name, atol=1e-5)  # of steps of 0.03 and 0.06
