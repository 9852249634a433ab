"""What holds on a GPU, where there is one: every model trains and samples there, and distances are those of a CPU."""

from pathlib import Path

import pytest
import torch

import ehrsynth
from ehrsynth.metrics.neighbours import Points, nearest
from ehrsynth.sampling import sample_records
from tests.contracts.test_models import MODELS, batches, make, toy_records
from tests.training import fit

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_and_samples_there(name: str) -> None:
    model = make(name)
    fit(model, batches(), 2, accelerator="gpu")
    model.to("cuda")
    one, again = (sample_records(model, 40, 3) for _ in range(2))
    assert one.digest() == again.digest()
    assert one.layout == model.layout
    assert len(one) == 40


def test_distances_are_those_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = (Points(t.bits, t.values.nan_to_num(0.5)) for t in (toy_records(300, 1), toy_records(200, 2)))
    there = nearest(left, right)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for found, expected in zip(there, nearest(left, right), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_run_from_matrix_to_report(tmp_path: Path, matrix: Path) -> None:
    run = ehrsynth.train(matrix, "vae", max_epochs=2, batch_size=128, trainer="gpu", logger="disabled", runs=tmp_path)
    frame = run.frame
    assert (frame["status"] != "failed").all(), frame.loc[frame["status"] == "failed", "reason"].to_dict()
