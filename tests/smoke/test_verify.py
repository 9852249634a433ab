"""What ``verify`` finds: matrix, run, synthetic table, report and ranking are made for real, then tampered with."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ehrsynth
from ehrsynth.errors import AlteredError, OptionError
from ehrsynth.files import read_json, write_json
from ehrsynth.study.chain import Record, read
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.verify import Verdict
from tests.conftest import Cli, without_figures
from tests.runs import rehash

SUITE = {
    "_target_": "ehrsynth.evaluation.suite.Suite",
    "_convert_": "all",
    "evaluators": [{"_target_": "ehrsynth.evaluation.fidelity.dimension_wise_distance.DimensionWiseDistance"}],
}
OPTIONS = {
    "batch_size": 256,
    "max_epochs": 2,
    "trainer": {"accelerator": "cpu"},
    "evaluation": {"checkpoints": 2, "rows": 50},
    "suite": SUITE,
    "quick": SUITE,
    "n": 60,
    "logger": "disabled",
    "study": "s",
}
TABLE, REPORT, RANKING, STUDY = "out/synthetic.csv", "report", "ranking.csv", "runs/s"
PLACES = {
    "matrix": ["prepare"],
    "run": ["prepare", "train"],
    TABLE: ["prepare", "train", "generate"],
    REPORT: ["prepare", "train", "generate", "evaluate"],
    RANKING: ["prepare", "train", "rank"],
    STUDY: ["prepare", "train", "compare"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a raw table and all that verbs have made of it."""
    root, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    raw = pd.DataFrame(
        {"patient": range(1000, 1300), "sex": rng.choice(["F", "M"], 300), "age": rng.integers(20, 90, 300)}
    )
    raw = raw.assign(died=rng.integers(0, 2, 300), **{f"c{i}": rng.integers(0, 2, 300) for i in range(4)})
    (root / "raw").mkdir()
    raw.to_csv(root / "raw" / "table.csv", index=False)
    matrix = root / "matrix"
    with without_figures():
        source = {"path": str(root / "raw" / "table.csv"), "subject": "patient", "outcomes": ["died"]}
        ehrsynth.prepare("flat", out=matrix, **source)
        run = ehrsynth.train(matrix, "vae", runs=root / "runs", **OPTIONS)  # type: ignore[arg-type]
        ehrsynth.generate(run, 40, out=root / TABLE)
        tables = matrix / "train.parquet", matrix / "holdout.parquet", root / TABLE
        ehrsynth.evaluate(*tables, suite=SUITE, schema=matrix / "schema.json", out=root / REPORT)
        ehrsynth.rank(run).save(root / RANKING)
        ehrsynth.compare(root / STUDY).save()
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy elsewhere, where nothing of it was altered yet."""
    return Path(shutil.copytree(made, tmp_path / "moved" / "copy"))


def place(root: Path, name: str) -> Path:
    return next((root / "runs" / "s" / "vae").iterdir()) if name == "run" else root / name


def verified(root: Path, name: str) -> Verdict:
    return ehrsynth.verify(place(root, name))


def lines_of(log: Path) -> list[bytes]:
    return log.read_bytes().splitlines()


def put(log: Path, lines: list[bytes]) -> None:
    log.write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.mark.parametrize("name", PLACES)
def test_what_is_untouched_but_moved_passes(root: Path, name: str) -> None:
    verdict = verified(root, name)
    assert verdict.whole, verdict.findings
    assert not verdict.unfollowed
    assert [step.record.step for step in verdict.steps] == PLACES[name]
    assert "not signed" in verdict.remarks[0]


def test_the_chain_reaches_the_raw_table_and_tells_nothing_of_patients(root: Path) -> None:
    table = root / "raw" / "table.csv"
    table.write_text(table.read_text().replace("1000,", "1001,", 1))
    (finding,) = verified(root, TABLE).findings
    assert finding.startswith(f"{table}: expected sha256 ")
    assert "which step 1 (prepare) of " in finding
    for log in root.rglob("*log.jsonl"):
        assert not any(str(patient) in {*log.read_text().replace('"', " ").split()} for patient in range(1000, 1300))
        assert str(root.parents[1]) not in log.read_text()


def test_the_log_names_every_file_of_a_run(root: Path) -> None:
    run = place(root, "run")
    (entry,) = read(run / "log.jsonl")
    assert entry.record is not None
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert set(entry.record.outputs) == files - {"log.jsonl"}
    assert entry.record.options["model"]["_target_"] == "ehrsynth.models.vae.VAE"
    assert entry.record.options["seed"] == 0
    assert "log.jsonl" not in read_json(run / "manifest.json")["files"]


def cell(root: Path) -> str:
    table = pd.read_csv(root / TABLE)
    table.loc[3, "age"] += 1
    table.to_csv(root / TABLE, index=False)
    return rf"{TABLE}: expected sha256 \w+\.\.\. of step 1 \(generate\), found \w+\.\.\.$"


def cell_of_the_run(root: Path) -> str:
    run = RunFolder(place(root, "run"))
    table = pd.read_parquet(run.synthetic)
    table.loc[0, "died"] = 1 - table.loc[0, "died"]
    table.to_parquet(run.synthetic, index=False)
    rehash(run.path)  # who alters the table mends the manifest too
    return r"synthetic\.parquet: expected sha256 \w+\.\.\. of step 1 \(train\), found"


def score(root: Path) -> str:
    report = place(root, "run") / "report.json"
    content = read_json(report)
    content["scores"][0]["value"] = 0.0001
    write_json(report, content)
    return r"report\.json: fidelity/\w+: expected 0\.\d+, found 0\.0001$"


def score_of_a_checkpoint(root: Path) -> str:
    file = place(root, "run") / "metrics.csv"
    table = pd.read_csv(file)
    table.loc[1, "fidelity/dimension_wise_distance"] = 0.0
    table.to_csv(file, index=False)
    return r"metrics\.csv: fidelity/dimension_wise_distance, epoch 2: expected 0\.\d+, found 0\.0$"


def swapped_checkpoints(root: Path) -> str:
    one, two = (place(root, "run") / "checkpoints" / f"epoch=00000{n}.ckpt" for n in (1, 2))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    return r"epoch=000001\.ckpt: expected sha256 .*, that of checkpoints/epoch=000002\.ckpt$"


def missing_file(root: Path) -> str:
    (place(root, "run") / "card.md").unlink()
    return r"card\.md: expected as step 1 \(train\) wrote it, found no file$"


def altered_matrix(root: Path) -> str:
    file = root / "matrix" / "train.parquet"
    pd.read_parquet(file).iloc[1:].to_parquet(file, index=False)
    return r"matrix/train\.parquet: expected sha256 \w+\.\.\. of step 1 \(prepare\)"


def removed_log(root: Path) -> str:
    (root / "matrix" / "log.jsonl").unlink()
    return r"matrix/log\.jsonl: expected record \w+\.\.\., found no file: the log was removed$"


def rewritten_log(root: Path) -> str:
    """Somebody prepares the matrix again, from other options: it agrees with itself, and not with the run."""
    log = root / "matrix" / "log.jsonl"
    (entry,) = read(log)
    assert entry.record is not None
    values = {**vars(entry.record), "options": {**entry.record.options, "seed": 1}}
    put(log, [Record(**values).line])
    return r"matrix/log\.jsonl: expected record .*, on which step 1 \(train\) .* builds, found others, the last \w+"


def edited_record(root: Path) -> str:
    log = place(root, "run") / "log.jsonl"
    text = log.read_text()
    assert '"max_epochs": 2' in text
    log.write_text(text.replace('"max_epochs": 2', '"max_epochs": 3', 1))
    return r"log\.jsonl, line 1 \(train\): edited: expected sha256 \w+\.\.\., found \w+"


def cut_off(root: Path) -> str:
    log = root / "out" / "synthetic.log.jsonl"
    log.write_bytes(log.read_bytes()[:700])
    return r"synthetic\.log\.jsonl, line 1: expected a record in JSON, found something else$"


def emptied(root: Path) -> str:
    (place(root, "run") / "log.jsonl").write_bytes(b"")
    return r"log\.jsonl: expected at least one record, found none: it was cut off$"


def garbage(root: Path) -> str:
    log = place(root, "run") / "log.jsonl"
    log.write_bytes(bytes(range(256)) + b"\n" + log.read_bytes())
    return r"log\.jsonl, line 1: expected a record in JSON, found something else$"


def rerun_elsewhere(root: Path) -> str:
    """The same command with another seed, its table put in the place of the first."""
    ehrsynth.generate(place(root, "run"), 40, out=root / "aside" / "synthetic.csv", seed=1)
    shutil.copy(root / "aside" / "synthetic.csv", root / TABLE)
    return rf"{TABLE}: expected sha256 \w+\.\.\. of step 1 \(generate\)"


BY_TABLE = (
    *(cell, cell_of_the_run, score, score_of_a_checkpoint, swapped_checkpoints, missing_file, altered_matrix),
    *(removed_log, rewritten_log, edited_record, cut_off, emptied, garbage, rerun_elsewhere),
)


@pytest.mark.parametrize("tamper", BY_TABLE)
def test_what_is_altered_is_named(tamper: Callable[[Path], str], root: Path) -> None:
    wanted = tamper(root)
    verdict = verified(root, TABLE)
    assert any(re.search(wanted, finding) for finding in verdict.findings), verdict.findings
    assert len(verdict.findings) <= 3, "each alteration in its own line, and no more than it brings about"
    assert all("\n" not in finding for finding in verdict.findings)


def test_what_is_altered_in_the_folder_of_a_study_is_named(root: Path, no_figures: None) -> None:
    page = root / STUDY / "compare.html"
    page.write_text(page.read_text(encoding="utf-8").replace("runs compared", "runs compared fairly"), encoding="utf-8")
    (finding,) = verified(root, STUDY).findings
    assert re.match(rf"{page}: expected sha256 \w+\.\.\. of step 1 \(compare\), found \w+\.\.\.$", finding)
    ehrsynth.compare(root / STUDY).save()
    assert verified(root, STUDY).whole
    ranking = root / STUDY / "ranking.csv"
    ehrsynth.rank(place(root, "run")).save(ranking)
    verdict = verified(root, STUDY)
    assert [step.record.step for step in verdict.steps] == ["prepare", "train", "rank", "compare", "compare"]
    assert not any("no step has written" in remark for remark in verdict.remarks)
    assert any("not part of what is said of signatures" in remark for remark in verdict.remarks)
    ranking.write_text(ranking.read_text(encoding="utf-8").replace("vae", "gan"), encoding="utf-8")
    (finding,) = verified(root, STUDY).findings
    assert finding.startswith(f"{ranking}: expected sha256 ")
    wanted = score(root)
    assert any(re.search(wanted, finding) for finding in verified(root, STUDY).findings), "of a run that was compared"


def test_a_page_elsewhere_has_its_log_beside_it(root: Path) -> None:
    page = ehrsynth.compare(root / STUDY).save(root / "pages" / "mine.html")
    assert [step.record.step for step in ehrsynth.verify(page).steps] == ["prepare", "train", "compare"]
    (entry,) = read(root / "pages" / "mine.log.jsonl")
    assert entry.record is not None
    assert set(entry.record.outputs) == {"mine.html"}
    assert len(read(root / STUDY / "log.jsonl")) == 1
    page.unlink()
    assert "found no file" in ehrsynth.verify(page).findings[0]


def test_a_table_that_is_made_again_under_other_options_is_not_what_was_judged(root: Path) -> None:
    ehrsynth.generate(place(root, "run"), 40, out=root / TABLE, seed=1)
    assert verified(root, TABLE).whole, "it is what its second step has made, which is told"
    assert [step.record.options["seed"] for step in verified(root, TABLE).steps if step.record.step == "generate"] == [
        0,
        1,
    ]
    (finding,) = verified(root, REPORT).findings
    assert "synthetic.csv: expected sha256 " in finding
    assert "made anew by step 2 (generate) of " in finding


@pytest.fixture
def three(root: Path) -> Path:
    """The log of a table that was made three times."""
    for seed in (1, 2):
        ehrsynth.generate(place(root, "run"), 40, out=root / TABLE, seed=seed)
    assert verified(root, TABLE).whole
    return root / "out" / "synthetic.log.jsonl"


REARRANGED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "the first is gone": (lambda lines: lines[1:], "line 1 (generate): expected after record"),
    "the second is gone": (lambda lines: [lines[0], lines[2]], "a record before it was removed or rewritten"),
    "the last is gone": (lambda lines: lines[:2], "synthetic.csv: expected sha256"),
    "two changed places": (lambda lines: [lines[0], lines[2], lines[1]], "out of order, it belongs behind line"),
    "the first two did": (lambda lines: [lines[1], lines[0], lines[2]], "out of order, it belongs first"),
    "one is there twice": (lambda lines: [lines[0], *lines], "out of order, it belongs first"),
}


@pytest.mark.parametrize("case", REARRANGED)
def test_a_step_that_is_removed_or_moved_is_named(case: str, three: Path) -> None:
    change, words = REARRANGED[case]
    put(three, change(lines_of(three)))
    findings = ehrsynth.verify(three.with_name("synthetic.csv")).findings
    assert any(words in finding for finding in findings), findings


def test_what_cannot_be_followed_is_told(root: Path) -> None:
    shutil.rmtree(root / "raw")
    verdict = verified(root, "run")
    assert verdict.whole
    assert verdict.unfollowed == (f"{root / 'raw'}: table.csv not there; step 1 (prepare) has read it",)
    shutil.rmtree(root / "matrix")
    verdict = verified(root, "run")
    assert verdict.whole
    (line,) = verdict.unfollowed
    assert line == f"{root / 'matrix' / 'log.jsonl'}: not there; what came before step 1 (train) cannot be followed"
    alone = shutil.copytree(place(root, "run"), root / "elsewhere")
    assert ehrsynth.verify(alone).whole
    assert len(ehrsynth.verify(alone).steps) == 1


def test_a_run_made_whole_again_goes_on_with_its_log(root: Path, no_figures: None) -> None:
    (place(root, "run") / "card.md").unlink()
    run = ehrsynth.train(root / "matrix", "vae", runs=root / "runs", **OPTIONS)  # type: ignore[arg-type]
    assert run.path == place(root, "run")
    verdict = verified(root, "run")
    assert verdict.whole, verdict.findings
    assert [step.record.step for step in verdict.steps] == ["prepare", "train", "train"]
    assert len(read(run.path / "log.jsonl")) == 2
    ehrsynth.train(root / "matrix", "vae", runs=root / "runs", **OPTIONS)  # type: ignore[arg-type]
    assert len(read(run.path / "log.jsonl")) == 2, "what is finished is no further step"


def test_the_command(root: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    run = place(root, "run")
    assert cli("verify", run) == 0
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines()[:2]] == ["prepare", "train"]
    assert "not signed: who can rewrite every file can rewrite the log too" in told
    assert "files of 2 steps are as they were written" in told
    (run / "notes.txt").write_text("mine")
    assert cli("verify", run / "synthetic.parquet") == 0, "a file of a run stands for it"
    assert "no step has written notes.txt" in capsys.readouterr().out
    score(root)
    (run / "card.md").unlink()
    assert cli("verify", run) == 1
    captured = capsys.readouterr()
    assert captured.out.count("WRONG: ") == 2
    assert captured.err.splitlines() == [f"ehrsynth verify: failed: {run}: 2 things are not as expected"]


def test_a_page_made_again_is_a_step(root: Path) -> None:
    (root / "matrix" / "cohort.html").unlink()
    assert "cohort.html: expected as step 1 (prepare) wrote it, found no file" in verified(root, "run").findings[0]
    source = {"path": str(root / "raw" / "table.csv"), "subject": "patient", "outcomes": ["died"]}
    matrix = ehrsynth.prepare("flat", out=root / "matrix", **source)
    assert [step.record.step for step in ehrsynth.verify(matrix).steps] == ["prepare", "prepare"]
    assert verified(root, "run").whole, "the run goes on from the first of them"
    assert ehrsynth.verify(RunFolder(place(root, "run"))).whole
    with pytest.raises(OptionError, match="place=int: a folder, a file, a run, a matrix or a table was expected"):
        ehrsynth.verify(5)  # type: ignore[arg-type]


def test_places_with_any_name(root: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("with space", "2024_10", "a(b),c [d]", "\x1b[31mred"):
        copy = shutil.copytree(place(root, "run"), root / name)
        assert cli("verify", copy) == 0, name
    assert "\x1b[31m" not in capsys.readouterr().out


def test_bad_input(root: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "out" / "other.csv").write_text("a\n1\n")
    for what in ("absent", "raw", "out/other.csv", "/"):
        assert cli("verify", root / what) == 2
        assert "log.jsonl; a folder of prepare, train, evaluate, compare or search" in capsys.readouterr().err
    assert cli("verify", place(root, "run"), f"key={root / 'none.pem'}") == 2
    assert "none.pem: no such file" in capsys.readouterr().err
    assert cli("verify") == 2
    assert "place= is required" in capsys.readouterr().err


@pytest.fixture
def keys(tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """Write a pair of keys and return the files of the private and of the public one."""
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    form = pytest.importorskip("cryptography.hazmat.primitives.serialization")

    def write(name: str) -> tuple[Path, Path]:
        key = ed25519.Ed25519PrivateKey.generate()
        private, public = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"
        plain = form.NoEncryption()
        private.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, plain))
        made = key.public_key()
        public.write_bytes(made.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo))
        return private, public

    return write


def test_signatures(root: Path, keys: Callable[[str], tuple[Path, Path]]) -> None:
    (private, public), (_, other) = keys("mine"), keys("other")
    table, log = root / TABLE, root / "out" / "synthetic.log.jsonl"
    assert "found none" in ehrsynth.verify(table, key=public).findings[0], "absent"
    unsigned = log.read_bytes()
    assert ehrsynth.verify(table, sign=private).whole
    assert len(read(log)) == 2
    assert log.read_bytes().startswith(unsigned)
    ehrsynth.verify(table, sign=private)
    assert len(read(log)) == 2, "once is enough"
    right = ehrsynth.verify(table, key=public)
    assert right.whole
    assert right.remarks[0].endswith("the one you gave")
    assert "signed, all steps, by key " in ehrsynth.verify(table).remarks[0]
    assert "found none" in ehrsynth.verify(table, key=other).findings[0], "another key's"

    ehrsynth.generate(place(root, "run"), 40, out=table, seed=1)
    assert ehrsynth.verify(table).whole
    assert "all but the last 1 steps" in ehrsynth.verify(table).remarks[0]
    assert "found 1 after the last signature" in ehrsynth.verify(table, key=public).findings[0]
    ehrsynth.verify(table, sign=private)
    assert ehrsynth.verify(table, key=public).whole


def test_who_rewrites_everything_is_found_by_the_signature_alone(
    root: Path, keys: Callable[[str], tuple[Path, Path]]
) -> None:
    private, public = keys("mine")
    table, log = root / TABLE, root / "out" / "synthetic.log.jsonl"
    ehrsynth.verify(table, sign=private)
    before = read(log)
    log.unlink()
    ehrsynth.generate(place(root, "run"), 40, out=table, seed=7)
    assert ehrsynth.verify(table).whole, "a chain agrees with itself, and proves no more"
    assert not ehrsynth.verify(table, key=public).whole
    assert before[1].record is not None
    (new,) = read(log)
    forged = Record(**{**vars(before[1].record), "previous": new.digest})  # the old signature on the new chain
    put(log, [*lines_of(log), forged.line])
    for key in (None, public):
        assert any("found a forged one" in finding for finding in ehrsynth.verify(table, key=key).findings)


def test_what_is_altered_is_not_signed(root: Path, keys: Callable[[str], tuple[Path, Path]]) -> None:
    private, _ = keys("mine")
    cell(root)
    with pytest.raises(AlteredError, match=r"not signed, .*synthetic\.csv: expected sha256"):
        ehrsynth.verify(root / TABLE, sign=private)
    assert len(read(root / "out" / "synthetic.log.jsonl")) == 1


def test_without_the_extra(
    root: Path, keys: Callable[[str], tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys("mine")
    ehrsynth.verify(root / TABLE, sign=private)
    monkeypatch.setattr("ehrsynth.study.signing.find_spec", lambda name: None)
    verdict = ehrsynth.verify(root / TABLE)
    assert verdict.whole
    assert "not checked; pip install 'ehrsynth[signing]'" in verdict.remarks[0]
    for option in ("key", "sign"):
        with pytest.raises(
            OptionError, match=rf"{option}= needs the package cryptography; pip install 'ehrsynth\[signing\]'"
        ):
            ehrsynth.verify(root / TABLE, **{option: public})
