"""``evaluate`` and ``rank`` on broken input: what is broken, the exit status, and the words that say what to do."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Cli

ROWS = 60
Files = dict[str, Path]
Break = Callable[[Files], object]  # spoils files; options that go with it come back

SUITE = """\
_target_: ehrsynth.evaluation.suite.Suite
_convert_: all
evaluators:
  - _target_: ehrsynth.evaluation.fidelity.prevalence.Prevalence
  - {_target_: ehrsynth.evaluation.utility.prediction.OutcomePrediction, rounds: 2, explained_rows: 0}
  - _target_: ehrsynth.evaluation.validity.plausibility.UnseenLevels
  - _target_: ehrsynth.evaluation.validity.plausibility.ValueRange
"""


def patients(seed: int, n: int = ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "sex": rng.choice(["F", "M"], n),
            "dx": (rng.random(n) < 0.4).astype(int),
            "visits": rng.integers(1, 9, n),
            "bmi": np.where(np.arange(n) % 7 == 3, np.nan, np.round(rng.normal(27, 3, n).clip(24, 30), 2)),
            "died": (np.arange(n) % 3 == 0).astype(int),
        }
    )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Sound tables of 60 patients, a schema and rules that fit them, and where the report goes."""
    found = {name: tmp_path / f"{name}.csv" for name in ("train", "holdout", "synthetic")}
    for seed, path in enumerate(found.values()):
        patients(seed).to_csv(path, index=False)
    found |= {name: tmp_path / f"{name}.json" for name in ("schema", "constraints")} | {"out": tmp_path / "report"}
    columns = [
        {"name": "sex", "kind": "categorical", "levels": ["F", "M"]},
        {"name": "dx", "kind": "binary", "domain": "diagnosis"},
        {"name": "visits", "kind": "count", "bounds": [1, 8]},
        {"name": "bmi", "kind": "continuous", "bounds": [15, 40], "missing": True},
        {"name": "died", "kind": "binary", "role": "outcome"},
    ]
    found["schema"].write_text(json.dumps({"version": 1, "columns": columns}), encoding="utf-8")
    rule = {"rule": "only_if", "column": "dx", "given": "sex=F"}
    found["constraints"].write_text(json.dumps({"version": 1, "constraints": [rule]}), encoding="utf-8")
    conf = tmp_path / "conf" / "suite"
    conf.mkdir(parents=True)
    (conf / "tiny.yaml").write_text(SUITE, encoding="utf-8")
    return found


