"""A finished run is whole: what is missing is made again from the checkpoint, what is altered is named, and no more."""

import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import ehrsynth
from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import FileError, MachineError, OptionError
from ehrsynth.evaluation.fidelity.dimension_wise_distance import DimensionWiseDistance
from ehrsynth.files import read_json, sha256, write_json
from ehrsynth.models.vae import VAE
from ehrsynth.study.generate import generate
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.shared import owned
from tests.conftest import Cli, without_figures
from tests.runs import rehash

SUITE = {
    "_target_": "ehrsynth.evaluation.suite.Suite",
    "_convert_": "all",
    "evaluators": [{"_target_": "ehrsynth.evaluation.fidelity.dimension_wise_distance.DimensionWiseDistance"}],
}
OPTIONS = {
    "batch_size": 256,
    "max_epochs": 3,
    "trainer": {"accelerator": "cpu"},
    "evaluation": {"checkpoints": 3, "rows": 50},
    "suite": SUITE,
    "quick": SUITE,
    "n": 60,
    "logger": "disabled",
    "study": "s",
}

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture(scope="module")
def opened(matrix: Path) -> Matrix:
    return Matrix.open(matrix)


@pytest.fixture(scope="module")
def made(opened: Matrix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs, with one of three checkpoints in it."""
    runs = tmp_path_factory.mktemp("runs")
    with without_figures():
        ehrsynth.train(opened, "vae", runs=runs, **OPTIONS)  # type: ignore[arg-type]
    return runs


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def run(runs: Path) -> RunFolder:
    return RunFolder(next(runs.glob("s/vae/*")))


Repeat = Callable[..., list[str]]


@pytest.fixture
def repeat(opened: Matrix, runs: Path) -> Repeat:
    """Give the same command again and return what it says; ``heard`` is called with every line."""

    def call(heard: Callable[[str], object] = len) -> list[str]:
        told: list[str] = []

        def say(line: str) -> None:
            told.append(line)
            heard(line)

        ehrsynth.train(opened, "vae", runs=runs, watch=ehrsynth.Watch(say=say), **OPTIONS)  # type: ignore[arg-type]
        return told

    return call


def contents(run: RunFolder) -> dict[str, str]:
    return {str(p.relative_to(run.path)): sha256(p) for p in run.path.rglob("*") if p.is_file()}


def test_the_manifest_names_every_file_and_the_report_comes_last(run: RunFolder, repeat: Repeat) -> None:
    found = contents(run)
    apart = ("manifest.json", "log.jsonl")  # the log names the manifest
    assert read_json(run.manifest)["files"] == {name: d for name, d in found.items() if name not in apart}
    assert run.report.stat().st_mtime_ns >= run.manifest.stat().st_mtime_ns
    repeat()
    assert contents(run) == found


def test_what_is_missing_is_made_again_from_the_checkpoints(run: RunFolder, repeat: Repeat) -> None:
    before, scores = contents(run), [(score.metric, score.value) for score in run.scores()]
    gone = ["synthetic.parquet", "report.html", "card.md", "metrics.csv", "losses.csv", "config.yaml", "schema.json"]
    gone += ["provenance.json", "checkpoints/epoch=000002.ckpt"]  # which the third came after
    for name in gone:
        (run.path / name).unlink()
    told = repeat()
    assert f"makes again what is missing: {', '.join(sorted(gone))}" in told[0]
    assert "epoch=000002.ckpt: no such file; training goes on from the checkpoint before it" in told[1]
    after = contents(run)
    assert set(after) == set(before)
    timed = {"provenance.json", "report.json", "manifest.json", "metrics.csv", "report.html", "config.yaml"}
    timed |= {"log.jsonl", "croissant.json"}
    same = {name: digest for name, digest in before.items() if name not in timed and not name.endswith(".ckpt")}
    assert {name: after[name] for name in same} == same
    assert [(score.metric, score.value) for score in run.scores()] == scores
    assert pd.read_csv(run.metrics)["epoch"].tolist() == [1, 2, 3]
    assert "finished already" in repeat()[0]


@pytest.mark.parametrize("name", ["report.parquet", "manifest.json", "checkpoints/epoch=000001.ckpt"])
def test_a_single_file_is_missed(name: str, run: RunFolder) -> None:
    (run.path / name).unlink()
    assert run.missing() == [name]


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def training_rows(run: RunFolder, matrix: Matrix) -> Path:
    matrix.train.drop(columns="subject_id").to_parquet(run.synthetic, index=False)
    return run.synthetic


def forged_score(run: RunFolder, matrix: Matrix) -> Path:
    report = read_json(run.report)
    report["scores"][0]["value"] = 0.0
    write_json(run.report, report)
    return run.report


def flipped_weights(run: RunFolder, matrix: Matrix) -> Path:
    flipped(run.chosen_checkpoint)
    return run.chosen_checkpoint


ALTERED = {
    training_rows: {"train"},
    forged_score: {"train", "rank"},
    flipped_weights: {"train", "generate"},
}


@pytest.mark.parametrize("alter", ALTERED)
def test_what_is_altered_is_named_by_whoever_uses_it(
    alter: Callable[[RunFolder, Matrix], Path], run: RunFolder, opened: Matrix, repeat: Repeat
) -> None:
    file = alter(run, opened)
    verbs: dict[str, Callable[[], object]] = {
        "train": repeat,
        "generate": lambda: ehrsynth.generate(run, 5),
        "rank": lambda: ehrsynth.rank(run),
    }
    for verb, call in verbs.items():
        if verb in ALTERED[alter]:
            with pytest.raises(FileError, match="not as the run wrote it") as error:
                call()
            assert str(error.value).startswith(f"{file}: ")
            assert "remove it, and the same `ehrsynth train` makes it again" in str(error.value)
        else:
            call()
    file.unlink()
    assert ("makes again what is missing" in repeat()[0]) == (file != run.report), "without its report it is unfinished"
    ehrsynth.generate(run, 5)
    ehrsynth.rank(run)


def test_a_run_of_an_earlier_version_is_used_and_said_to_be_unchecked(run: RunFolder, repeat: Repeat) -> None:
    run.manifest.unlink()
    provenance = read_json(run.path / "provenance.json")
    del provenance["manifest"]
    write_json(run.path / "provenance.json", provenance)
    assert "kept no hashes" in repeat()[0]
    told: list[str] = []
    ehrsynth.generate(run, 5, watch=ehrsynth.Watch(say=told.append))
    assert "kept no hashes" in told[0]
    assert "kept no hashes" in ehrsynth.rank(run).remarks[0]
    run.html.unlink()
    assert "makes again what is missing: report.html" in repeat()[0]
    assert run.manifest.is_file()


def test_a_damaged_checkpoint_is_named_and_training_goes_on_from_the_one_before(run: RunFolder, repeat: Repeat) -> None:
    last = run.path / "checkpoints" / "epoch=000003.ckpt"
    run.report.unlink()
    whole = torch.load(last, weights_only=True)["state_dict"]
    flipped(last)
    (said,) = [line for line in repeat() if "goes on" in line]
    assert said.startswith(f"{last}: not readable as a checkpoint")
    assert all(torch.equal(whole[name], w) for name, w in torch.load(last, weights_only=True)["state_dict"].items())
    assert pd.read_csv(run.metrics)["epoch"].tolist() == [1, 2, 3]


def malformed(part: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.update({part: 5})


FORGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "callbacks": (malformed("callbacks"), "does not name the checkpoints before it"),
    "a checkpoint elsewhere": (
        lambda content: content["callbacks"]["EvaluateCheckpoints"]["scored"][0].update(checkpoint="../../x"),
        "does not name the checkpoints before it",
    ),
    "names of weights": (lambda content: content["state_dict"].update({5: 1}), "weights and options by name"),
    "the schema": (malformed("schema"), "not an ehrsynth checkpoint"),
}


@pytest.mark.parametrize("case", FORGED)
def test_training_does_not_go_on_from_a_malformed_checkpoint(case: str, run: RunFolder, opened: Matrix) -> None:
    change, words = FORGED[case]
    last = run.path / "checkpoints" / "epoch=000003.ckpt"
    content = torch.load(last, weights_only=True)
    change(content)
    torch.save(content, last)
    told: list[str] = []
    assert run.latest_checkpoint(opened.schema, told.append) == last.with_name("epoch=000002.ckpt")
    (line,) = told
    assert line.startswith(f"{last}: ")
    assert words in line


@pytest.mark.parametrize("part", ["loops", "state_dict"])
def test_a_checkpoint_that_lightning_cannot_take_up_is_named(part: str, run: RunFolder, repeat: Repeat) -> None:
    run.report.unlink()
    last = run.path / "checkpoints" / "epoch=000003.ckpt"
    content = torch.load(last, weights_only=True)
    content[part].clear()
    torch.save(content, last)
    with pytest.raises(FileError, match=r"epoch=000003\.ckpt: training cannot go on from it"):
        repeat()
    assert not run.finished


def test_who_lags_waits_and_finds_the_run_finished(run: RunFolder, repeat: Repeat) -> None:
    finished = run.report.read_bytes()
    run.report.unlink()
    before = contents(run)
    waiting, told = threading.Event(), list[str]()
    with owned(run.path / ".lock", "the faster one", print):

        def lag() -> None:
            told.extend(repeat(lambda line: waiting.set() if "waiting for it" in line else None))

        laggard = threading.Thread(target=lag)
        laggard.start()
        assert waiting.wait(timeout=60)
        run.report.write_bytes(finished)
    laggard.join()
    assert "another process is at it; waiting for it" in told[0]
    assert "finished already" in told[1]
    assert contents(run) == {**before, "report.json": sha256(run.report)}


def test_forged_anchors_are_computed_again(
    runs: Path, run: RunFolder, repeat: Repeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = (runs / ".anchors").glob("*.json")
    true = read_json(file)
    for forged in (
        true | {"anchors": {**true["anchors"], "fresh_real": {"fidelity/dimension_wise_distance": 1.0}}},
        {"fresh_real": {}},
    ):
        write_json(file, forged)
        run.html.unlink()
        told = repeat()
        assert any("the anchors are computed again" in line for line in told)
        assert read_json(file) == true
    assert run.scores()[0].anchors["fresh_real"] == true["anchors"]["fresh_real"]["fidelity/dimension_wise_distance"]


def test_a_full_disk_or_a_lack_of_memory_is_no_score_and_leaves_the_run_unfinished(
    runs: Path, run: RunFolder, repeat: Repeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(runs / ".anchors")
    run.html.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(
            DimensionWiseDistance, "fit", lambda *_: (_ for _ in ()).throw(MemoryError("Unable to allocate 9 GiB"))
        )
        with pytest.raises(MachineError, match="Unable to allocate 9 GiB"):
            repeat()
    assert not run.finished
    assert not list(runs.glob(".anchors/*.json"))
    repeat()
    assert all(score.status == "ok" for score in run.scores())
    assert all(None not in score.anchors.values() for score in run.scores())


@pytest.mark.parametrize("name", ["nope", 7])
def test_an_option_of_an_evaluator_is_refused_before_training(name: object, opened: Matrix, tmp_path: Path) -> None:
    gap = {"_target_": "ehrsynth.evaluation.fairness.representation.Representation", "attributes": [name]}
    options = {**OPTIONS, "suite": {**SUITE, "evaluators": [gap]}}
    with pytest.raises(OptionError, match=f"sensitive: the schema has no column '{name}'"):
        ehrsynth.train(opened, "vae", runs=tmp_path, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.rglob("*.ckpt"))


# What a stranger's folder may hold.


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the working directory that leaves a mark when it is imported."""
    mark = tmp_path / "mark"
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Model: pass\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield mark
    sys.modules.pop("evil", None)


@pytest.mark.parametrize("name", ["evil.Model", "os.system", "ehrsynth.models.evil.Model", "ehrsynth.models.vae.torch"])
def test_what_a_checkpoint_names_is_not_imported(name: str, run: RunFolder, evil: Path) -> None:
    content = torch.load(run.chosen_checkpoint, weights_only=True)
    torch.save(content | {"model": name}, run.chosen_checkpoint)
    rehash(run.path)
    with pytest.raises(FileError, match=f"made by .*'{name}', which"):
        ehrsynth.generate(run, 5)
    assert not evil.exists()
    assert len(ehrsynth.generate(run, 5, model_class=VAE)) == 5, "the user's word counts"
    assert len(ehrsynth.generate(run, 5, model_class="ehrsynth.models.vae.VAE")) == 5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("absent.Model", "model_class=absent.Model: cannot be imported"),
        ("Model", "model_class=Model: cannot be imported"),
        ("evil.Model", "model_class=evil.Model: no model"),
        ("ehrsynth.models.independent.IndependentMarginals", "which model_class=IndependentMarginals does not fit"),
    ],
)
def test_a_model_class_that_is_none(
    given: str, words: str, run: RunFolder, evil: Path, cli: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli("generate", f"run={run.path}", "n=5", f"out={tmp_path / 's.csv'}", f"model_class={given}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


class Mark:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.mark), 0o700)


