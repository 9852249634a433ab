"""A sweep over how data are prepared, by two processes at once: everything is made once, and ranked within its rows."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.errors import OptionError
from ehrsynth.files import read_json
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.shared import owned
from tests.conftest import WITHOUT_FIGURES, Cli

SWEEP = [
    "-m",
    "preprocess.min_count=3,30",
    "split.seed=0,1",
    "model=independent,vae",
    "data.n=300",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "evaluation.checkpoints=1",
    "evaluation.rows=50",
    "suite@evaluation.quick=tiny",
    "suite@evaluation.full=tiny",
    "logger.mode=disabled",
]
SUITE = """\
_target_: ehrsynth.evaluation.suite.Suite
_convert_: all
evaluators:
  - _target_: ehrsynth.evaluation.fidelity.dimension_wise_distance.DimensionWiseDistance
"""
pytestmark = pytest.mark.timeout(600)  # two processes for as many cores


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes ran the sweep at once."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "conf" / "suite").mkdir(parents=True)
    (folder / "conf" / "suite" / "tiny.yaml").write_text(SUITE, encoding="utf-8")
    command = [sys.executable, "-c", WITHOUT_FIGURES, *options(folder)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in "ab"]
    told = [process.communicate(timeout=500)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    assert any("another process is at it; waiting for it" in text for text in told)
    for text in told:
        assert text.count("the lowest weighted rank is best") == 4
    # Together they carried out each run once; the other one found it finished.
    assert sum(text.count("  epoch ") for text in told) == 8
    assert sum(text.count("finished already") for text in told) == 8
    return folder


def options(folder: Path) -> list[str]:
    paths = [f"paths.runs={folder / 'runs'}", f"paths.matrices={folder / 'matrices'}"]
    return [f"--config-dir={folder / 'conf'}", *SWEEP, *paths]


def files(folder: Path) -> dict[Path, int]:
    found = [*(folder / "matrices").rglob("*"), *(folder / "runs" / "demo-n300").glob("*/*/**/*")]
    return {path: path.stat().st_mtime_ns for path in found if path.is_file()}


def test_four_matrices_and_eight_runs_are_made_once(swept: Path) -> None:
    matrices = {path.name: read_json(path / "provenance.json") for path in (swept / "matrices").iterdir()}
    assert len(matrices) == 4
    assert all(name.startswith("demo-n300-") for name in matrices)
    assert {(made["preprocess"]["min_count"], made["seed"]) for made in matrices.values()} == {
        (count, seed) for count in (3, 30) for seed in (0, 1)
    }
    runs = [RunFolder(path.parent) for path in swept.glob("runs/demo-n300/*/*/report.json")]
    assert len(runs) == 8
    assert len({run.provenance["variant"] for run in runs}) == 8
    assert {run.provenance["matrix"]["name"] for run in runs} == set(matrices)
    assert all(pd.read_csv(run.metrics)["epoch"].tolist() == [1] for run in runs)
    anchors = [path.name for path in (swept / "runs" / ".anchors").iterdir()]
    assert len(anchors) == 4
    assert {name.rsplit("-", 1)[0] for name in anchors} == set(matrices)
    assert not list(swept.rglob(".*.lock")) + list(swept.rglob(".lock"))


def test_runs_are_ranked_within_their_rows(swept: Path) -> None:
    table = pd.read_csv(swept / "runs" / "demo-n300" / "ranking.csv")
    sets = [f"preprocess.min_count={count}, split.seed={seed}" for count in (3, 30) for seed in (0, 1)]
    assert table["rows"].unique().tolist() == sets
    assert table.groupby("rows")["group"].agg(set).tolist() == [{"independent", "vae"}] * 4
    page = (swept / "runs" / "demo-n300" / "ranking.html").read_text(encoding="utf-8")
    assert all(title in page for title in sets)


def test_repeating_it_makes_nothing_again(
    swept: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(swept)
    monkeypatch.setattr("ehrsynth.study.rank.Comparison._figures", lambda *_: [])
    assert cli("train", *options(swept)) == 0
    assert capsys.readouterr().out.count("finished already") == 8
    assert files(swept) == before


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    script = f"from ehrsynth.study.shared import owned; from pathlib import Path; import os, time\n\
with owned(Path({str(tmp_path / '.lock')!r}), 'x', print):\n  print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"
    told: list[str] = []

    def say(line: str) -> None:
        told.append(line)
        process.kill()

    with owned(tmp_path / ".lock", "the work", say):
        process.wait()
    process.stdout.close()
    assert told == ["the work: another process is at it; waiting for it"]
    assert not list(tmp_path.iterdir())


def test_a_job_in_a_process_of_its_own_dies_with_its_sweep() -> None:
    script = "import os, time\nfrom concurrent.futures import ProcessPoolExecutor\n\
from multiprocessing import get_context\nfrom ehrsynth.cli.train import end_with_parent\n\
pool = ProcessPoolExecutor(1, mp_context=get_context('spawn'), initializer=end_with_parent)\n\
pool.submit(os.getpid).result(); print('begun', flush=True); pool.submit(time.sleep, 600).result()"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "begun"
    process.terminate()
    process.communicate(timeout=60)  # ends when nobody can write any more, the job neither


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(OptionError, match="file: cannot be written to"), owned(tmp_path / "file" / ".lock", "x", print):
        pass
