"""Calibrated runs and tables, from the command line and in Python; see ``tests/unit/test_calibrated.py`` for how."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import ehrsynth
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import FileError, OptionError
from ehrsynth.files import read_json
from ehrsynth.layout import Records
from ehrsynth.models.chow_liu import ChowLiu
from ehrsynth.models.condition import Condition
from ehrsynth.sampling import calibrated
from ehrsynth.sampling.targets import Targets
from ehrsynth.study.generate import Written
from ehrsynth.study.run_folder import RunFolder
from tests.conftest import Cli, without_figures
from tests.smoke.test_finished_runs import OPTIONS

pytestmark = pytest.mark.usefixtures("no_figures")


class OwnTree(ChowLiu):
    """A model whose records are calibrated unless told otherwise."""

    calibrated = True
    weighs = True

    def log_weights(self, records: Records, condition: Condition) -> Tensor:
        return torch.zeros(len(records))  # it draws under a condition as it should


@pytest.fixture(scope="module")
def opened(matrix: Path) -> Matrix:
    return Matrix.open(matrix)


@pytest.fixture(scope="module", autouse=True)
def lenient() -> Iterator[None]:
    """Take small pools, so that tests are quick, and trees for near enough."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(calibrated, "PER_TARGET", 3)
        patched.setattr(calibrated, "LEAST_WORTH", 0.05)
        yield


@pytest.fixture(scope="module")
def tree(opened: Matrix, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    runs = tmp_path_factory.mktemp("runs")
    with without_figures():
        return ehrsynth.train(opened, OwnTree, runs=runs, **{**OPTIONS, "max_epochs": 1, "n": 500})  # type: ignore[arg-type]


def distance(table: pd.DataFrame, opened: Matrix) -> float:
    """Return how far the shares of the targets are from those of the training rows, in their sampling errors."""
    targets = Targets.of(opened.records("train"), opened.schema, 0)
    off = targets.features.of(Encoder(opened.schema).encode(table)).mean(0) - targets.shares
    return float(np.sqrt((off**2 / (targets.shares * (1 - targets.shares)) * targets.rows).mean()))


def test_a_model_that_says_so_is_calibrated_wherever_it_is_judged(tree: RunFolder, opened: Matrix) -> None:
    told = tree.facts(calibration=dict)["calibration"]
    assert told["refused"] is None
    assert told["largest_deviation"]["after"]["share"] < told["largest_deviation"]["before"]["share"]
    table = pd.read_parquet(tree.synthetic)
    plain = ehrsynth.generate(tree, 500, calibrate=False, model_class=OwnTree)
    assert isinstance(plain, pd.DataFrame)
    assert distance(table, opened) < 0.7 * distance(plain, opened)
    assert "shares of the training rows; effective sample size 0." in (tree.path / "card.md").read_text()
    again = ehrsynth.generate(tree, 500, model_class=OwnTree)
    assert isinstance(again, pd.DataFrame)
    assert distance(again, opened) < 0.7 * distance(plain, opened)


def test_what_is_too_far_off_is_judged_as_it_is_and_says_so(opened: Matrix, tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(calibrated, "LEAST_WORTH", 1.4)
        watch = ehrsynth.Watch(say=said.append)
        run = ehrsynth.train(opened, OwnTree, runs=tmp_path, watch=watch, **{**OPTIONS, "max_epochs": 1})  # type: ignore[arg-type]
        assert any(line.startswith("epoch 1: not calibrated: weighted so that") for line in said)
        assert "farthest off" in run.facts(calibration=dict)["calibration"]["refused"]
        assert "not calibrated" in (run.path / "card.md").read_text()
        said.clear()
        table = ehrsynth.generate(run, 40, model_class=OwnTree, watch=watch)
        assert said[-1].startswith("calibrate: not calibrated: weighted")
        assert len(table) == 40
        with pytest.raises(OptionError, match="calibrate=true: weighted so that"):
            ehrsynth.generate(run, 40, calibrate=True, model_class=OwnTree)


def test_any_run_can_be_calibrated_from_the_command_line(
    study: Path, cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str], opened: Matrix
) -> None:
    run, out = next((study / "independent").iterdir()), tmp_path / "out.csv"
    assert cli("generate", f"run={run}", "n=400", f"out={out}", "calibrate=true", "pool=4") == 0
    said = capsys.readouterr().out
    assert "calibrate: " in said
    assert "effective sample size 0." in said
    provenance = read_json(tmp_path / "out.provenance.json")
    assert (provenance["asked"]["calibrate"], provenance["asked"]["pool"]) == (True, 4)
    assert provenance["calibration"]["targets"] > 50
    assert provenance["how"]["drawn"] >= 1600
    assert len(pd.read_csv(out)) == 400
    assert cli("generate", f"run={run}", "n=400", f"out={out}") == 0
    assert read_json(tmp_path / "out.provenance.json")["calibration"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"condition": {"sex": "F"}}, "and condition asks for others; leave out one"),
        ({"balance": "sex"}, "and balance asks for others"),
        ({"boost": {"sex": {"F": 2}}}, "and boost asks for others"),
        ({"post_selection": "sex"}, "and post_selection asks for others"),
        ({"calibrate": 2}, "calibrate=2: true or false was expected"),
        ({"pool": 1}, "pool=1: a number above 1 was expected"),
        (
            {"pool": 2, "calibrate": None},
            "pool=2: of the records that are drawn for one that is kept; calibrate=true or exact",
        ),
    ],
)
def test_what_calibration_cannot_be_beside_is_named(options: dict[str, object], message: str, study: Path) -> None:
    run = next((study / "independent").iterdir())
    with pytest.raises(OptionError, match=message):
        ehrsynth.generate(run, 20, **{"calibrate": True, **options})  # type: ignore[arg-type]


