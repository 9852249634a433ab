"""The README's own model: copied out of the page, trained, ranked and sampled like any other."""

import re
import subprocess
import sys
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


@pytest.mark.usefixtures("no_figures")
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
    generate = ["generate", f"run={folder}", "n=10", f"out={tmp_path / 's.csv'}"]
    assert cli(*generate) == 2, "what a folder names is not imported"
    assert cli(*generate, "model_class=prototypes.Prototypes") == 0
    assert len(pd.read_csv(tmp_path / "s.csv")) == 10


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


NOTEBOOK = """\
import ehrsynth
matrix = ehrsynth.prepare("demo", n=1000)               # or "mimic_iv", root="mimiciv/3.1"
run = ehrsynth.train(matrix, "vae", max_epochs=5)
table = ehrsynth.generate(run, n=500, condition={"sex": "F"})
print(run.frame)                                        # every score beside its anchors; ehrsynth.rank([run, ...])
"""
# As where neither is installed: Lightning looks for OmegaConf's containers among the hyper-parameters if it can.
BEFORE = "from pytorch_lightning.trainer.connectors import checkpoint_connector as c; c._OMEGACONF_AVAILABLE = False\n"
AFTER = """
import sys
assert not {"hydra", "omegaconf"} & set(sys.modules)
assert len(table) == 500 and set(table["sex"]) == {"F"}
assert run.finished and run.frame.loc["fidelity/apd", "status"] == "ok"
"""
QUICK = ', suite="quick", trainer={"accelerator": "cpu"}, logger="disabled")'  # the full suite takes a minute


def test_a_notebook_trains_a_model_in_five_lines_without_hydra(tmp_path: Path) -> None:
    page = README.read_text(encoding="utf-8")
    example = block("python", "ehrsynth.prepare") if "ehrsynth.prepare(" in page else NOTEBOOK
    lines = [line for line in example.splitlines() if line.strip()]
    assert lines[0] == "import ehrsynth"
    assert len(lines) <= 5
    script = BEFORE + example.replace("max_epochs=5)", f"max_epochs=5{QUICK}").replace("n=1000", "n=300") + AFTER
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fidelity/apd" in done.stdout
    assert "value" in done.stdout.splitlines()[0], "nothing is printed but what was asked for"
    assert done.stderr == "", "nothing is printed that nobody asked for"
