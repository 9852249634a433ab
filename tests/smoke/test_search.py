"""Searches as they are run: finished, repeated, killed, shared, and without a look at held-out patients."""

import json
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import ehrsynth
from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import FileError, OptionError
from ehrsynth.files import sha256
from ehrsynth.study.chain import read
from ehrsynth.study.conf import parsed
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.search.looked_at import SEEN
from ehrsynth.study.spec import Spec
from ehrsynth.study.status import status_of
from ehrsynth.study.train import fitted
from tests.conftest import Cli, without_figures

SUITE = """\
_target_: ehrsynth.evaluation.suite.Suite
_convert_: all
evaluators:
  - _target_: ehrsynth.evaluation.fidelity.dimension_wise_distance.DimensionWiseDistance
  - _target_: ehrsynth.evaluation.fidelity.correlation.Correlation
  - _target_: ehrsynth.evaluation.privacy.membership.Membership
    theta: 5
"""
TRIALS = [
    "model=vae",
    "study=tiny",
    "trainer.max_epochs=4",
    "trainer.accelerator=cpu",
    "evaluation.checkpoints=4",
    "evaluation.rows=100",
    "suite@evaluation.quick=tiny",
    "suite@evaluation.full=tiny",
    "logger.mode=disabled",
    "data.batch_size=64",
    "trials=6",
    "seed=2",
    "search.eta=2",
    "search.space.model.hidden=[[16],[32]]",
    "search.space.model.latent_width.low=2",
    "search.space.model.latent_width.high=16",
    "search.space.data.batch_size=[32,64]",
]
# As the options above, for the function.
GIVEN = {
    "study": "tiny",
    "max_epochs": 2,
    "trainer": {"accelerator": "cpu"},
    "evaluation": {"checkpoints": 2, "rows": 100},
    "logger": "disabled",
    "batch_size": 64,
    "options": {"hidden": [16]},
}
SPACE = {"model.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}}
pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("no_figures")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """A folder with a matrix of 300 simulated patients and a suite of a blink."""
    folder = tmp_path_factory.mktemp("search")
    assert cli("prepare", "source.n=300", f"out={folder / 'matrix'}") == 0
    (folder / "conf" / "suite").mkdir(parents=True)
    (folder / "conf" / "suite" / "tiny.yaml").write_text(SUITE, encoding="utf-8")
    return folder


def options(place: Path, runs: str) -> list[str]:
    paths = [f"data.matrix={place / 'matrix'}", f"paths.runs={place / runs}"]
    return [f"--config-dir={place / 'conf'}", *TRIALS, *paths]


@pytest.fixture(scope="module")
def undisturbed(place: Path, cli: Cli) -> Iterator[Path]:
    """The study of a search that nothing disturbed."""
    with without_figures():
        assert cli("search", *options(place, "undisturbed")) == 0
        yield place / "undisturbed" / "tiny"


def told(study: Path) -> pd.DataFrame:
    """Return what the table of a search says, but for what it cost."""
    return pd.read_csv(study / "search.csv").drop(columns="seconds")


def untouched(study: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in study.glob("vae/**/*") if path.is_file()}


def winner_of(study: Path) -> RunFolder:
    (report,) = study.glob("vae/*/report.json")
    return RunFolder(report.parent)


def test_a_search_finishes_its_trials_and_its_winner(undisturbed: Path) -> None:
    table = pd.read_csv(undisturbed / "search.csv")
    assert table["trial"].tolist() == list(range(6))
    assert set(table["state"]) == {"finished", "pruned"}
    assert table["run"].nunique() == 6
    assert (table["seconds"] > 0).all()
    pruned = table[table["state"] == "pruned"]
    assert pruned["reason"].str.contains("one of 2 goes on").all()
    kept = {run: any((undisturbed / run / "checkpoints").glob("*")) for run in table["run"]}
    assert [run for run in kept if not kept[run]] == list(pruned["run"])
    assert not (undisturbed / "search.db").with_name(".search.db").exists()
    best = table[table["state"] == "finished"].sort_values("score").iloc[-1]
    assert best["front"]
    run = winner_of(undisturbed)
    assert run.path == undisturbed / best["run"]
    tuning = run.facts(tuning=dict)["tuning"]
    states = table["state"].value_counts()
    assert tuning["trials"] == {"finished": states["finished"], "pruned": states["pruned"], "failed": 0}
    assert tuning["processor_seconds"] == pytest.approx(table["seconds"].sum(), abs=0.1)
    assert (tuning["trial"], tuning["judged_on"]) == (best["trial"], "validation")
    assert f"trial {best['trial']} of 6" in run.html.read_text(encoding="utf-8")
    assert run.facts(command=str)["command"].endswith(best["options"])


def test_a_trial_is_scored_as_the_run_that_its_options_ask_for(
    undisturbed: Path, place: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed can be typed: it is the winner's own run."""
    run = winner_of(undisturbed)
    command = shlex.split(run.facts(command=str)["command"])
    assert command[:2] == ["ehrsynth", "train"]
    assert cli("train", f"--config-dir={place / 'conf'}", *command[2:]) == 0
    assert f"finished already  {run.path}" in capsys.readouterr().out
    scores = pd.read_csv(run.metrics).set_index("epoch")
    row = pd.read_csv(undisturbed / "search.csv").set_index("run").loc["/".join(run.path.parts[-2:])]
    assert row["epoch"] == run.facts(epoch=int)["epoch"]
    assert row["privacy/membership_f1"] == scores.loc[row["epoch"], "privacy/membership_f1"]


def test_a_page_shows_it(undisturbed: Path) -> None:
    page = (undisturbed / "search.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert page.count("report.html") == 1
    assert "<code>model.latent_width</code></td><td>2 to 16, logarithmic</td>" in page
    assert "6 trials (" in page


def test_a_search_is_noted_and_what_is_altered_is_named(undisturbed: Path, tmp_path: Path) -> None:
    (entry,) = read(undisturbed / "log.jsonl")
    assert entry.record is not None
    assert (entry.record.step, set(entry.record.outputs)) == ("search", {"search.csv", "search.html"})
    assert {"train.parquet", "validation.parquet", "schema.json", "search.db"} <= set(entry.record.inputs)
    assert not any("holdout" in name for name in entry.record.inputs)
    assert (entry.record.options["trials"], entry.record.options["search"]["eta"]) == (6, 2)
    verdict = ehrsynth.verify(undisturbed)
    assert verdict.whole, verdict.findings
    assert [step.record.step for step in verdict.steps] == ["prepare", "train", "search"]
    table = Path(shutil.copytree(undisturbed, tmp_path / "copy")) / "search.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("pruned", "finished"), encoding="utf-8")
    (finding,) = ehrsynth.verify(table.parent).findings
    assert finding.startswith(f"{table}: expected sha256 ")
    assert "of step 1 (search), found" in finding


def test_trials_are_told_from_runs_that_are_to_be_finished(undisturbed: Path) -> None:
    found = status_of(undisturbed)
    assert sorted(each.status for each in found) == ["done", *["trial"] * 5]
    assert sum("pruned" in each.reason for each in found) == (told(undisturbed)["state"] == "pruned").sum()


def test_repeating_it_does_nothing_more(
    undisturbed: Path, place: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    before, table = untouched(undisturbed), told(undisturbed)
    assert cli("search", *options(place, "undisturbed")) == 0
    said = capsys.readouterr().out
    assert "finished already" in said
    assert "trial 0" not in said
    assert untouched(undisturbed) == before
    pd.testing.assert_frame_equal(told(undisturbed), table)


def noted(database: Path) -> list[tuple[str, str]]:
    """Return the state of every trial with what was noted of its checkpoints."""
    if not database.is_file():
        return []
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60) as connection:
        try:
            rows = connection.execute(
                "SELECT state, COALESCE(value_json, '{}') FROM trials LEFT JOIN trial_user_attributes AS noted"
                " ON noted.trial_id = trials.trial_id AND key = 'checkpoints' WHERE state != 'WAITING'"
            ).fetchall()
        except sqlite3.OperationalError:  # its tables are just being made
            rows = []
    connection.close()
    return rows


@pytest.mark.study
def test_one_that_was_killed_ends_like_one_that_nothing_disturbed(place: Path, undisturbed: Path, cli: Cli) -> None:
    """It is killed after the second checkpoint of its third trial or a later one; bit for bit the same comes out."""
    command = [sys.executable, "-m", "ehrsynth.cli.search", *options(place, "killed")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    study = place / "killed" / "tiny"
    while process.poll() is None:
        trials = noted(study / "search.db")
        if len(trials) >= 3 and any(state == "RUNNING" and len(json.loads(notes)) >= 2 for state, notes in trials):
            process.send_signal(signal.SIGKILL)
        time.sleep(0.01)
    assert process.wait() == -signal.SIGKILL
    states = [state for state, _ in noted(study / "search.db")]
    assert states.count("RUNNING") == 1
    assert cli("search", *options(place, "killed")) == 0
    pd.testing.assert_frame_equal(told(study), told(undisturbed))
    assert not list(study.rglob("*.lock")) or {path.name for path in study.rglob("*.lock")} == {".search.db.lock"}


@pytest.mark.study
def test_two_workers_share_one_database(place: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("search", *options(place, "two"), "workers=2") == 0
    table = pd.read_csv(place / "two" / "tiny" / "search.csv")
    assert table["trial"].tolist() == list(range(6))
    assert set(table["state"]) <= {"finished", "pruned"}
    assert table["run"].nunique() == table["options"].nunique() == 6
    said = capsys.readouterr().out
    assert all(f"vae trial {number}: " in said for number in range(6))
    assert winner_of(place / "two" / "tiny").finished


@pytest.mark.study
def test_a_search_for_each_of_two_models_is_one_command(
    place: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first one spends its seconds before its trials are all begun; both are on one page."""
    plain = [word for word in options(place, "each") if not word.startswith(("model=", "search.space.", "seed="))]
    swept = ["-m", "model=vae,chow_liu", "trials=4", "seconds=0.2", "trainer.max_epochs=1", "data.batch_size=64"]
    assert cli("search", *plain, *swept) == 0
    study = place / "each" / "tiny"
    table = pd.read_csv(study / "search.csv")
    assert set(table["model"]) == {"vae", "chow_liu"}
    assert table.groupby("model")["seconds"].sum().min() >= 0.2
    assert table["model"].value_counts()["vae"] < 4
    assert (study / "search.html").read_text(encoding="utf-8").count("<h3>Winners</h3>") == 2
    assert capsys.readouterr().out.count("search page") == 2
    assert {path.parts[-3] for path in study.glob("*/*/report.json")} == {"vae", "chow_liu"}


def sealed(place: Path) -> Path:
    """Return a matrix whose held-out rows nobody can read."""
    folder = place / "sealed"
    if not folder.is_dir():
        shutil.copytree(place / "matrix", folder)
        (folder / "holdout.parquet").write_bytes(b"no table")
    return folder


def test_no_trial_reads_held_out_patients(place: Path, tmp_path: Path) -> None:
    """Whatever a search does works with a matrix whose held-out rows cannot be read; its winner needs them."""
    folder = sealed(place)
    suite = place / "conf" / "suite" / "tiny.yaml"
    given = {**GIVEN, "quick": suite, "suite": suite, "runs": tmp_path, "trials": 2}
    found = ehrsynth.search(folder, "vae", SPACE, **given, winners=0)
    assert found.frame["state"].tolist()[0] == "finished"
    assert found.runs == ()
    assert len(found.winners) >= 1
    with pytest.raises(FileError, match=r"holdout.parquet: not readable as a table"):
        ehrsynth.search(folder, "vae", SPACE, **given)


def test_a_matrix_keeps_closed_what_is_not_asked_for(place: Path) -> None:
    matrix = Matrix.open(sealed(place), parts=SEEN)
    assert len(matrix.records("validation")) > 0
    with pytest.raises(AssertionError, match="holdout was left closed"):
        matrix.records("holdout")
    with pytest.raises(FileError, match=r"holdout\.parquet"):
        Matrix.open(sealed(place))


def test_a_search_that_goes_on_tells_its_winner_what_it_took(place: Path, tmp_path: Path) -> None:
    suite = place / "conf" / "suite" / "tiny.yaml"
    given = {**GIVEN, "quick": suite, "suite": suite, "runs": tmp_path, "objectives": ["privacy/membership_f1"]}
    first = ehrsynth.search(place / "matrix", "vae", SPACE, **given, trials=2)
    assert [run.facts()["tuning"]["trials"]["finished"] for run in first.runs] == [len(first.frame)]
    more = ehrsynth.search(place / "matrix", "vae", SPACE, **given, trials=3, winners=2)
    assert more.frame["options"].tolist()[:2] == first.frame["options"].tolist()
    assert [sum(run.facts()["tuning"]["trials"].values()) for run in more.runs] == [3] * len(more.runs)
    assert repr(more).startswith("<Search of vae: 3 trials (")
    told: list[str] = []
    plain = ehrsynth.train(
        *(place / "matrix", "vae"),
        **{**GIVEN, "options": {"hidden": [16], "learning_rate": more.winners[0]["model.learning_rate"]}},
        **{"quick": suite, "suite": suite, "runs": tmp_path, "watch": ehrsynth.Watch(say=told.append)},
    )
    assert plain == more.runs[0], "winners are settings that train takes"
    assert told == [f"vae seed 0: finished already  {plain.path}"]


def test_a_training_that_diverges_is_a_failed_trial(place: Path, tmp_path: Path) -> None:
    suite = place / "conf" / "suite" / "tiny.yaml"
    given = {**GIVEN, "quick": suite, "suite": suite, "runs": tmp_path}
    found = ehrsynth.search(
        place / "matrix", "vae", {"model.learning_rate": [1e30, 1e-3]}, **given, trials=4, winners=1
    ).frame
    assert len(found) == 4
    wild = found["options"] == "model.learning_rate=1e+30"
    assert 0 < wild.sum() < 4
    assert set(found.loc[wild, "state"]) == {"failed"}
    assert found.loc[wild, "reason"].str.contains("loss/.* is (?:nan|inf)").all()
    assert "failed" not in set(found.loc[~wild, "state"])


@pytest.mark.study
def test_a_disk_that_takes_no_more_fails_trials_and_then_the_search(place: Path, cli: Cli) -> None:
    """No file may grow beyond a fifth of a megabyte, so no checkpoint can be saved; without that limit all goes on."""
    limit = (
        "import resource, sys; from ehrsynth.cli.main import run; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000,) * 2); run('search', sys.argv[1:])"
    )
    large = [*options(place, "full"), "search.space.model.hidden=[[512],[1024]]", "trials=3", "search.eta=null"]
    failed = subprocess.run([sys.executable, "-c", limit, *large], capture_output=True, text=True, timeout=300)
    assert failed.returncode == 1
    assert failed.stdout.count("failed, ") == 3
    assert "File too large; mend that and repeat the command" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert cli("search", *large) == 0
    table = pd.read_csv(place / "full" / "tiny" / "search.csv")
    assert table["state"].tolist() == ["failed"] * 3 + ["finished"] * 3
    assert table["options"].tolist()[:3] == table["options"].tolist()[3:]


def test_what_a_model_does_not_take_ends_the_search(place: Path, tmp_path: Path) -> None:
    suite = place / "conf" / "suite" / "tiny.yaml"
    given = {**GIVEN, "quick": suite, "suite": suite, "runs": tmp_path, "trials": 3}
    with pytest.raises(OptionError, match=r"model.latent_width=0: model.latent_width=0: a whole number"):
        ehrsynth.search(place / "matrix", "vae", {"model.latent_width": [0]}, **given)


def test_a_wrong_space_is_named_before_anything_is_done(
    place: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("search", *options(place, "wrong"), "search.space.model.rate=[1,2]") == 2
    assert "search.space.model.rate: no such option; use one of latent_width, hidden" in capsys.readouterr().err
    assert cli("search", *options(place, "wrong"), "search.objectives=[utility,privacy/leak]") == 2
    assert "search.objectives: privacy/leak is not measured at the checkpoints" in capsys.readouterr().err
    assert cli("search", f"paths.runs={place / 'wrong'}", "model=independent", f"data.matrix={place / 'matrix'}") == 2
    assert "search.space: nothing to try for" in capsys.readouterr().err
    assert (
        cli("search", *options(place, "wrong"), "~search.space.model.hidden", "search.space.seed={low: 0, high: 9}")
        == 2
    )
    assert "search.space.seed: not to be searched" in capsys.readouterr().err
    assert cli("search", *options(place, "wrong"), "retry=failed") == 2
    assert "retry=failed: null (of train -m; a trial failed for good) was expected" in capsys.readouterr().err
    assert not (place / "wrong").exists()


def test_a_corrupt_database_is_named(place: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    database = place / "corrupt" / "tiny" / "search.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"no database" * 100)
    assert cli("search", *options(place, "corrupt")) == 2
    error = capsys.readouterr().err
    assert f"ehrsynth search: error: {database}: not readable as a database of optuna (file is not a database)" in error
    assert "move it away, and the same command asks for the trials again" in error


def test_after_a_database_was_lost_trials_are_taken_from_their_runs(place: Path, undisturbed: Path, cli: Cli) -> None:
    """The same trials are asked for again, and those that had finished are not trained once more."""
    shutil.copytree(undisturbed, place / "lost" / "tiny")
    (place / "lost" / "tiny" / "search.db").unlink()
    finished = told(undisturbed).query("state == 'finished'")["run"]
    before = {run: (place / "lost" / "tiny" / run / "checkpoints").stat().st_mtime_ns for run in finished}
    assert cli("search", *options(place, "lost")) == 0
    pd.testing.assert_frame_equal(told(place / "lost" / "tiny"), told(undisturbed))
    assert {run: (place / "lost" / "tiny" / run / "checkpoints").stat().st_mtime_ns for run in finished} == before


def test_without_optuna_its_extra_is_named(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        OptionError, match=r"search needs the package optuna; pip install 'ehrsynth\[search\]' brings it"
    ):
        ehrsynth.search(place / "matrix", runs=tmp_path)


def test_a_trial_is_its_run_without_what_comes_after_the_training(place: Path, tmp_path: Path) -> None:
    """What it writes without held-out rows is what the run writes that has them."""
    suite = place / "conf" / "suite" / "tiny.yaml"
    whole = ehrsynth.train(place / "matrix", "vae", **{**GIVEN, "quick": suite, "suite": suite}, runs=tmp_path / "a")
    config = parsed(whole.config.read_text(encoding="utf-8"), whole.config)
    spec = Spec.of({**config, "paths": {**config["paths"], "runs": str(tmp_path / "b")}}, "")
    half = fitted(spec, Matrix.open(sealed(place), parts=SEEN))
    assert half.path.name == whole.path.name
    scores = [pd.read_csv(run.metrics).drop(columns="seconds") for run in (half, whole)]
    pd.testing.assert_frame_equal(*scores)
    assert not half.finished
    assert not half.synthetic.exists()
    again = ehrsynth.train(place / "matrix", "vae", **{**GIVEN, "quick": suite, "suite": suite}, runs=tmp_path / "b")
    assert again == half
    assert sha256(again.synthetic) == sha256(whole.synthetic)


@pytest.mark.study
def test_what_a_worker_cannot_do_ends_all_workers(place: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("search", *options(place, "refused"), "workers=2", "search.space.model.latent_width=[0]") == 2
    error = capsys.readouterr().err
    assert "model.latent_width=0: a whole number, at least 1, was expected" in error
    assert "Traceback" not in error
