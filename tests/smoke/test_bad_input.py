"""Bad input: exit status 2 and one line on stderr that names the culprit, whatever the verb.

What ``evaluate`` makes of broken tables is in ``test_broken_input.py``.
"""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from ehrsynth.files import read_json as read
from ehrsynth.files import sha256, write_json
from tests.conftest import Cli, small
from tests.runs import rehash

Case = tuple[list[object], str]


@pytest.fixture
def refused(cli: Cli, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Run a verb, expect exit status 2 and one line with the given words."""

    def check(words: list[str], *arguments: object) -> None:
        capsys.readouterr()
        assert cli(*arguments) == 2
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if line]
        assert len(lines) == 1, captured.err
        assert "Traceback" not in captured.err
        for word in words:
            assert word in lines[0], lines[0]

    return check


def test_missing_files(refused: Callable[..., None], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    refused([str(gone), "prepare"], "train", f"data.matrix={gone}")
    refused([str(gone)], "generate", f"run={gone}", "out=x.csv")
    refused([str(gone)], "rank", f"runs={gone}/**")
    refused([str(gone)], "prepare", "source=diabetes130", f"source.path={gone}", f"out={tmp_path / 'm'}")


def test_wrong_checksum(refused: Callable[..., None], tmp_path: Path) -> None:
    other = tmp_path / "diabetic_data.csv.gz"
    other.write_bytes(gzip.compress(b"encounter_id,patient_nbr\n1,2\n"))
    refused([str(other), "sha256"], "prepare", "source=diabetes130", f"source.path={other}", f"out={tmp_path / 'm'}")
    assert not (tmp_path / "m").exists()


def test_a_subject_in_two_splits(refused: Callable[..., None], matrix: Path, tmp_path: Path) -> None:
    copy = copied(matrix, tmp_path)
    holdout = pd.read_parquet(copy / "holdout.parquet")
    holdout.loc[3, "subject_id"] = pd.read_parquet(copy / "train.parquet")["subject_id"][0]
    holdout.to_parquet(copy / "holdout.parquet", index=False)
    refused(["holdout.parquet", "row 3", "train.parquet"], "train", f"data.matrix={copy}")


def test_a_matrix_that_was_changed(refused: Callable[..., None], matrix: Path, tmp_path: Path) -> None:
    copy = copied(matrix, tmp_path)
    train = pd.read_parquet(copy / "train.parquet")
    train.head(100).to_parquet(copy / "train.parquet", index=False)
    refused(["train.parquet", "changed"], "train", f"data.matrix={copy}")
    (copy / "holdout.parquet").unlink()
    refused(["holdout.parquet"], "train", f"data.matrix={copy}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("flow", [5]),
        ("flow", [{"what": "all", "subjects": 1, "stays": 1, "faults": {"x": "y"}}]),
        ("steps", [{"step": "a"}]),
        ("table_one", [{}]),
        ("coverage", 5),
        ("coverage", [{"what": "events"}]),
        ("rows", {"train": "x"}),
        ("versions", None),
    ],
)
def test_a_provenance_whose_entries_are_malformed(
    key: str, value: object, refused: Callable[..., None], matrix: Path, tmp_path: Path
) -> None:
    copy = copied(matrix, tmp_path)
    provenance = read(copy / "provenance.json")
    assert key in provenance
    write_json(copy / "provenance.json", provenance | {key: value})
    options = "source.n=800", "preprocess.min_count=3", "preprocess.min_aside=1"
    refused([f"{copy}/provenance.json: no ", "was expected"], "prepare", *options, f"out={copy}")


def test_unknown_overrides_and_values(refused: Callable[..., None], matrix: Path, tmp_path: Path) -> None:
    runs = small(matrix, tmp_path)
    refused(["'nonsense'"], "train", "nonsense=1")
    refused(["'widht'"], "train", "model.widht=3")
    refused(["model/gan"], "train", "model=gan")
    refused(["suite/huge"], "evaluate", "suite=huge", "train=a", "holdout=b", "synthetic=c", "out=d")
    refused(["out="], "prepare")
    refused(["seed=zero"], "train", *runs, "seed=zero")
    refused(["data.batch_size=0"], "train", *runs, "data.batch_size=0")
    for verb, key in (("train", "seed=a"), ("train", "evaluation.seed=a"), ("train", "trainer.max_epochs=0")):
        refused([key], verb, *runs, key)
    refused(["trainer.max_epochs=-1"], "train", *runs, "trainer.max_epochs=-1")
    refused(["evaluation.checkpoints=None"], "train", *runs, "evaluation.checkpoints=null")
    refused(["trainer.devices=3", "trainer=ddp"], "train", *runs, "trainer.devices=3")
    refused(["seed=a"], "prepare", "seed=a", f"out={tmp_path / 'm'}")
    refused(["seed=a"], "rank", "seed=a", f"runs={tmp_path}")
    (tmp_path / "conf" / "profile").mkdir(parents=True)
    odd = "_target_: ehrsynth.evaluation.ranking.Profile\nname: odd\ndescription: odd\npaper: none\n"
    (tmp_path / "conf" / "profile" / "odd.yaml").write_text(f"{odd}weights: {{fidelity/none: 1}}\n", encoding="utf-8")
    refused(["profile=odd"], "train", f"--config-dir={tmp_path / 'conf'}", "profile=odd", *runs)
    refused(["logger.mode=loud"], "train", *runs, "logger.mode=loud")
    refused(["split.holdout=1.5"], "prepare", "split.holdout=1.5", f"out={tmp_path / 'm'}")
    refused(["split.validation=0"], "prepare", "split.validation=0", f"out={tmp_path / 'm'}")
    refused(["preprocess.outliers=hide"], "prepare", "preprocess.outliers=hide", f"out={tmp_path / 'm'}")
    refused(["source.n=-1"], "prepare", "source.n=-1", f"out={tmp_path / 'm'}")
    refused(["source.seed=a"], "prepare", "source.seed=a", f"out={tmp_path / 'm'}")
    refused(["seed=a"], "evaluate", "seed=a", "train=a", "holdout=b", "synthetic=c", "out=d")
    assert not list(tmp_path.glob("**/m"))


def test_unknown_verb(cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from ehrsynth.cli.main import main

    monkeypatch.setattr("sys.argv", ["ehrsynth", "trian"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "trian" in capsys.readouterr().err


def test_generate_options(refused: Callable[..., None], study: Path, tmp_path: Path) -> None:
    run = next(study.glob("vae/*"))
    out = tmp_path / "s.csv"
    refused(["out=", "s.xlsx", ".parquet"], "generate", f"run={run}", f"out={tmp_path / 's.xlsx'}")
    refused(["n=0"], "generate", f"run={run}", "n=0", f"out={out}")
    refused(["condition.colour"], "generate", f"run={run}", f"out={out}", "condition.colour=red")
    refused(["seed=a"], "generate", f"run={run}", f"out={out}", "seed=a")
    refused(["device=tpu"], "generate", f"run={run}", f"out={out}", "device=tpu")
    refused(["condition.phe_250.2"], "generate", f"run={run}", f"out={out}", "condition.phe_250.2=1")
    refused(["condition.sex=Q", "F"], "generate", f"run={run}", f"out={out}", "condition.sex=Q")
    unknown = tmp_path / "run"
    shutil.copytree(run, unknown)
    provenance = read(run / "provenance.json")
    write_json(unknown / "provenance.json", provenance | {"data": provenance["data"] | {"low_prevalence": "other"}})
    rehash(unknown)
    words = ["reintroduce=true", "low_prevalence.json", "another one now"]
    refused(words, "generate", f"run={unknown}", f"out={out}", "reintroduce=true")
    moved = provenance["matrix"] | {"folder": str(tmp_path / "moved")}
    write_json(unknown / "provenance.json", provenance | {"matrix": moved})
    rehash(unknown)
    words = ["reintroduce=true", str(tmp_path / "moved"), "gone"]
    refused(words, "generate", f"run={unknown}", f"out={out}", "reintroduce=true")
    assert not out.exists()


def test_a_checkpoint_that_is_not_the_runs_own(
    refused: Callable[..., None], study: Path, matrix: Path, tmp_path: Path
) -> None:
    run = next(study.glob("vae/*"))
    broken = tmp_path / "small" / "vae" / run.name
    shutil.copytree(run, broken)
    chosen = broken / "checkpoints" / read(broken / "provenance.json")["checkpoint"]
    schema = read(broken / "schema.json")
    write_json(broken / "schema.json", schema | {"columns": schema["columns"][:-1]})
    rehash(broken)
    words = [chosen.name, "another schema", "1 columns differ"]
    refused(words, "generate", f"run={broken}", f"out={tmp_path / 's.csv'}")
    for checkpoint in chosen.parent.iterdir():  # of a run on another matrix, where this one would resume
        content = torch.load(checkpoint, weights_only=True)
        torch.save(content | {"schema": schema | {"columns": schema["columns"][1:]}}, checkpoint)
    (broken / "report.json").unlink()
    refused(["epoch=000002.ckpt", "another schema"], "train", "model=vae", *small(matrix, tmp_path))
    write_json(broken / "schema.json", schema)
    chosen.write_bytes(b"not a checkpoint")
    (broken / "report.json").touch()
    rehash(broken)
    refused([chosen.name, "not readable as a checkpoint"], "generate", f"run={broken}", f"out={tmp_path / 's.csv'}")


def test_runs_of_two_matrices_are_not_ranked_together(
    cli: Cli, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(study, tmp_path / "study")
    path = next((tmp_path / "study").glob("vae/*/report.json"))
    content = read(path)
    write_json(path, content | {"data": content["data"] | {"train": "other"}})
    rehash(path.parent)
    assert cli("rank", f"runs={tmp_path / 'study'}/**", f"out={tmp_path / 'ranking.csv'}") == 0
    assert capsys.readouterr().out.count("the lowest weighted rank is best") == 2
    table = pd.read_csv(tmp_path / "ranking.csv")
    assert list(table)[:2] == ["rows", "group"]
    assert table["rows"].nunique() == 2
    assert (table["position"] == 1).all()


def test_a_constant_outcome(refused: Callable[..., None], matrix: Path, tmp_path: Path) -> None:
    copy = copied(matrix, tmp_path)
    train = pd.read_parquet(copy / "train.parquet")
    train["died_within_year"] = train["died_within_year"] * 0
    train.to_parquet(copy / "train.parquet", index=False)
    provenance = read(copy / "provenance.json")
    provenance["outputs"]["train.parquet"] = sha256(copy / "train.parquet")
    write_json(copy / "provenance.json", provenance)
    refused(["train.parquet", "'died_within_year'", "constant"], "train", f"data.matrix={copy}", "logger.mode=disabled")


def copied(matrix: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(matrix, copy)
    return copy
