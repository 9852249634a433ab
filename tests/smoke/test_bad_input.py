"""Bad input: exit status 2 and one line on stderr that names the culprit, whatever the verb."""

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


@pytest.fixture
def files(matrix: Path, tmp_path: Path) -> dict[str, Path]:
    """Copies of a matrix's tables as CSV, and its schema, to be spoiled."""
    found = {"schema": tmp_path / "schema.json", "out": tmp_path / "report"}
    shutil.copy(matrix / "schema.json", found["schema"])
    for name in ("train", "holdout"):
        found[name] = tmp_path / f"{name}.csv"
        pd.read_parquet(matrix / f"{name}.parquet").head(60).to_csv(found[name], index=False)
    found["synthetic"] = tmp_path / "synthetic.csv"
    pd.read_parquet(matrix / "train.parquet").drop(columns="subject_id").head(60).to_csv(
        found["synthetic"], index=False
    )
    return found


def evaluate(files: dict[str, Path]) -> list[object]:
    return ["evaluate", "suite=quick", *[f"{name}={path}" for name, path in files.items()]]


def spoil(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(path)).to_csv(path, index=False)


def test_missing_files(refused: Callable[..., None], files: dict[str, Path], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    for name in ("train", "holdout", "synthetic", "schema"):
        refused([str(gone)], *evaluate(files | {name: gone.with_suffix(".csv" if name != "schema" else ".json")}))
    refused([str(gone), "prepare"], "train", f"data.matrix={gone}")
    refused([str(gone)], "generate", f"run={gone}", "out=x.csv")
    refused([str(gone)], "rank", f"runs={gone}/**")
    refused([str(gone)], "prepare", "source=diabetes130", f"source.path={gone}", f"out={tmp_path / 'm'}")


def test_wrong_checksum(refused: Callable[..., None], tmp_path: Path) -> None:
    other = tmp_path / "diabetic_data.csv.gz"
    other.write_bytes(gzip.compress(b"encounter_id,patient_nbr\n1,2\n"))
    refused([str(other), "sha256"], "prepare", "source=diabetes130", f"source.path={other}", f"out={tmp_path / 'm'}")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("train", lambda f: f.drop(columns="age"), ["train", "missing columns 'age'"]),
        ("synthetic", lambda f: f.drop(columns=["age", "bmi"]), ["synthetic.csv", "'age'", "'bmi'"]),
        (
            "synthetic",
            lambda f: pd.concat([f, pd.Series(1, f.index, name="extra")], axis=1),
            ["synthetic.csv", "extra columns 'extra'"],
        ),
        ("synthetic", lambda f: f.assign(sex="X"), ["synthetic.csv", "'sex'", "row 0", "2 levels"]),
        ("synthetic", lambda f: f.assign(age="old"), ["synthetic.csv", "'age'", "text", "count"]),
        ("synthetic", lambda f: f.assign(age=1.5), ["synthetic.csv", "'age'", "whole"]),
        ("synthetic", lambda f: f.assign(sex=None), ["synthetic.csv", "'sex'", "empty"]),
        ("synthetic", lambda f: f.head(0), ["synthetic.csv", "empty"]),
        ("train", lambda f: f.head(0), ["train.csv", "empty"]),
        ("train", lambda f: f.head(1), ["train.csv", "at least two rows are needed"]),
        ("holdout", lambda f: f.head(1), ["holdout.csv", "at least two rows are needed"]),
        ("holdout", lambda f: f.assign(died_within_year=2), ["holdout.csv", "'died_within_year'", "0 or 1"]),
    ],
)
def test_tables_that_do_not_fit(
    refused: Callable[..., None],
    files: dict[str, Path],
    table: str,
    change: Callable[[pd.DataFrame], pd.DataFrame],
    words: list[str],
) -> None:
    spoil(files[table], change)
    refused(words, *evaluate(files))


def test_a_subject_in_two_splits(
    refused: Callable[..., None], files: dict[str, Path], matrix: Path, tmp_path: Path
) -> None:
    first = pd.read_csv(files["train"])["subject_id"][0]
    spoil(files["holdout"], lambda frame: frame.assign(subject_id=[first, *frame["subject_id"][1:]]))
    refused(["holdout.csv", "subject_id", "1 rows"], *evaluate(files))
    copy = copied(matrix, tmp_path)
    holdout = pd.read_parquet(copy / "holdout.parquet")
    holdout.loc[3, "subject_id"] = pd.read_parquet(copy / "train.parquet")["subject_id"][0]
    holdout.to_parquet(copy / "holdout.parquet", index=False)
    refused(["holdout.parquet", "row 3", "train.parquet"], "train", f"data.matrix={copy}")


def test_a_schema_that_does_not_fit(refused: Callable[..., None], files: dict[str, Path]) -> None:
    content = read(files["schema"])
    write_json(files["schema"], content | {"version": 9})
    refused(["schema.json", "version 9"], *evaluate(files))
    write_json(files["schema"], content | {"columns": [{**content["columns"][0], "kind": "numeric"}]})
    refused(["schema.json", "'numeric'"], *evaluate(files))
    write_json(files["schema"], content | {"columns": ["a"]})
    refused(["schema.json", "column 0"], *evaluate(files))
    files["schema"].write_text("{", encoding="utf-8")
    refused(["schema.json", "JSON"], *evaluate(files))


def test_a_training_table_without_a_schema_to_infer(refused: Callable[..., None], files: dict[str, Path]) -> None:
    del files["schema"]
    spoil(files["train"], lambda frame: frame[["age"]].assign(name=[f"patient {i}" for i in range(60)]))
    refused(["train.csv", "'name'", "identifier", "60 distinct values in 60 rows"], *evaluate(files))
    spoil(files["train"], lambda frame: frame[["age"]].rename(columns={"age": "subject_id"}))
    refused(["train.csv", "no columns besides the subject"], *evaluate(files))
    assert not files["out"].exists()


def test_a_matrix_that_was_changed(refused: Callable[..., None], matrix: Path, tmp_path: Path) -> None:
    copy = copied(matrix, tmp_path)
    train = pd.read_parquet(copy / "train.parquet")
    train.head(100).to_parquet(copy / "train.parquet", index=False)
    refused(["train.parquet", "changed"], "train", f"data.matrix={copy}")
    (copy / "holdout.parquet").unlink()
    refused(["holdout.parquet"], "train", f"data.matrix={copy}")


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
    words = [chosen.name, "another schema", "1 columns differ"]
    refused(words, "generate", f"run={broken}", f"out={tmp_path / 's.csv'}")
    for checkpoint in chosen.parent.iterdir():  # of a run on another matrix, where this one would resume
        content = torch.load(checkpoint, weights_only=True)
        torch.save(content | {"schema": schema | {"columns": schema["columns"][1:]}}, checkpoint)
    (broken / "report.json").unlink()
    refused(["epoch=000002.ckpt", "another schema"], "train", "model=vae", *small(matrix, tmp_path))
    chosen.write_bytes(b"not a checkpoint")
    (broken / "report.json").touch()
    refused([chosen.name, "not readable as a checkpoint"], "generate", f"run={broken}", f"out={tmp_path / 's.csv'}")


def test_runs_of_two_matrices_are_not_ranked_together(
    refused: Callable[..., None], study: Path, tmp_path: Path
) -> None:
    shutil.copytree(study, tmp_path / "study")
    path = next((tmp_path / "study").glob("vae/*/report.json"))
    content = read(path)
    write_json(path, content | {"data": content["data"] | {"train": "other"}})
    refused(["different matrices"], "rank", f"runs={tmp_path / 'study'}/**")


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
