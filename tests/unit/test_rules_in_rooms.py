"""One compiled violation in three rooms: the loss, the sampler and the score."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ehrsynth.cli.overrides import rules_below
from ehrsynth.constraints import Implies, OnlyIf, Rules, enforced
from ehrsynth.errors import OptionError
from ehrsynth.evaluation.evaluator import RealData, Value
from ehrsynth.evaluation.validity.constraints import ConstraintViolation
from ehrsynth.layout import Layout, Records
from ehrsynth.models.vae import VAE
from ehrsynth.schema import Column, Schema
from ehrsynth.study.conf import compose
from ehrsynth.study.prepare import recipe_of
from ehrsynth.study.spec import Spec
from tests.rule_sets import LAYOUT, SCHEMA, drawn, random_rules


@pytest.mark.parametrize("seed", range(10))
def test_loss_sampler_and_score_agree_on_every_record(seed: int) -> None:
    constraints, rows = tuple(random_rules(np.random.default_rng(seed))), drawn(200, seed)
    rules = Rules(constraints, SCHEMA)
    broken = enforced("reject", rules, rows).broken
    model = VAE(schema=SCHEMA, latent_width=2, hidden=[4])
    model.rules, model.rules_weight = rules, 1.0
    assert [model.rules_penalty(row[None]).item() > 0 for row in rows] == broken.tolist()
    records = Records.of_dense(LAYOUT, rows)
    score = ConstraintViolation().fit(RealData(SCHEMA, records, records, constraints), 0)
    found = score(records, 0)["validity/constraint_violation"]
    assert isinstance(found, Value)
    assert found.value == pytest.approx(broken.double().mean().item())


TOY = Schema(
    (
        *(Column(name, "binary", domain="diagnosis") for name in ("prostate", "child", "parent")),
        Column("sex", "categorical", ("F", "M")),
    )
)
TOY_RULES = Rules([OnlyIf("prostate", "sex=M"), Implies("child", "parent")], TOY)


def toy_rows(n: int, generator: torch.Generator) -> Tensor:
    """Return records that keep the rules, of codes that are common."""
    male, parent, prostate, child = torch.rand(4, n, generator=generator)
    male, parent = (male < 0.5).float(), (parent < 0.5).float()
    return torch.stack([(prostate < 0.6) * male, (child < 0.6) * parent, parent, 1 - male, male], dim=1)


def share_broken(weight: float) -> float:
    """Return how many of its records break a rule, after a short training."""
    generator = torch.Generator().manual_seed(0)
    train = toy_rows(2000, generator)
    model = VAE(schema=TOY, latent_width=4, hidden=[32], learning_rate=5e-3)
    model.rules, model.rules_weight = TOY_RULES, weight
    model.observe(Records.of_dense(Layout.of(TOY), train))
    optimizer = model.configure_optimizers()
    for step in range(50):
        batch = train[torch.randint(len(train), (256,), generator=generator)]
        optimizer.zero_grad()
        model.training_step(batch, step).backward()
        optimizer.step()
    with torch.no_grad():
        return TOY_RULES.broken(model.eval().sample(4000, generator)).double().mean().item()


def test_the_penalty_teaches_a_model_to_break_fewer_rules() -> None:
    assert TOY_RULES.broken(toy_rows(500, torch.Generator().manual_seed(1))).sum() == 0
    without, with_penalty = share_broken(0.0), share_broken(10.0)
    assert without > 0.1
    assert with_penalty < 0.5 * without


def spec(constraints: Any = None, **values: Any) -> Spec:
    config = compose("train", {}, {f"constraints.{key}": value for key, value in values.items()})
    return Spec.of(config if constraints is None else {**config, "constraints": constraints}, "")


def test_rules_of_a_matrix_are_asked_for_with_or_without_what_is_done_about_them() -> None:
    assert spec().recipe["constraints"] == spec("propose").recipe["constraints"] == "propose"
    assert spec("none").recipe["constraints"] == spec(rules="none").recipe["constraints"] == "none"
    assert spec("none").config["constraints"] == {"rules": "none", "weight": 0, "policy": "keep"}
    assert spec({"policy": "reject"}).config["constraints"] == {"rules": "propose", "weight": 0, "policy": "reject"}
    plain = compose("prepare", {}, {"out": "x"})
    asked: Mapping[str, Any] = {**plain, "constraints": {"rules": "none", "weight": 3}}
    assert (recipe_of(plain).constraints, recipe_of(asked).constraints) == ("propose", "none")
    assert recipe_of(spec(weight=3).recipe).digest == recipe_of(plain).digest


def test_a_run_is_another_one_only_if_something_is_done_about_rules() -> None:
    usual = spec().identity("0")
    assert {spec("none").identity("0"), spec(weight=0.0).identity("0"), spec(policy="keep").identity("0")} == {usual}
    others = [spec(weight=1), spec(weight=10), spec(policy="reject"), spec(policy="repair", weight=1)]
    assert len({usual, *(other.identity("0") for other in others)}) == 5
    assert spec(weight=10).identity("0") == spec(weight=10.0).identity("0")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": -1}, r"constraints.weight=-1: a number, at least 0, was expected"),
        ({"weight": "much"}, "constraints.weight=much"),
        ({"weight": float("nan")}, "constraints.weight=nan"),
        ({"weight": True}, "constraints.weight=True"),
        ({"policy": "drop"}, "constraints.policy=drop: one of keep, reject, repair was expected"),
    ],
)
def test_an_option_that_cannot_be_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        spec(**values).check()
    with pytest.raises(OptionError, match=r"constraints.polcy: no such option; use one of rules, weight, policy"):
        spec({"polcy": "reject"}).check()


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("constraints=none", "constraints.rules=none"),
        ("constraints=propose,none", "constraints.rules=propose,none"),
        ("++constraints=a.yaml", "++constraints.rules=a.yaml"),
        ("constraints={weight: 3}", "constraints={weight: 3}"),
        ("constraints.weight=3", "constraints.weight=3"),
        ("model.constraints=3", "model.constraints=3"),
    ],
)
def test_a_value_alone_says_which_rules(typed: str, read: str) -> None:
    assert rules_below(typed) == read