def table(role: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Break:
    """Change one table."""
    return lambda files: change(pd.read_csv(files[role])).to_csv(files[role], index=False)


def cell(role: str, column: str, row: int, value: object) -> Break:
    """Put ``value`` into one cell."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
        return frame

    return table(role, change)


def text(role: str, change: Callable[[str], str]) -> Break:
    """Change the text of one file."""
    return lambda files: files[role].write_text(change(files[role].read_text(encoding="utf-8")), encoding="utf-8")


def content(role: str, raw: bytes) -> Break:
    """Put these bytes in the place of one file."""
    return lambda files: files[role].write_bytes(raw)


def renamed(role: str, name: str, raw: bytes | None = None) -> Break:
    """Give one file another name, and other bytes."""

    def change(files: Files) -> None:
        files[role].rename(files[role].with_name(name))
        files[role] = files[role].with_name(name)
        if raw is not None:
            files[role].write_bytes(raw)

    return change


def truncated_parquet(files: Files) -> None:
    files["train"] = files["train"].with_suffix(".parquet")
    patients(0).to_parquet(files["train"])
    files["train"].write_bytes(files["train"].read_bytes()[:-40])


def truncated_gzip(files: Files) -> None:
    files["train"] = files["train"].with_suffix(".csv.gz")
    files["train"].write_bytes(gzip.compress(patients(0).to_csv(index=False).encode())[:-60])


def folder_for(role: str) -> Break:
    def change(files: Files) -> None:
        files[role] = files[role].with_name("a_folder.csv")
        files[role].mkdir()

    return change


def gone(role: str) -> Break:
    return lambda files: files[role].unlink()


def out_is_a_file(files: Files) -> None:
    files["out"].write_text("a file", encoding="utf-8")


def out_below_a_file(files: Files) -> None:
    files["out"] = files["train"] / "report"


def schema(change: Callable[[dict[str, list[dict[str, object]]]], object]) -> Break:
    """Change the schema in place, or give another one back."""

    def spoil(files: Files) -> list[str]:
        plain = json.loads(files["schema"].read_text(encoding="utf-8"))
        other = change(plain)
        files["schema"].write_text(json.dumps(plain if other is None else other), encoding="utf-8")
        return [f"schema={files['schema']}"]

    return spoil


def given(*breaks: Break) -> Break:
    """Spoil, and pass the schema."""

    def spoil(files: Files) -> list[str]:
        for step in breaks:
            step(files)
        return [f"schema={files['schema']}"]

    return spoil


def rules(change: Callable[[str], str]) -> Break:
    def spoil(files: Files) -> list[str]:
        text("constraints", change)(files)
        return [f"constraints={files['constraints']}"]

    return spoil


def options(*words: str) -> Break:
    return lambda files: list(words)


def subjects(files: Files) -> None:
    for role, first in (("train", 0), ("holdout", 30)):
        table(role, lambda frame, first=first: frame.assign(subject_id=range(first, first + ROWS)))(files)


def same_rows(files: Files) -> None:
    files["holdout"].write_bytes(files["train"].read_bytes())


def shuffled_rows(files: Files) -> None:
    pd.read_csv(files["train"]).sample(frac=1, random_state=1).to_csv(files["holdout"], index=False)


def some_rows(files: Files) -> None:
    mixed = pd.concat([pd.read_csv(files["train"]).head(25), pd.read_csv(files["holdout"]).head(35)])
    mixed.to_csv(files["holdout"], index=False)


def latin(files: Files) -> None:
    files["train"].write_bytes(patients(0).to_csv(index=False).replace("M", "ü").encode("latin-1"))


def binary_junk(files: Files) -> None:
    files["train"].write_bytes(bytes(range(256)) * 20)


REFUSED: dict[str, tuple[Break, list[str]]] = {
    # the file
    "train missing": (gone("train"), ["train.csv", "no such file"]),
    "holdout missing": (gone("holdout"), ["holdout.csv", "no such file"]),
    "synthetic missing": (gone("synthetic"), ["synthetic.csv", "no such file"]),
    "a folder in place of a file": (folder_for("train"), ["a_folder.csv", "found a folder"]),
    "an empty file": (content("synthetic", b""), ["synthetic.csv", "the table is empty"]),
    "a header alone": (table("holdout", lambda f: f.head(0)), ["holdout.csv", "the table is empty"]),
    "one training row": (table("train", lambda f: f.head(1)), ["train.csv", "at least two rows"]),
    "one held-out row": (table("holdout", lambda f: f.head(1)), ["holdout.csv", "at least two rows"]),
    "a truncated parquet": (truncated_parquet, ["train.parquet", "not readable as a table"]),
    "parquet that is text": (renamed("train", "train.parquet"), ["train.parquet", "not readable as a table"]),
    "gzip that is text": (renamed("train", "train.csv.gz"), ["train.csv.gz", "not readable as a table"]),
    "a truncated gzip": (truncated_gzip, ["train.csv.gz", "not readable as a table"]),
    "an unknown suffix": (renamed("train", "train.xlsx"), ["train.xlsx", "unknown table type", ".parquet"]),
    "not UTF-8": (latin, ["train.csv", "not readable as a table", "Unicode"]),
    "binary junk": (binary_junk, ["train.csv", "not readable as a table"]),
    # its shape
    "a row that is too long": (
        text("train", lambda t: t + "F,1,2,3,1,9\n"),
        ["train.csv", "line 62 has 6 cells, the header 5"],
    ),
    "every row too long": (
        text("train", lambda t: t.replace("\n", ",7\n").replace("died,7", "died")),
        ["train.csv", "line 2 has 6 cells, the header 5"],
    ),
    "a row that is too short": (text("synthetic", lambda t: t + "F,1,2\n"), ["line 62 has 3 cells, the header 5"]),
    "a name twice": (text("train", lambda t: t.replace("dx", "sex", 1)), ["column 'sex'", "more than once"]),
    "a name twice but for a space": (text("train", lambda t: t.replace("dx", "sex ", 1)), ["column 'sex'", "unique"]),
    "a subject column twice": (
        text("train", lambda t: t.replace("sex,dx", "subject_id,subject_id")),
        ["column 'subject_id'", "more than once"],
    ),
    "a column without a name": (
        table("train", lambda f: f.rename(columns={"sex": ""})),
        ["train.csv", "column 1 of the header has no name"],
    ),
    "an extra column": (table("synthetic", lambda f: f.assign(x=1)), ["synthetic.csv", "extra columns 'x'"]),
    "a missing column": (table("holdout", lambda f: f.drop(columns="bmi")), ["holdout.csv", "missing columns 'bmi'"]),
    "other names": (
        table("synthetic", lambda f: f.rename(columns=str.upper)),
        ["synthetic.csv", "missing columns 'sex', 'dx'"],
    ),
    "no columns but the subject": (
        table("train", lambda f: f[["visits"]].rename(columns={"visits": "subject_id"})),
        ["train.csv", "no columns besides the subject"],
    ),
    # its cells
    "a column that is empty": (
        table("train", lambda f: f.assign(bmi=np.nan)),
        ["'bmi'", "empty in all 60", "drop=[bmi]"],
    ),
    "infinite": (cell("train", "bmi", 4, "inf"), ["train.csv", "'bmi'", "row 4", "not finite"]),
    "infinite in the synthetic table": (cell("synthetic", "bmi", 4, "-inf"), ["synthetic.csv", "'bmi'", "row 4"]),
    "text among numbers": (cell("synthetic", "visits", 5, "many"), ["synthetic.csv", "'visits'", "row 5", "text"]),
    "text among numbers to learn from": (
        table("train", lambda f: f.assign(bmi=[*(f"{i}.5" for i in range(59)), "heavy"])),
        ["train.csv", "'bmi'", "numbers, but 1 of 60 cells are text", "row 59"],
    ),
    "a fraction of a visit": (cell("synthetic", "visits", 6, 1.5), ["'visits'", "row 6", "whole numbers"]),
    "a two among zeros and ones": (cell("synthetic", "dx", 7, 2), ["synthetic.csv", "'dx'", "row 7", "0 or 1"]),
    "a gap among zeros and ones": (cell("holdout", "dx", 8, None), ["holdout.csv", "'dx'", "row 8", "empty"]),
    "dates": (table("train", lambda f: f.assign(day="2020-01-31")), ["'day'", "dates or times", "drop=[day]"]),
    "identifiers": (
        table("train", lambda f: f.assign(name=[f"n{i}" for i in range(ROWS)])),
        ["'name'", "identifier or free text (60 distinct values in 60 rows)", "drop=[name]", "subject=NAME"],
    ),
    "numbers of rows": (table("train", lambda f: f.assign(row=range(ROWS))), ["'row'", "looks like an identifier"]),
    "numbers that identify": (
        table("train", lambda f: f.assign(hadm_id=np.random.default_rng(0).permutation(9999)[:ROWS])),
        ["'hadm_id'", "looks like an identifier (60 distinct whole numbers in 60 rows)"],
    ),
    "a constant outcome": (
        given(table("train", lambda f: f.assign(died=0))),
        ["train.csv", "'died'", "constant outcome"],
    ),
    "a level no training row may have": (given(cell("train", "sex", 3, "X")), ["train.csv", "'sex'", "row 3"]),
    # the control
    "a holdout that is the training table": (same_rows, ["holdout.csv", "the same rows as", "train.csv"]),
    "a holdout that is the training table shuffled": (shuffled_rows, ["holdout.csv", "the same rows as"]),
    "subjects in both tables": (subjects, ["holdout.csv", "'subject_id'", "30 rows belong to subjects of"]),
    # the schema
    "no schema there": (given(gone("schema")), ["schema.json", "no such file"]),
    "a schema that is no JSON": (given(content("schema", b"{")), ["schema.json", "not readable as JSON"]),
    "a schema of the future": (schema(lambda s: s.update(version=9)), ["schema.json", "version 9"]),
    "a schema that is a list": (schema(lambda s: [s]), ["schema.json", "an object with version"]),
    "an unknown kind": (schema(lambda s: s["columns"][1].update(kind="flag")), ["schema.json", "'dx'", "kind 'flag'"]),
    "bounds reversed": (schema(lambda s: s["columns"][2].update(bounds=[8, 1])), ["'visits'", "bounds [low, high]"]),
    "a column twice": (schema(lambda s: s["columns"].append(s["columns"][0])), ["duplicate columns 'sex'"]),
    "no levels": (schema(lambda s: s["columns"][0].update(levels=[])), ["schema.json", "'sex'", "levels"]),
    "a binary column that may be missing": (schema(lambda s: s["columns"][1].update(missing=True)), ["'dx'", "binary"]),
    # the rules
    "rules that are no JSON": (rules(lambda t: t[:-9]), ["constraints.json", "not readable as JSON"]),
    "rules without a list": (rules(lambda t: "{}"), ["constraints.json", "no 'constraints' in it"]),
    "an unknown rule": (rules(lambda t: t.replace("only_if", "never")), ["constraints.json", "only_if"]),
    "a rule on no column": (rules(lambda t: t.replace("dx", "ex")), ["constraints.json", "no 0/1 column 'ex'"]),
    # the options
    "out is a file": (out_is_a_file, ["out=", "is a file"]),
    "out below a file": (out_below_a_file, ["out=", "train.csv is a file"]),
    "a seed that is no number": (options("seed=one"), ["seed=one", "whole number"]),
    "an unknown suite": (options("suite=huge"), ["suite/huge"]),
    "an unknown option": (options("holdut=x.csv"), ["'holdut'"]),
    "nothing to drop": (options("drop=[notes]"), ["drop=[notes]", "none of the tables"]),
    "no such subject": (options("subject=mrn"), ["subject=mrn", "none of the tables"]),
    "no such outcome": (options("outcomes=[cured]"), ["outcomes=[cured]", "no such column"]),
}

TAKEN: dict[str, tuple[Break, list[str]]] = {
    "nothing broken": (options(), ["report.json"]),
    "a level no training row has": (cell("synthetic", "sex", 2, "X"), ["synthetic rows with an unseen level: 1 of 60"]),
    "a gap no training row has": (cell("holdout", "sex", 2, None), ["holdout rows with an unseen level: 1 of 60"]),
    "a number out of range": (cell("synthetic", "visits", 2, -4), ["number out of the training range: 1 of 60"]),
    "no number where there always is one": (cell("synthetic", "visits", 2, None), ["training range: 1 of 60"]),
    "a single class in the synthetic outcome": (
        lambda files: [*given(table("synthetic", lambda f: f.assign(died=0)))(files)],  # type: ignore[misc]
        ["failed: outcome 'died' is constant in the synthetic rows"],
    ),
    "held-out rows from the training table": (some_rows, ["WARNING: 41.67 %", "more than chance explains"]),
    "a constant column": (table("synthetic", lambda f: f.assign(visits=3)), ["report.json"]),
    "one synthetic row": (table("synthetic", lambda f: f.head(1)), ["report.json"]),
    "a column of another order": (table("synthetic", lambda f: f[f.columns[::-1]]), ["report.json"]),
    "a blank line at the end": (text("train", lambda t: t + "\n"), ["report.json"]),
    "a byte order mark": (lambda f: f["train"].write_bytes(b"\xef\xbb\xbf" + f["train"].read_bytes()), ["report.json"]),
}


DRAWN = ("a level no training row has", "no number where there always is one", "one synthetic row")


def run(cli: Cli, files: Files, more: list[str]) -> int:
    given_files = [f"{name}={files[name]}" for name in ("train", "holdout", "synthetic", "out")]
    return cli("evaluate", f"--config-dir={files['schema'].parent / 'conf'}", "suite=tiny", *given_files, *more)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, cli: Cli, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, words = REFUSED[case]
    more = spoil(files)
    before = set(files["schema"].parent.rglob("*"))
    assert run(cli, files, more if isinstance(more, list) else []) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line]
    for word in words:
        assert word in line, line
    assert "Traceback" not in captured.err + captured.out
    left = {path.name for path in set(files["schema"].parent.rglob("*")) - before}
    assert left <= {"report", "schema.json"}, "nothing half-written"


@pytest.mark.parametrize("case", TAKEN)
def test_taken(
    case: str, cli: Cli, files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, words = TAKEN[case]
    if case not in DRAWN:  # figures take longest
        monkeypatch.setattr("ehrsynth.study.judge.report_figures", lambda *_, **__: [])
    more = spoil(files)
    assert run(cli, files, more if isinstance(more, list) else []) == 0
    captured = capsys.readouterr()
    for word in words:
        assert word in captured.out, captured.out
    report = json.loads((files["out"] / "report.json").read_text(encoding="utf-8"))
    assert bool(report["warnings"]) == ("WARNING" in captured.out)
    for name in ("report.html", "privacy.html", "report.parquet"):
        assert (files["out"] / name).is_file()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("sensitive=[nope]", "sensitive: the schema has no column 'nope'"),
        ("population=absent.csv", "absent.csv: no such file"),
        ("sex_table=absent.csv", "absent.csv: no such file"),
    ],
)
def test_an_option_of_a_score_is_refused_before_the_work(
    option: str, words: str, cli: Cli, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [f"{name}={files[name]}" for name in ("train", "holdout", "synthetic", "out")]
    assert cli("evaluate", "suite=full", *tables, option) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not files["out"].exists()


def test_a_full_disk(
    cli: Cli, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ehrsynth.files.os.replace", full)
    assert run(cli, files, []) == 1, "not the user's fault"
    assert "No space left on device" in capsys.readouterr().err
    assert not list(files["out"].iterdir())


REPORTS: dict[str, tuple[Callable[[str], str], str]] = {
    "no JSON": (lambda t: t[:-5], "not readable as JSON"),
    "a list": (lambda t: "[]", "expected an object"),
    "no scores": (lambda t: t.replace('"scores"', '"numbers"'), "scores"),
    "an empty list of scores": (lambda t: json.dumps(json.loads(t) | {"scores": []}), "scores"),
    "an unknown status": (lambda t: t.replace('"ok"', '"fine"', 1), "status"),
    "a value that is text": (lambda t: t.replace('"value": 0', '"value": "0', 1).replace(",", '",', 2), "report.json"),
    "an unknown direction": (lambda t: t.replace('"lower"', '"down"', 1), "direction"),
    "an interval of one end": (lambda t: broken_score(t, ci=[0.1]), "ci"),
    "no name": (lambda t: broken_score(t, metric=None), "metric"),
    "warnings that are a number": (lambda t: json.dumps(json.loads(t) | {"warnings": 3}), "warnings"),
}


def broken_score(report: str, **change: object) -> str:
    plain = json.loads(report)
    plain["scores"][0] |= change
    return json.dumps(plain)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> str:
    """A sound report.json."""
    folder = tmp_path_factory.mktemp("sound")
    options = []
    for seed, role in enumerate(("train", "holdout", "synthetic")):
        patients(seed).to_csv(folder / f"{role}.csv", index=False)
        options.append(f"{role}={folder / role}.csv")
    (folder / "conf" / "suite").mkdir(parents=True)
    (folder / "conf" / "suite" / "tiny.yaml").write_text(SUITE, encoding="utf-8")
    assert cli("evaluate", f"--config-dir={folder / 'conf'}", "suite=tiny", *options, f"out={folder / 'r'}") == 0
    return (folder / "r" / "report.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", REPORTS)
def test_rank_refuses_a_broken_report(
    case: str, report: str, cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, word = REPORTS[case]
    path = tmp_path / "report.json"
    path.write_text(change(report), encoding="utf-8")
    assert cli("rank", f"runs={path}") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert str(path) in line
    assert word in line
