"""The README's own model: copied out of the page, trained, ranked and sampled like any other."""

import re
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.study.run_folder import RunFolder
from tests.conftest import Cli, small

README = Path(__file__).parents[2] / "README.md"


def block(language: str, word: str) -> str:
    found = [b for b in re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.S) if word in b]
    assert len(found) == 1
    return str(found[0])


def test_a_model_is_one_file_and_one_yaml(
    matrix: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prototypes.py").write_text(block("python", "class Prototypes"), encoding="utf-8")
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "prototypes.yaml").write_text(block("yaml", "Prototypes"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    options = [option for option in small(matrix, tmp_path / "runs") if not option.startswith("trainer.max_epochs")]
    assert cli("train", f"--config-dir={tmp_path / 'mine'}", "model=prototypes", "trainer.max_epochs=8", *options) == 0
    (folder,) = (tmp_path / "runs" / "small" / "prototypes").iterdir()
    run = RunFolder.open(folder)
    losses = pd.read_csv(run.losses)["loss/total"]
    assert losses.iloc[-1] < losses.iloc[0]
    assert cli("generate", f"run={folder}", "n=10", f"out={tmp_path / 's.csv'}") == 0
    assert len(pd.read_csv(tmp_path / "s.csv")) == 10


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200
