"""Learning without gradients, as passes that add up: no row is left out, whoever counts and however often it stops."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from ehrsynth.callbacks.curves import LossCurves
from ehrsynth.callbacks.evaluate import checkpoint_path
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.data.matrix import Matrix
from ehrsynth.models.base import load_model
from ehrsynth.models.mixture import Mixture
from tests.smoke.test_training import fit, judge, same


class Counted(Mixture):
    """A small mixture that notes how many rows each pass saw."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rows_seen: list[int] = []

    def update(self, total: Mapping[str, Tensor]) -> None:
        self.rows_seen.append(int(total["rows"]))
        super().update(total)


def counted(data: EhrDataModule) -> Counted:
    made = Counted(schema=data.schema, components=4)
    made.observe(data.records["train"])
    return made


@pytest.fixture
def data(matrix: Path) -> EhrDataModule:
    module = EhrDataModule(matrix=Matrix.open(matrix), batch_size=128, seed=0)
    module.setup("fit")
    return module


def test_an_epoch_is_a_step_of_expectation_maximisation_over_all_rows(data: EhrDataModule, tmp_path: Path) -> None:
    rows = data.filled.dense()
    assert len(rows) % data.batch_size, "there is a smaller last batch, which drop_last leaves out for other models"
    passes, whole = counted(data), counted(data)
    whole.log_losses = lambda *_, **losses: None  # type: ignore[method-assign]
    fit(passes, data, 5, LossCurves(folder=tmp_path))
    for _ in range(5):
        with torch.no_grad():
            whole.update(whole.statistics(rows))
    assert passes.rows_seen == [len(rows)] * 5
    torch.testing.assert_close(passes.state_dict(), whole.state_dict(), rtol=1e-4, atol=1e-6)
    losses = pd.read_csv(tmp_path / "losses.csv")["loss/total"]
    # Chances that rest on fewer than ten rows are pooled, so a pass may lose a little of what it gained.
    assert (losses.diff().dropna() < 0.05).all()
    assert losses.iloc[-1] < losses.iloc[0] - 5


def test_a_checkpoint_holds_the_update_of_its_epoch_and_resuming_goes_on_from_it(
    data: EhrDataModule, tmp_path: Path
) -> None:
    whole, resumed = counted(data), counted(data)
    watched = judge(data, tmp_path / "whole")
    fit(whole, data, 4, watched)
    assert same(whole, load_model(checkpoint_path(tmp_path / "whole", 4), data.schema, Counted))
    assert len(watched.scored) == 4
    assert all(row["fidelity/apd"] < 0.05 for row in watched.scored), "an update gives the marginals, and comes first"
    fit(resumed, data, 4, judge(data, tmp_path / "resumed"), ckpt_path=checkpoint_path(tmp_path / "whole", 2))
    assert same(whole, resumed)
    assert resumed.rows_seen == [len(data.filled)] * 2


def test_two_processes_learn_what_one_learns_and_count_no_row_twice(data: EhrDataModule, tmp_path: Path) -> None:
    data.filled = data.filled[: len(data.filled) // 2 * 2 - 1]  # an odd row, which other models would leave out
    one, two = counted(data), counted(data)
    fit(one, data, 3, LossCurves(folder=tmp_path / "one"))
    fit(two, data, 3, LossCurves(folder=tmp_path / "two"), devices=2, strategy="ddp_fork")
    torch.testing.assert_close(two.state_dict(), one.state_dict(), rtol=1e-4, atol=1e-6)
    losses = [pd.read_csv(tmp_path / name / "losses.csv")["loss/total"].to_numpy() for name in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
