"""From raw tables to a report in one command: the published recipes on the public demos, and a simulated hospital."""

from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.sources.demo import Demo
from ehrsynth.data.store import Store
from ehrsynth.study.prepare import readable_name
from tests.conftest import Cli

SECONDS = [
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "data.batch_size=16",
    "evaluation.checkpoints=1",
    "evaluation.rows=50",
    "suite@evaluation.full=quick",
    "logger.mode=disabled",
]


def train(cli: Cli, folder: Path, *options: str) -> tuple[Matrix, Path]:
    """Run ``train`` in ``folder`` and return the matrix it prepared and its run."""
    paths = [f"paths.runs={folder / 'runs'}", f"paths.matrices={folder / 'matrices'}"]
    assert cli("train", *options, *SECONDS, *paths) == 0
    (report,) = folder.glob("runs/*/*/*/report.json")
    (matrix,) = (folder / "matrices").glob("[!.]*")
    assert (matrix / "cohort.html").is_file()
    return Matrix.open(matrix), report.parent


def test_the_tutorial_on_the_demo_of_mimic_iv(shared_data: Path, tmp_path: Path, cli: Cli) -> None:
    maps = [f"{version}_map={shared_data}/phecode/phecode_map_v1_2_{version}" for version in ("icd9", "icd10")]
    vocabulary = [f"features.diagnoses.vocabulary.{file}" for file in (f"{maps[0]}.csv.gz", f"{maps[1]}_beta.csv.gz")]
    root = f"source.root={shared_data / 'mimic-iv-demo'}"
    matrix, run = train(cli, tmp_path, "experiment=jmir_mimic4", root, *vocabulary, "model.width=16")
    assert run.parent.parts[-2:] == ("jmir_mimic4", "emr_wgan")
    assert [step["subjects"] for step in matrix.provenance["flow"]] == [100, 100, 100, 85, 85]
    synthetic = pd.read_parquet(run / "synthetic.parquet")
    assert list(synthetic) == matrix.schema.names
    assert {"phe_401.1", "bmi", "diastolic", "died_within_year"} <= set(synthetic)


@pytest.mark.usefixtures("no_figures")
def test_ehrdiff_on_the_demo_of_mimic_iii(shared_data: Path, tmp_path: Path, cli: Cli) -> None:
    root = f"source.root={shared_data / 'mimic-iii-demo'}"
    matrix, run = train(cli, tmp_path, "experiment=ehrdiff_mimic3", root, "model.warmup_steps=2")
    assert run.parent.parts[-2:] == ("ehrdiff_mimic3", "ehrdiff")
    assert matrix.provenance["rows"] == {"train": 88, "validation": 2, "holdout": 10}
    assert {column.kind for column in matrix.schema.columns} == {"binary"}
    assert {name.split("_")[0] for name in matrix.schema.names} == {"dx", "px"}


@pytest.mark.usefixtures("no_figures")
def test_a_simulated_hospital_read_as_mimic_iv(tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(threads=1) as store:
        Demo(n=300, write_raw=tmp_path / "raw").read(store)
    options = ("source=mimic_iv", f"source.root={tmp_path / 'raw'}", "model=independent")
    matrix, run = train(cli, tmp_path, *options)
    assert readable_name(matrix.folder) == "mimic_iv" == run.parents[1].name
    assert sum(matrix.provenance["rows"].values()) == 300
    assert train(cli, tmp_path, *options)[1] == run
    assert "finished already" in capsys.readouterr().out
