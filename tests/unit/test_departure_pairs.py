"""What categories and numbers have in common, on tables whose dependence is known."""

import numpy as np
import pytest
import torch

from ehrsynth.disclosure import LEAST
from ehrsynth.layout import Layout, Records
from ehrsynth.models.departures.pairs import PRIOR, _log_ratios
from ehrsynth.models.tally import Tally
from ehrsynth.models.told import EXPECTED
from ehrsynth.sampling import sample_records
from ehrsynth.schema import Column, Schema

SITE = Column("site", "categorical", ("a", "b", "c", "d"))
LOW = Column("low", "continuous", bounds=(0, 1))
HIGH = Column("high", "continuous", bounds=(0, 1))
NUMBERS = Schema((LOW, HIGH))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def observed(schema: Schema, rows: torch.Tensor) -> Tally:
    """Return a model that has seen rows and learned nothing."""
    model = Tally(schema=schema, width=8, ranges=16)
    model.observe(Records.of_dense(Layout.of(schema), rows))
    return model.eval()


def test_numbers_that_have_nothing_in_common_have_no_parents() -> None:
    model = observed(NUMBERS, torch.rand(5000, 2, generator=rng()))
    assert (model.parents == -1).all()
    assert not len(model.pairs)


def test_an_order_of_two_numbers_holds_before_anything_is_learned() -> None:
    rows = torch.rand(8000, 2, generator=rng()).sort(dim=1).values
    drawn = sample_records(observed(NUMBERS, rows), 4000, 0).values
    assert (rows[:, 0] > rows[torch.randperm(8000, generator=rng()), 1]).float().mean() > 0.15  # by chance
    assert (drawn[:, 0] > drawn[:, 1]).float().mean() < 0.05  # most of them within a range


def test_a_likelihood_knows_of_pairs_before_anything_is_learned() -> None:
    rows = torch.rand(8000, 2, generator=rng()).sort(dim=1).values
    model, layout = observed(NUMBERS, rows), Layout.of(NUMBERS)
    alone = torch.stack([rows[:, 0], rows[torch.randperm(8000, generator=rng(1)), 1]], dim=1)
    together, apart = (model.log_likelihood(Records.of_dense(layout, table)).mean() for table in (rows, alone))
    x, _ = model.variables.of(rows)
    joint = torch.bincount(x[:, 0] * 16 + x[:, 1], minlength=256).view(16, 16) / 8000
    told = (torch.special.entr(joint.sum(0)).sum() + torch.special.entr(joint.sum(1)).sum()).item()
    information = told - torch.special.entr(joint).sum().item()
    assert 0.2 < information < 1 - np.log(2)  # of the numbers themselves; of their ranges a little less
    assert 0.9 * information < together.item() + told < information  # no rows tell of themselves more than they have
    assert apart.item() + told < 0


def test_the_variable_that_tells_most_comes_first_and_its_table_is_that_of_the_rows() -> None:
    site = torch.randint(0, 4, (8000,), generator=rng())
    number = (site / 4 + 0.3 * torch.rand(8000, generator=rng(1))).clamp(0, 1)
    rows = torch.cat([torch.nn.functional.one_hot(site, 4).float(), torch.rand(8000, 1, generator=rng(2))], dim=1)
    schema = Schema((SITE, LOW, HIGH))
    model = observed(schema, torch.cat([rows, number[:, None]], dim=1))
    assert model.parents.tolist() == [[-1] * 3, [-1] * 3, [0, -1, -1]]
    x, _ = model.variables.of(torch.cat([rows, number[:, None]], dim=1))
    logits = torch.bincount(x[:, 2]).log() + model.pairs.view(4, -1)
    for level in range(4):
        true = torch.bincount(x[site == level, 2], minlength=logits.shape[1]) / (site == level).sum()
        assert (logits[level].softmax(0) - true).abs().max() < 0.02


def test_ratios_are_drawn_to_those_of_the_rectangles_they_come_of() -> None:
    counts, expected = np.array([[300.0, 100.0], [100.0, 300.0]]), np.full((2, 2), 200.0)
    more = (300 + PRIOR) / (200 + PRIOR), (100 + PRIOR) / (200 + PRIOR)
    nats, found = _log_ratios(counts, expected)
    np.testing.assert_allclose(found, np.log([[more[0], more[1]], [more[1], more[0]]]))
    # Three rectangles more than one, each of which has to tell three nats.
    assert nats == pytest.approx(600 * np.log(1.5) + 200 * np.log(0.5) - 9)
    assert (_log_ratios(np.full((3, 3), 50.0), np.full((3, 3), 50.0))[1] == 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_no_count_below_ten_can_be_read_off(seed: int) -> None:
    draws = np.random.default_rng(seed)
    chances = draws.dirichlet(np.full(12 * 15, 0.2)).reshape(12, 15)
    counts = draws.multinomial(3000, chances.flatten()).reshape(12, 15).astype(float)
    expected = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    _, found = _log_ratios(counts, expected)
    told = np.unique(found)
    assert len(told) > 20
    for ratio in told:  # no two rectangles have the same
        of = found == ratio
        rows, columns = np.flatnonzero(of.any(1)), np.flatnonzero(of.any(0))
        assert of[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        number = counts[of].sum()
        assert number >= LEAST or (number == 0 and expected[of].sum() >= EXPECTED)


def test_a_model_is_read_back_with_what_it_knows_of_pairs() -> None:
    rows = torch.rand(3000, 2, generator=rng()).sort(dim=1).values
    model = observed(NUMBERS, rows)
    other = Tally(schema=NUMBERS, width=8, ranges=16)
    other.load_state_dict(model.state_dict())
    assert torch.equal(sample_records(model, 500, 0).values, sample_records(other.eval(), 500, 0).values)