def test_by_default_it_gives_way_and_says_so(tree: RunFolder) -> None:
    said: list[str] = []
    watch = ehrsynth.Watch(say=said.append)
    table = ehrsynth.generate(tree, 20, condition={"sex": "F"}, model_class=OwnTree, watch=watch)
    assert isinstance(table, pd.DataFrame)
    assert (table["sex"] == "F").all()
    assert said[0] == (
        "calibrate: off, for its shares are those of all training rows, and condition asks for others; leave out one"
    )


def test_targets_of_a_cohort_are_its_own_and_changed_shares_are_left_alone(opened: Matrix, tmp_path: Path) -> None:
    options = {**OPTIONS, "max_epochs": 1}
    women = ehrsynth.train(opened, OwnTree, runs=tmp_path, rows={"only": {"sex": "F"}}, **options)  # type: ignore[arg-type]
    own = Targets.load(women.targets, opened.schema)
    assert own.rows == (opened.train["sex"] == "F").sum()
    more = ehrsynth.train(opened, OwnTree, runs=tmp_path, rows={"reweight": ["sex"]}, **options)  # type: ignore[arg-type]
    assert more.facts()["calibration"] is None
    assert Targets.load(more.targets, opened.schema).rows == len(opened.train)
    said: list[str] = []
    ehrsynth.generate(more, 20, model_class=OwnTree, watch=ehrsynth.Watch(say=said.append))
    assert said[0].startswith("calibrate: off, for rows.oversample or rows.reweight gave the model other shares")


def test_targets_that_were_altered_or_that_an_older_run_lacks_are_named(tree: RunFolder, tmp_path: Path) -> None:
    content = tree.targets.read_bytes()
    try:
        tree.targets.write_bytes(content + b" ")
        with pytest.raises(FileError, match=r"targets\.npz: not as the run wrote it"):
            ehrsynth.generate(tree, 20, model_class=OwnTree)
        tree.targets.unlink()
        with pytest.raises(OptionError, match=r"has no targets\.npz, by the version that trained it; train again"):
            ehrsynth.generate(tree, 20, calibrate=True, model_class=OwnTree)
    finally:
        tree.targets.write_bytes(content)


def test_records_under_a_condition_are_weighed_by_models_that_can(
    tree: RunFolder, study: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    found = ehrsynth.generate(
        tree,
        30,
        out=tmp_path / "f.csv",
        condition={"sex": "F"},
        exact=True,
        model_class=OwnTree,
        watch=ehrsynth.Watch(say=said.append),
    )
    assert isinstance(found, Written)
    assert list(pd.read_csv(found.file)["sex"]) == ["F"] * 30
    assert "exact: 4 records drawn for each; effective sample size 1.00 of them, 0.25 or more is wanted" in said
    told = read_json(found.provenance)
    assert told["asked"]["exact"] is True
    assert told["weighing"] == {"pool": 4.0, "effective_share": 1.0}
    assert told["how"]["drawn"] == 120
    run = next((study / "independent").iterdir())
    out = f"out={tmp_path / 'g.csv'}"
    assert cli("generate", f"run={run}", "n=5", out, "condition.sex=F", "exact=true") == 2
    assert "exact=true: IndependentMarginals cannot weigh records under sex; tally can" in capsys.readouterr().err
    assert cli("generate", f"run={run}", "n=5", out, "exact=true") == 2
    assert "exact=true: there is no condition; condition.COLUMN=VALUE was expected" in capsys.readouterr().err
    assert cli("generate", f"run={run}", "n=5", out, "condition.sex=F", "exact=true", "boost.race.white=2") == 2
    assert "leave out boost" in capsys.readouterr().err
