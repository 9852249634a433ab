"""EMR-WGAN: the sizes of the reference, the penalty, and who is trained when."""

import math
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn

from ehrsynth.callbacks.curves import LossCurves
from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.adversarial import gradient_penalty
from ehrsynth.models.emr_wgan import EMRWGAN
from ehrsynth.models.heads import marginal_logits
from ehrsynth.models.nn import BatchNorm, ResidualStack, glorot_, glorot_heads_, mlp
from ehrsynth.schema import Column, Schema
from tests.training import fit


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def mimic_like() -> Schema:
    """The 1,460 columns of the tutorial: race in six levels, 1,450 bits and four values."""
    bits = [Column(f"b{i}", "binary") for i in range(1450)]
    values = [Column(f"v{i}", "continuous", bounds=(0, 1)) for i in range(4)]
    return Schema((*bits, Column("race", "categorical", tuple("abcdef")), *values))


def test_parameter_counts_of_the_tutorial() -> None:
    model = EMRWGAN(schema=mimic_like())
    assert model.layout.width == 1460
    # 128*384+384, four times 384*384+384, five times 2*384 of BatchNorm, 384*1460+1460
    assert count(model.generator) == 49_536 + 4 * 147_840 + 5 * 768 + 562_100  # 1.207 M
    # 1460*384+384, the same four, five LayerNorms, 384+1
    assert count(model.critic) == 561_024 + 4 * 147_840 + 5 * 768 + 385  # 1.157 M


@pytest.mark.parametrize("norm", [0.0, 1.0, 2.5])
def test_penalty_of_a_linear_critic_is_its_distance_from_slope_one(norm: float) -> None:
    weights = torch.tensor([3.0, 4.0, 0.0]) / 5 * norm
    weights.requires_grad_()
    rng = torch.Generator().manual_seed(0)
    penalty = gradient_penalty(lambda x: x @ weights, torch.rand(8, 3), torch.rand(8, 3), rng)
    assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-6)
    if norm:
        penalty.backward()
        expected = 2 * (norm - 1) * torch.tensor([0.6, 0.8, 0.0])
        torch.testing.assert_close(weights.grad, expected)


def test_penalty_is_taken_between_real_and_fake_with_one_share_per_row() -> None:
    seen: list[torch.Tensor] = []

    def critic(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.detach())
        return x.square().sum(1)

    real, fake = torch.zeros(50, 2), torch.ones(50, 2) * torch.tensor([1.0, 10.0])
    gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0))
    shares = seen[0] / fake
    torch.testing.assert_close(shares[:, 0], shares[:, 1])
    assert len(shares[:, 0].unique()) == 50
    assert ((shares >= 0) & (shares <= 1)).all()


def test_residuals_start_at_the_second_layer() -> None:
    stack = ResidualStack([nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)])
    with torch.no_grad():
        for layer, weight in zip(stack.layers, (3.0, 2.0, 10.0), strict=True):
            layer.weight.fill_(weight)
    assert stack(torch.ones(1, 1)).item() == 3 * (1 + 2) * (1 + 10)


def test_keras_start_values() -> None:
    layer = nn.Linear(300, 100)
    glorot_(layer)
    limit = math.sqrt(6 / 400)
    assert layer.bias.abs().max() == 0
    assert 0.95 * limit < layer.weight.abs().max() <= limit


def test_heads_start_as_one_layer_for_each_group_and_one_for_the_rest() -> None:
    layout = mimic_like_layout()
    heads = nn.Linear(384, layout.width)
    glorot_heads_(heads, layout)
    race = layout.groups["race"]
    alone = torch.cat([heads.weight[: race.start], heads.weight[race.stop :]])
    for weights, outputs in ((heads.weight[race], 6), (alone, 1454)):
        limit = math.sqrt(6 / (384 + outputs))
        assert 0.99 * limit < weights.abs().max() <= limit * (1 + 1e-6)
        assert weights.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
    plain, same = nn.Linear(8, 5), nn.Linear(8, 5)
    for layer, start in ((plain, glorot_), (same, lambda it: glorot_heads_(it, Layout.of(bits(5))))):
        torch.manual_seed(0)
        start(layer)
    assert torch.equal(plain.weight, same.weight), "without groups it is one layer"