def test_a_pickle_in_a_checkpoint_is_refused(run: RunFolder, evil: Path) -> None:
    content = torch.load(run.chosen_checkpoint, weights_only=True)
    torch.save(content | {"hyper_parameters": {"seed": Mark(evil)}}, run.chosen_checkpoint)
    rehash(run.path)
    with pytest.raises(FileError, match="not readable as a checkpoint"):
        ehrsynth.generate(run, 5)
    assert not evil.exists()


@pytest.mark.parametrize("name", ["../../x.ckpt", "/etc/passwd", "", "a/b", 7, None])
def test_a_checkpoint_outside_the_folder_is_not_read(name: object, run: RunFolder) -> None:
    write_json(run.path / "provenance.json", run.provenance | {"checkpoint": name})
    rehash(run.path)
    with pytest.raises(FileError, match=r"provenance\.json: (checkpoint|no 'checkpoint')"):
        ehrsynth.generate(run, 5)


def test_a_link_out_of_the_folder_is_not_followed(run: RunFolder, tmp_path: Path) -> None:
    run.chosen_checkpoint.rename(tmp_path / "elsewhere.ckpt")
    run.chosen_checkpoint.symlink_to(tmp_path / "elsewhere.ckpt")
    with pytest.raises(FileError, match="leads out of the run folder"):
        ehrsynth.generate(run, 5)
    run.chosen_checkpoint.unlink()
    run.chosen_checkpoint.symlink_to(run.chosen_checkpoint.name)
    with pytest.raises(FileError, match="no such file"):
        ehrsynth.generate(run, 5)


