"""MedGAN-2025: which rows are set aside, what the critic is told of them, and what follows from its lead."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from ehrsynth.layout import Layout, Records
from ehrsynth.models import medgan_2025
from ehrsynth.models.adversarial import gradient_penalty
from ehrsynth.models.medgan_2025 import MedGAN2025, SetAside
from ehrsynth.schema import Column, Schema
from tests.models import SMALL
from tests.training import fit

SCHEMA = Schema(
    (
        *(Column(f"code{i}", "binary") for i in range(5)),
        Column("race", "categorical", ("a", "b", "c")),
        Column("age", "continuous", bounds=(0, 1), missing=True),
    )
)
LAYOUT = Layout.of(SCHEMA)


def rows(n: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return LAYOUT.harden(torch.rand(n, LAYOUT.width, generator=rng), rng)


def records(x: Tensor) -> Records:
    return Records(LAYOUT, (x[:, LAYOUT.binary] > 0.5).to(torch.uint8), x[:, LAYOUT.values])


def model(**more: Any) -> MedGAN2025:
    return MedGAN2025(schema=SCHEMA, width=SMALL, depth=2, noise_width=SMALL, **more)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_tenth_is_set_aside_and_known_again_in_any_batch() -> None:
    x = rows(400)
    aside = SetAside.of(records(x), rng())
    found = aside.among(x, rng())
    assert found.sum() == 40, "every row has a number of its own, so that none is like another"
    order = torch.randperm(400, generator=rng())
    assert torch.equal(torch.cat([aside.among(part, rng()) for part in x[order].split(7)]), found[order])
    assert not SetAside().among(x, rng()).any()
    assert not aside.among(rows(50, seed=1), rng()).any()


def test_of_rows_that_are_alike_as_many_are_set_aside_as_were_drawn() -> None:
    x = torch.cat([rows(1).expand(900, -1), rows(100, seed=1)])
    aside = SetAside.of(records(x), rng())
    (place,) = (aside.shares < 1).nonzero().flatten().tolist()
    drawn = round(float(aside.shares[place]) * 900)
    assert drawn + (len(aside.hashes) - 1) == 100
    assert aside.among(x[:900], rng()).sum().item() == pytest.approx(drawn, abs=35)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize("adaptive", ["effort", "augmentation"])
def test_the_critic_learns_from_no_row_that_is_set_aside(adaptive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, learned = rows(100), list[Tensor]()

    def noted(critic: Any, real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
        assert real.shape == fake.shape
        learned.append(real)
        return gradient_penalty(critic, real, fake, generator)

    monkeypatch.setattr(medgan_2025, "gradient_penalty", noted)
    it = model(adaptive=adaptive, window=3)
    it.observe(records(x))
    fit(it, x.split(20), epochs=2)
    assert sum(map(len, learned)) == 2 * 90
    assert not it.aside.among(torch.cat(learned), rng()).any()
    assert it.updates == 10
    assert it.lead.isfinite()
    assert it.scores[1].tolist() == [18, 2, 20], "the window begun after the ninth update"


def test_effort_follows_the_lead_and_falls_when_it_is_learned_by_heart() -> None:
    it = model(n_critic=2, tolerance=0.1)
    seen = []
    for lead, overfit in [(1, 0), (1.1, 0), (1.12, 0), (2, 0.09), (4, 0.11), (3, 0), (1, 0), (0.5, 0)]:
        it._adapt(lead, overfit)
        seen.append(int(it.effort))
    # no window before; risen; by too little; risen; risen, but overfit; fallen; fallen; at least one
    assert seen == [2, 3, 3, 4, 3, 2, 1, 1]
    for lead in range(1, 20):
        it._adapt(2.0**lead, 0.0)
    assert it.effort == 10
    assert it.augmented == 0


def test_augmentation_rises_while_the_critic_overfits() -> None:
    it = model(adaptive="augmentation")
    for overfit in (0.0, 0.2, 0.3, 0.05):
        it._adapt(1.0, overfit)
    assert it.augmented.item() == pytest.approx(0.02)
    for _ in range(100):
        it._adapt(1.0, 1.0)
    assert it.augmented.item() == pytest.approx(0.8)
    assert it.effort == 1


def test_an_altered_row_has_whole_columns_of_others_and_marginals_stay() -> None:
    it, x = model(adaptive="augmentation"), rows(4_000)
    assert torch.equal(it._altered(x, rng()), x)
    it.augmented.fill_(0.5)
    y = it._altered(x.requires_grad_(), rng())
    assert (y[:, LAYOUT.groups["race"]].sum(1) == 1).all()
    torch.testing.assert_close(y.mean(0), x.mean(0), atol=0.02, rtol=0)
    age = LAYOUT.places["age"][1]
    assert (y[:, age] != x[:, age]).float().mean().item() == pytest.approx(0.5 * 0.25, abs=0.02)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.sum().item() == pytest.approx(x.numel()), "gradients go to where a value came from"


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_the_generator_waits_for_as_many_critic_updates_as_the_effort_says() -> None:
    it = model(adaptive="none", n_critic=3)
    it.trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    turns = ["-X"[it.generators_turn(i)] for i in range(7)]
    assert "".join(turns) == "--X--X-"
    it.effort.fill_(1)
    assert it.generators_turn(0)
    assert it.turns == 0