def mimic_like_layout() -> Layout:
    return Layout.of(mimic_like())


def bits(n: int) -> Schema:
    return Schema(tuple(Column(f"b{i}", "binary") for i in range(n)))


def normalised(norm: nn.BatchNorm1d, x: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    """Return the output, the gradient of its weighted mean, and what was learned of the rows."""
    x = x.clone().requires_grad_()
    y = norm(x)
    (y * weight).sum(1).mean().backward()
    assert x.grad is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return [y.detach(), x.grad, norm.running_mean.clone(), norm.running_var.clone()]


def one_of_two(rank: int, folder: str, shape: tuple[int, ...]) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    rng = torch.Generator().manual_seed(0)
    x, weight = torch.randn(shape, generator=rng), torch.randn(shape, generator=rng)
    torch.save(normalised(BatchNorm(3), x[rank::2], weight[rank::2]), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5)])
def test_two_processes_normalise_a_batch_as_one_does(shape: tuple[int, ...], tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    x, weight = torch.randn(shape, generator=rng), torch.randn(shape, generator=rng)
    y, slope, mean, variance = normalised(nn.BatchNorm1d(3), x, weight)
    multiprocessing.start_processes(one_of_two, (str(tmp_path), shape), nprocs=2, start_method="fork")
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        # The slope of a process's mean over half of the rows is twice that of the mean over all, and DDP takes means.
        for ours, theirs in zip(found, [y[rank::2], 2 * slope[rank::2], mean, variance], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_mlp_ends_without_activation() -> None:
    assert [type(layer).__name__ for layer in mlp([4, 3, 2])] == ["Linear", "ReLU", "Linear"]


def small_records() -> Records:
    schema = Schema(
        (
            Column("half", "binary"),
            Column("none", "binary"),
            Column("sex", "categorical", ("F", "M")),
            Column("age", "continuous", bounds=(0, 1), missing=True),
        )
    )
    layout = Layout.of(schema)  # half, none, age:missing, sex=F, sex=M, age
    rows = torch.tensor([[1, 0, 0, 1, 0, 0.2], [0, 0, 0, 1, 0, 0.4], [1, 0, 0, 1, 0, 0.6], [0, 0, 1, 0, 1, 0.0]])
    return Records.of_dense(layout, rows)


def test_marginal_logits_give_the_smoothed_training_means() -> None:
    train = small_records()
    means = train.layout.activate(marginal_logits(train))
    expected = torch.tensor([2.5 / 5, 0.5 / 5, 1.5 / 5, 3.5 / 5, 1.5 / 5, 0.4])  # the missing age is left out
    torch.testing.assert_close(means, expected)


def test_drawn_rows_pass_the_gradient_straight_through() -> None:
    schema = Schema((Column("a", "binary"), Column("b", "binary")))
    model = EMRWGAN(schema=schema, width=4, depth=1, decoding="bernoulli")
    rng = torch.Generator().manual_seed(0)
    rows = model.shown(model.chances(torch.zeros(32, 0), rng), rng)
    assert set(rows.detach().round(decimals=5).abs().unique().tolist()) == {0.0, 1.0}
    rows.sum().backward()
    assert model.generator.heads.bias.grad is not None
    assert model.generator.heads.bias.grad.abs().min() > 0
    published = EMRWGAN(schema=schema, width=4, depth=1)
    assert published.shown(published.chances(torch.zeros(32, 0), rng), rng).detach().unique().numel() > 2


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize(("sizes", "option"), [((1, 1), "data.batch_size=1"), ((3, 1), "data.drop_last=false")])
def test_a_batch_of_one_row_is_the_users_to_mend(sizes: tuple[int, int], option: str) -> None:
    model = EMRWGAN(schema=Schema((Column("a", "binary"), Column("b", "binary"))), width=4, depth=1)
    batches = torch.zeros(sum(sizes), 2).split(sizes)
    with pytest.raises(OptionError, match=f"^{option}: at least 2 rows"):
        fit(model, batches, 1)


class Turns(EMRWGAN):
    """Note after which batches the generator has learned."""

    def on_train_batch_end(self, outputs: object, batch: torch.Tensor, batch_idx: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_idx)
        now = self.generator.heads.weight.detach().clone()
        self.turns = [*getattr(self, "turns", []), not torch.equal(now, getattr(self, "before", now * 0))]
        self.before = now


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize(
    ("n_critic", "batches", "epochs", "turns"),
    [(3, 2, 3, "--X--X"), (2, 2, 2, "-X-X"), (1, 2, 1, "XX"), (5, 1, 2, None)],
)
def test_the_generators_turn_is_counted_over_epochs(
    n_critic: int, batches: int, epochs: int, turns: str | None, tmp_path: Path
) -> None:
    model = Turns(schema=Schema((Column("a", "binary"), Column("b", "binary"))), width=4, depth=1, n_critic=n_critic)
    model.before = model.generator.heads.weight.detach().clone()
    rows = torch.ones(4 * batches, 2).split(4)
    curves = LossCurves(folder=tmp_path)
    if turns is None:
        with pytest.raises(OptionError, match=r"^model.n_critic=5: at most 2, the batches of the whole training, was"):
            fit(model, rows, epochs, callbacks=[curves])
        return
    fit(model, rows, epochs, callbacks=[curves])
    assert "".join("-X"[turn] for turn in model.turns) == turns
    trained = ["X" in turns[start : start + batches] for start in range(0, len(turns), batches)]
    assert ["loss/generator" in epoch for epoch in curves.epochs] == trained


def fitted(model: EMRWGAN, rows: torch.Tensor, precision: str = "32-true") -> EMRWGAN:
    fit(model, rows.split(16), 3, precision=precision)
    return model.eval()


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec.* is deprecated:FutureWarning")
@pytest.mark.parametrize("decoding", ["threshold", "bernoulli"])
def test_mixed_precision_trains_almost_the_same_and_penalises_in_float32(decoding: str) -> None:
    layout, rng = small_records().layout, torch.Generator().manual_seed(0)
    rows = layout.harden(torch.rand(64, layout.width, generator=rng), rng)
    schema = Schema(
        (
            Column("half", "binary"),
            Column("none", "binary"),
            Column("sex", "categorical", ("F", "M")),
            Column("age", "continuous", bounds=(0, 1), missing=True),
        )
    )
    options = {"width": 16, "depth": 2, "lr_generator": 1e-3, "lr_critic": 1e-3, "decoding": decoding}
    full = fitted(EMRWGAN(schema=schema, **options), rows)  # type: ignore[arg-type]
    mixed = fitted(EMRWGAN(schema=schema, **options), rows, "bf16-mixed")  # type: ignore[arg-type]
    for a, b in zip(full.parameters(), mixed.parameters(), strict=True):
        assert a.dtype == b.dtype == torch.float32
        assert (a - b).abs().mean() < 0.01
    seen: list[torch.dtype] = []

    def critic(x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = full.critic(x)
        seen.append(scores.dtype)
        return scores

    with torch.autocast("cpu", torch.bfloat16):
        gradient_penalty(critic, rows, rows.bfloat16(), rng).backward()
    assert seen == [torch.float32]


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_the_average_generates_if_there_is_one() -> None:
    rows = (torch.rand(64, 2, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    model = fitted(EMRWGAN(schema=bits(2), width=8, depth=2, lr_generator=0.01, ema_decay=0.999), rows).eval()
    assert model.average is not None
    means = model.average.module.heads.bias
    assert not torch.equal(means, model.generator.heads.bias)
    before = model.sample(200, torch.Generator().manual_seed(0))
    torch.nn.init.constant_(model.generator.heads.bias, 50.0)
    assert torch.equal(model.sample(200, torch.Generator().manual_seed(0)), before)