def test_a_manifest_cannot_name_files_elsewhere(run: RunFolder) -> None:
    write_json(run.manifest, {"version": 1, "files": {"../../secret": "0"}})
    with pytest.raises(FileError, match=r"manifest\.json: names files that no run writes"):
        run.missing()


DEEP = "[" * 100_000
MALFORMED = {
    "deep": DEEP,
    "a list": "[]",
    "no seed": '{"model": "vae", "variant": "v"}',
    "NaN": '{"model": NaN}',
    "beyond a float": '{"seed": 1e999}',
    "a whole number of 5,000 digits": f'{{"seed": {"9" * 5000}}}',
    "no text": "\udcff",
}


@pytest.mark.parametrize("verb", ["generate", "rank"])
@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_provenance_is_one_line(
    case: str, verb: str, run: RunFolder, cli: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (run.path / "provenance.json").write_bytes(MALFORMED[case].encode("utf-8", "surrogateescape"))
    rehash(run.path)
    options = [f"run={run.path}", f"out={tmp_path / 's.csv'}"] if verb == "generate" else [f"runs={run.path}"]
    assert cli(verb, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "provenance.json: " in line


def test_a_condition_that_is_no_mapping_and_data_that_are_a_table(run: RunFolder, opened: Matrix) -> None:
    with pytest.raises(OptionError, match=r"condition=sex: a mapping"):
        generate(run, 5, condition="sex")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="data: found a DataFrame; a matrix"):
        ehrsynth.train(opened.train, "vae")  # type: ignore[arg-type]
