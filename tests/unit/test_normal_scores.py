"""Numbers with ties and gaps as normal scores, and back."""

import torch
from scipy.stats import kstest, norm
from torch import Tensor

from ehrsynth.layout import Layout, Records
from ehrsynth.models.diffusion.normal_scores import NormalRecords, NormalScores
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("skewed", "continuous", bounds=(0, 1)),
        Column("visits", "count", bounds=(0, 4)),
        Column("lab", "continuous", bounds=(0, 1), missing=True),
    )
)  # encoded: lab:missing, skewed, visits, lab
LAYOUT = Layout.of(SCHEMA)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(n: int) -> Tensor:
    uniform = torch.rand(n, 4, generator=rng())
    counts = torch.bucketize(uniform[:, 2].contiguous(), torch.tensor([0.5, 0.8, 0.9, 0.97])) / 4
    return torch.stack([(uniform[:, 0] < 0.3).float(), uniform[:, 1] ** 4, counts, uniform[:, 3]], dim=1)


def fitted(x: Tensor) -> NormalRecords:
    scores = NormalRecords(LAYOUT)
    scores.observe(Records.of_dense(LAYOUT, x))
    return scores


def written(scores: NormalRecords, drawn: Tensor) -> Tensor:
    return scores.written(torch.zeros(len(drawn), LAYOUT.width), drawn, torch.ones_like(drawn, dtype=torch.bool))


def test_scores_of_every_column_are_normal() -> None:
    x = rows(20_000)
    found = fitted(x).of(x, rng(1))
    torch.testing.assert_close(found.mean(0), torch.zeros(3), atol=0.03, rtol=0)
    torch.testing.assert_close(found.std(0), torch.ones(3), atol=0.03, rtol=0)
    inner = (found.abs() < 0.6745).float().mean(0)  # the middle half of a normal variable
    torch.testing.assert_close(inner, torch.full((3,), 0.5), atol=0.02, rtol=0)


def test_there_and_back_is_the_same_record() -> None:
    x = rows(5_000)
    scores = fitted(x)
    for generator in (None, rng(1)):
        back = written(scores, scores.of(x, generator))
        assert torch.equal(back[:, 0], x[:, 0])
        torch.testing.assert_close(back[:, 2], x[:, 2])
        seen = x[:, 0] == 0
        inside = (x[:, 1] > scores.quantiles[1, 0]) & (x[:, 1] < scores.quantiles[-2, 0])
        torch.testing.assert_close(back[inside, 1], x[inside, 1], atol=2e-4, rtol=0)
        torch.testing.assert_close(back[seen, 3], x[seen, 3], atol=2e-4, rtol=0)


def test_normal_noise_is_drawn_as_the_training_marginals() -> None:
    x = rows(20_000)
    drawn = written(fitted(x), torch.randn(20_000, 3, generator=rng(2)))
    assert abs(drawn[:, 0].mean() - 0.3) < 0.01
    for count in range(5):
        share = (x[:, 2] == count / 4).float().mean()
        assert abs((drawn[:, 2] == count / 4).float().mean() - share) < 0.01
    places = torch.linspace(0.05, 0.95, 10)
    torch.testing.assert_close(drawn[:, 1].quantile(places), x[:, 1].quantile(places), atol=0.02, rtol=0)


def test_a_column_that_is_always_missing_stays_so() -> None:
    x = rows(50)
    x[:, 0] = 1
    scores = fitted(x)
    back = written(scores, torch.randn(50, 3, generator=rng()))
    assert (back[:, 0] == 1).all()
    assert scores.of(x).isfinite().all()


def test_what_is_known_is_not_written_over() -> None:
    x = rows(100)
    where = torch.tensor([False, True, False]).expand(100, -1)
    back = fitted(x).written(x, torch.randn(100, 3, generator=rng()), where)
    assert torch.equal(back[:, [0, 1, 3]], x[:, [0, 1, 3]])
    assert not torch.equal(back[:, 2], x[:, 2])


def test_quantiles_make_a_skewed_column_normal_and_come_back() -> None:
    values = torch.rand(5000, 1, generator=rng()) ** 4
    records = Records(
        Layout.of(Schema((Column("x", "continuous", bounds=(0, 1)),))), torch.zeros(5000, 0, dtype=torch.uint8), values
    )
    scale = NormalScores(1)
    scale.observe(records)
    normal = scale(values)
    assert kstest(normal[:, 0].numpy(), norm.cdf).statistic < 0.01
    assert (scale.inverse(normal) - values).abs().max() < 5e-3


def test_tied_numbers_go_to_the_middle_of_their_ranks_and_come_back_exactly() -> None:
    values = torch.tensor([0.0] * 400 + [0.25] * 400 + [1.0] * 200)[:, None]
    records = Records(
        Layout.of(Schema((Column("x", "count", bounds=(0, 4)),))), torch.zeros(1000, 0, dtype=torch.uint8), values
    )
    scale = NormalScores(1)
    scale.observe(records)
    normal = scale(torch.tensor([[0.0], [0.25], [1.0]]))
    torch.testing.assert_close(normal[:, 0], torch.tensor(norm.ppf([0.2, 0.6, 0.9])).float(), rtol=0, atol=0.01)
    torch.testing.assert_close(scale.inverse(normal), torch.tensor([[0.0], [0.25], [1.0]]))
