"""Visit Diffusion: what it knows before a visit, its bound, domains given each other, against loops and counting."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ehrsynth.data.trajectory_module import TrajectoryDataModule
from ehrsynth.errors import OptionError
from ehrsynth.models.visits.stepwise import Step, steps_of
from ehrsynth.models.visits.visit_diffusion import MEASURED, VisitDiffusion
from ehrsynth.models.visits.visit_diffusion_network import Before
from ehrsynth.visit_batch import batch_of
from ehrsynth.visits import UNKNOWN, Visits
from tests.training import quiet_trainer
from tests.visits import SCHEMA, simulated, visit_schema

CODES = 8  # six diagnoses, two medications
SMALL: dict[str, Any] = {"width": 16, "reveal_width": 48, "depth": 1, "ranges": 8, "dropout": 0.0, "steps": 8}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(static: Tensor, visits: Visits, **options: Any) -> VisitDiffusion:
    model = VisitDiffusion(schema=SCHEMA, visit_schema=visit_schema(CODES), **(SMALL | options))
    model.observe(static, visits)
    return model


def test_memory_is_what_a_loop_says() -> None:
    hot = torch.rand(5, 4, 3, generator=rng()) < 0.4
    for t in range(5):
        times = hot[:, :t].sum(1).float()
        latest = hot[:, t - 1].float() if t else torch.zeros(5, 3)
        none = torch.zeros(5)
        found = Before(none, none, torch.full((5,), t), none, none, latest, times).memory()
        for i in range(5):
            for code in range(3):
                had = hot[i, :t, code].tolist()
                expected = [
                    float(bool(had) and had[-1]),
                    float(any(had) and not had[-1]),
                    sum(had) / (t + 1),
                    math.log(1 + sum(had)),
                ]
                assert found[i, :, code].tolist() == pytest.approx(expected)


@torch.no_grad()
def test_visit_after_visit_it_knows_what_it_knows_of_all_at_once() -> None:
    static, visits = simulated(60, codes=CODES)
    model = made(static, visits).eval()
    batch = batch_of(visits, static, 1)
    _, before, rows, owner = model._encoded(model.best, batch)
    state = model.begun(batch.static, batch.first)
    seen = 0
    for t, visit in enumerate(steps_of(batch, CODES)):
        mine = before.number == t
        here = owner[mine]
        assert here.tolist() == (batch.lengths > t).nonzero().flatten().tolist()
        for name, part in vars(model.of_some(state, here)).items():
            torch.testing.assert_close(part, getattr(before, name)[mine], rtol=1e-4, atol=1e-4)
        assert torch.equal(rows[mine][:, :CODES], visit.codes[here].float())
        seen += len(here)
        state = model.after(state, visit)
    assert seen == visits.count


@torch.no_grad()
def test_kind_and_gap_are_never_hidden_and_of_some_visits_whole_domains_are_told() -> None:
    static, visits = simulated(60, codes=CODES)
    model = made(static, visits, told=0.5)
    assert {name: (at.start, at.stop) for name, at in model.domains.items()} == {
        "diagnosis": (0, 6), "medication": (6, 8), MEASURED: (10, 12)
    }  # fmt: skip
    hidden = model._some_told(4000, rng())
    assert not hidden[:, 8:10].any()
    told = torch.stack([~hidden[:, at].any(1) for at in model.domains.values()], dim=1)
    for at in model.domains.values():
        assert (hidden[:, at].all(1) | ~hidden[:, at].any(1)).all()
    assert torch.allclose(told.float().mean(0), torch.tensor(0.25), atol=0.03)
    assert made(static, visits, told=0.0)._some_told(50, rng()).sum() == 50 * 10


def test_the_schedule_reveals_first_what_varies_most() -> None:
    static, visits = simulated(60, codes=CODES)
    assert (made(static, visits, spread=1.0).masking.exponents == 1).all()
    masking = made(static, visits, spread=3.0).masking
    assert masking.exponents.max() == 3
    assert torch.equal(masking.exponents.argsort(), masking.entropy.argsort())


def treated(n: int, seed: int = 0) -> tuple[Tensor, Visits]:
    """Return patients whose visits have the first diagnosis by a coin, and then its drug nine times of ten."""
    static, visits = simulated(n, seed, codes=CODES)
    ill = torch.rand(visits.count, generator=rng(seed)) < 0.5
    drug = ill & (torch.rand(visits.count, generator=rng(seed + 1)) < 0.9)
    hot = torch.zeros(visits.count, CODES, dtype=torch.bool)
    hot[:, 0], hot[:, 6] = ill, drug
    of, codes = hot.nonzero(as_tuple=True)
    offsets = np.concatenate([[0], np.bincount(of.numpy(), minlength=visits.count).cumsum()])
    return static, replace(visits, codes=codes.numpy().astype(np.int32), code_offsets=offsets)


@cache
def of_treated() -> VisitDiffusion:
    static, visits = treated(400)
    model = made(static, visits, learning_rate=0.01, warmup_steps=10, ema_decay=0.98)
    data = TrajectoryDataModule(visit_schema=model.visit_schema, static=static, visits=visits, batch_size=200, seed=0)
    quiet_trainer(24).fit(model, data)
    return model.eval()


def some(k: int, ill: bool, drug: bool) -> Step:
    codes = torch.zeros(k, CODES, dtype=torch.bool)
    codes[:, 0], codes[:, 6] = ill, drug
    values = torch.full((k, 1), 150.0)
    return Step(torch.zeros(k), torch.ones(k, dtype=torch.int64), torch.full((k,), 3.0), codes, values)


@torch.no_grad()
def test_domains_are_drawn_given_each_other() -> None:
    model, k = of_treated(), 600
    static, visits = treated(k, 5)
    state = model.begun(static, torch.from_numpy(visits.starts[visits.offsets[:-1]] / 86_400e6))
    shares = {}
    for ill in (False, True):
        drawn = model.completed(state, some(k, ill, not ill), ["diagnosis"], rng())
        assert (drawn.codes[:, 0] == ill).all()
        shares[ill] = float(drawn.codes[:, 6].float().mean())
        assert drawn.kinds.eq(1).all()
        assert drawn.values.isnan().any()
        back = model.completed(state, some(k, not ill, ill), ["medication", MEASURED], rng())
        assert (back.codes[:, 6] == ill).all()
        assert (back.values == 150).all()
        assert (back.stays == 3).all()
        shares[f"back {ill}"] = float(back.codes[:, 0].float().mean())
    assert shares[True] == pytest.approx(0.9, abs=0.06)
    assert shares[False] < 0.05
    assert shares["back True"] > 0.94
    assert shares["back False"] == pytest.approx(0.05 / 0.55, abs=0.06)
    alone = model.step(state, rng())
    together = alone.codes[:, 0] & alone.codes[:, 6]
    assert float(together.float().mean()) == pytest.approx(0.45, abs=0.07)
    assert float((~alone.codes[:, 0] & alone.codes[:, 6]).float().mean()) < 0.05
    with pytest.raises(OptionError, match=r"given 'drugs': one of diagnosis, medication, measurements"):
        model.completed(state, some(k, True, True), ["drugs"], rng())


@torch.no_grad()
def test_domains_of_whole_records_are_drawn_given_the_rest() -> None:
    """Drugs by the diagnosis of each visit, all else as it stands; then what is measured, and diagnoses by drugs."""
    model = of_treated()
    static, visits = treated(300, 7)
    visits = visits.of_patients(np.append(np.arange(299), 0))
    static = torch.cat([static[:299], static[:1]])
    ill = np.isin(np.arange(visits.count), visits.visit_of_code[visits.codes == 0])
    treats = model.complete(visits, static, ["medication"], rng())
    treats.check(model.visit_schema, "completed")
    for name in ("offsets", "starts", "ends", "kinds", "value_offsets", "measured", "values", "born", "died"):
        np.testing.assert_array_equal(getattr(treats, name), getattr(visits, name))
    diagnoses, drugs = model.domains["diagnosis"], model.domains["medication"]
    kept = [each.codes < diagnoses.stop for each in (treats, visits)]
    np.testing.assert_array_equal(treats.codes[kept[0]], visits.codes[kept[1]])
    np.testing.assert_array_equal(treats.visit_of_code[kept[0]], visits.visit_of_code[kept[1]])
    given = np.isin(np.arange(visits.count), treats.visit_of_code[treats.codes == 6])
    assert given[ill].mean() == pytest.approx(0.9, abs=0.08)
    assert given[~ill].mean() < 0.05

    others = model.complete(visits, static, ["diagnosis", MEASURED], rng())
    others.check(model.visit_schema, "completed")
    np.testing.assert_array_equal(others.starts, visits.starts)
    assert (others.ends[others.ends != UNKNOWN] >= others.starts[others.ends != UNKNOWN]).all()
    assert not np.array_equal(others.values, visits.values)
    treated_by = [each.codes >= drugs.start for each in (others, visits)]
    np.testing.assert_array_equal(others.codes[treated_by[0]], visits.codes[treated_by[1]])
    with pytest.raises(OptionError, match="complete=drugs: one of diagnosis, medication, measurements was expected"):
        model.complete(visits, static, ["drugs"], rng())


@torch.no_grad()
def test_the_bound_is_close_to_what_the_codes_are_worth() -> None:
    """Coin and drug take log 2 + H(0.9) / 2 nats: the bound of these codes is not below, and not far above."""
    model = of_treated()
    static, visits = treated(400, 9)
    _, before, rows, _ = model._encoded(model.best, batch_of(visits, static, 1))
    hidden = torch.zeros(len(rows), model.masking.count, dtype=torch.bool)
    hidden[:, :CODES] = True
    bound = torch.stack([model._bound(model.best, before, rows, hidden, rng(seed)) for seed in range(30)])
    worth = np.log(2) + 0.5 * -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert worth - 0.03 < float(bound.mean()) < worth + 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"told": 1.0}, r"model\.told=1"),
        ({"spread": 0.5}, r"model\.spread=0\.5"),
        ({"steps": 0}, r"model\.steps=0"),
        ({"top_p": 2.0}, r"model\.top_p=2"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        made(*simulated(10, codes=CODES), **options)
