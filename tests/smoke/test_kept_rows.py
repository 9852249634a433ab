"""Who gets a table that is made of patient rows is told so first, whatever model gives them away."""

from pathlib import Path

import pytest

from ehrsynth.models.chow_liu import ChowLiu
from ehrsynth.models.train_copy import TrainCopy
from tests.conftest import Cli, small

OWN = {
    "suite": """
_target_: ehrsynth.evaluation.suite.Suite
evaluators:
  - _target_: ehrsynth.evaluation.fidelity.prevalence.Prevalence
""",
    "profile": """
_target_: ehrsynth.evaluation.ranking.Profile
name: quick
description: One score, for speed.
weights: {fidelity/apd: 1}
paper: own
""",
}


@pytest.mark.usefixtures("no_figures")
def test_the_card_of_a_record_mixture_warns(matrix: Path, tmp_path: Path, cli: Cli) -> None:
    mine = tmp_path / "mine"
    for group, content in OWN.items():
        (mine / group).mkdir(parents=True)
        (mine / group / "own.yaml").write_text(content, encoding="utf-8")
    options = [option for option in small(matrix, tmp_path / "runs") if not option.startswith("suite@")]
    options += ["suite@evaluation.quick=own", "suite@evaluation.full=own", "profile=own"]
    assert cli("train", f"--config-dir={mine}", "model=record_mixture", *options) == 0
    (card,) = tmp_path.glob("runs/*/*/*/card.md")
    assert card.read_text(encoding="utf-8").splitlines()[2].startswith("> **WARNING: THIS TABLE IS REAL PATIENT DATA.")


def test_models_that_keep_rows_say_so() -> None:
    assert TrainCopy.keeps_rows
    assert not ChowLiu.keeps_rows
