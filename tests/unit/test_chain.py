"""The log of a folder: each record is bound to the one before, whoever writes, and whatever a stranger wrote."""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ehrsynth
from ehrsynth.files import sha256, write_json
from ehrsynth.study import chain
from ehrsynth.study.chain import Input, append, log_beside, log_in, read
from ehrsynth.study.run_folder import RunFolder
from tests.study_folders import finished


def written(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def step(folder: Path, name: str, text: str, *read_from: Path, step: str = "make") -> Path:
    """Write a file, note it in the log of its folder, and return it."""
    file = written(folder, name, text)
    inputs = {source.name: Input.of(source) for source in read_from}
    append(log_in(folder), step, options={}, inputs=inputs, outputs={name: sha256(file)})
    return file


def test_a_record_is_known_by_the_sha256_of_its_own_text(tmp_path: Path) -> None:
    for number in range(3):
        step(tmp_path, f"{number}.txt", "text")
    before = None
    for number, line in enumerate((tmp_path / "log.jsonl").read_text().splitlines(), start=1):
        body, _, own = line.rpartition(', "sha256": ')
        digest = hashlib.sha256(f"{body}}}".encode()).hexdigest()
        assert json.loads(own.rstrip("}")) == digest
        content = json.loads(line)
        assert (content["record"], content["previous"]) == (number, before)
        assert content["version"] == ehrsynth.__version__
        before = digest


def test_a_record_names_the_last_one_of_the_log_that_vouched_for_what_it_read(tmp_path: Path) -> None:
    raw = written(tmp_path / "raw", "a.csv", "1")
    made = step(tmp_path / "one", "b.csv", "2", raw)
    step(tmp_path / "one", "c.csv", "3")
    step(tmp_path / "two" / "deep", "d.csv", "4", made, raw)
    (entry,) = read(tmp_path / "two" / "deep" / "log.jsonl")
    assert entry.record is not None
    assert entry.record.origins == {"../../one/log.jsonl": read(tmp_path / "one" / "log.jsonl")[-1].digest}
    assert entry.record.inputs["b.csv"] == {
        "file": "../../one/b.csv",
        "sha256": hashlib.sha256(b"2").hexdigest(),
        "log": "../../one/log.jsonl",
    }
    assert entry.record.inputs["a.csv"]["log"] is None
    verdict = ehrsynth.verify(tmp_path / "two" / "deep")
    assert (verdict.whole, verdict.files) == (True, 4)
    assert [each.log.parent.name for each in verdict.steps] == ["one", "one", "deep"]


def test_a_table_has_its_log_beside_it() -> None:
    names = ("a.csv", "a.csv.gz", "a.parquet", "a.html", "a.b.txt")
    found = [log_beside(Path("x") / name).as_posix() for name in names]
    assert found == [*["x/a.log.jsonl"] * 4, "x/a.b.log.jsonl"]


def test_a_folder_can_have_its_log_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = written(tmp_path / "events" / "data", "0.parquet", "1")
    append(log_beside(tmp_path / "events"), "make", options={}, outputs={"events/data/0.parquet": sha256(shard)})
    step(tmp_path / "matrix", "a.txt", "2", shard)
    assert len(ehrsynth.verify(tmp_path / "matrix").steps) == 2
    monkeypatch.chdir(tmp_path / "events" / "data")
    for place in ("0.parquet", "..", "../../events", tmp_path / "events"):
        assert ehrsynth.verify(place).files == 1
    shard.write_text("3")
    assert not ehrsynth.verify(tmp_path / "events").whole
    assert len(ehrsynth.verify(tmp_path / "matrix").findings) == 2, "as it was made, and as it was read"


def test_those_who_write_at_the_same_time_wait_for_one_another(tmp_path: Path) -> None:
    file = written(tmp_path, "a.txt", "1")
    with ThreadPoolExecutor(4) as pool:
        digest = sha256(file)
        list(
            pool.map(lambda n: append(log_in(tmp_path), "make", options={"n": n}, outputs={"a.txt": digest}), range(24))
        )
    records = [entry.record for entry in read(log_in(tmp_path)) if entry.record]
    assert [record.record for record in records] == list(range(1, 25))
    assert {record.options["n"] for record in records} == set(range(24))
    assert ehrsynth.verify(tmp_path).whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "log.jsonl"]


def test_a_log_is_written_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step(tmp_path, "a.txt", "1")
    before = (tmp_path / "log.jsonl").read_bytes()

    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no space"):
        append(log_in(tmp_path), "make", options={})
    assert (tmp_path / "log.jsonl").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "log.jsonl"]


def test_options_of_any_kind_are_read_back_as_they_were_sealed(tmp_path: Path) -> None:
    file = written(tmp_path, "a.txt", "1")
    options = {
        "inf": inf,
        "nan": nan,
        "path": Path("x"),
        "of numpy": [np.float64(0.1), np.int64(3), np.bool_(True)],
        1: (2, {"3"}),
        "\udcff": 'ä\n"',
    }
    append(log_in(tmp_path), "make", options=options, outputs={"a.txt": sha256(file)})  # type: ignore[arg-type]
    (entry,) = read(log_in(tmp_path))
    assert not entry.fault
    assert entry.record is not None
    assert entry.record.options == {
        "inf": "inf",
        "nan": "nan",
        "path": "x",
        "of numpy": [0.1, 3, "True"],
        "1": [2, ["3"]],
        "\udcff": 'ä\n"',
    }
    assert b"NaN" not in log_in(tmp_path).read_bytes()


def test_code_of_another_version_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert chain.code_digest() == chain.code_digest.__wrapped__()
    (tmp_path / "study").mkdir()
    seen = set()
    monkeypatch.setattr(chain, "__file__", str(tmp_path / "study" / "chain.py"))
    for text in ("a = 1", "a = 2"):
        (tmp_path / "module.py").write_text(text)
        seen.add(chain.code_digest.__wrapped__())
    assert len(seen) == 2


Change = Callable[[dict[str, Any]], object]
HOSTILE: dict[str, Change] = {
    "a file above": lambda content: content["outputs"].update({"../secret": "0"}),
    "a file elsewhere": lambda content: content["outputs"].update({"/etc/passwd": "0"}),
    "a number for a digest": lambda content: content["outputs"].update({"a.txt": 5}),
    "no step": lambda content: content.pop("step"),
    "a field too many": lambda content: content.update({"more": 1}),
    "a text for a number": lambda content: content.update({"record": "1"}),
    "inputs without a digest": lambda content: content["inputs"].update({"a": {"file": "a", "log": None}}),
    "scores that are none": lambda content: content["scores"].update({"report.json": {"a": "b"}}),
    "origins that are none": lambda content: content.update({"origins": ["a"]}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_a_stranger_wrote_is_no_record(case: str, tmp_path: Path) -> None:
    step(tmp_path, "a.txt", "1")
    content = json.loads(log_in(tmp_path).read_text())
    HOSTILE[case](content)
    log_in(tmp_path).write_text(json.dumps(content) + "\n")
    (finding,) = ehrsynth.verify(tmp_path).findings
    assert finding.endswith("log.jsonl, line 1: expected a record in JSON, found something else")


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"5", b'"a"', b"{}", b"[" * 5000, b'{"a": ' * 5000, b"\xff\xfe", b"9" * 5000]
)
def test_rubbish_is_no_record_and_a_step_goes_on_behind_it(line: bytes, tmp_path: Path) -> None:
    log_in(tmp_path).write_bytes(line + b"\n")
    step(tmp_path, "a.txt", "1")
    found = ehrsynth.verify(tmp_path)
    assert len(found.findings) == 1
    assert "line 1: expected a record in JSON" in found.findings[0]
    assert [each.record.record for each in found.steps] == [2]


def test_steps_that_lead_to_one_another_in_a_circle_end(tmp_path: Path) -> None:
    one = step(tmp_path / "one", "a.txt", "1")
    two = step(tmp_path / "two", "b.txt", "2", one)
    step(tmp_path / "one", "a.txt", "1", two)
    verdict = ehrsynth.verify(tmp_path / "one")
    assert verdict.whole, verdict.findings
    assert len(verdict.steps) == 3


def test_texts_of_strangers_steer_no_terminal(tmp_path: Path) -> None:
    name = "a\x1b[31m\nALTERED.txt"
    step(tmp_path, name, "1", step="\x1b[31mmake\n")
    (tmp_path / name).write_text("2")
    (finding,) = ehrsynth.verify(tmp_path).findings
    assert "\x1b" not in finding
    assert "\n" not in finding


def test_lines_that_end_as_elsewhere_are_the_same_lines(tmp_path: Path) -> None:
    for text in "12":
        step(tmp_path, "a.txt", text)
    log = log_in(tmp_path)
    log.write_bytes(log.read_bytes().replace(b"\n", b"\r\n"))
    assert ehrsynth.verify(tmp_path).whole
    log.write_bytes(log.read_bytes().rstrip())
    step(tmp_path, "a.txt", "3")
    assert ehrsynth.verify(tmp_path).whole


def test_checkpoints_that_a_run_gave_up_are_not_missed(tmp_path: Path) -> None:
    run = finished(tmp_path / "vae" / "a", 0)
    for epoch in (1, 2):
        written(run.path / "checkpoints", f"epoch={epoch}.ckpt", str(epoch))
    content = run.facts() and json.loads(run.report.read_text())
    run.finish(content, {}, {})
    assert ehrsynth.verify(run.path).whole
    run.prune(["epoch=1.ckpt"])
    assert not ehrsynth.verify(run.path).whole
    run.finish(content, {}, {})
    verdict = ehrsynth.verify(run.path)
    assert verdict.whole, verdict.findings
    assert len(verdict.steps) == 3
    (run.path / "checkpoints" / "epoch=2.ckpt").unlink()
    assert not ehrsynth.verify(run.path).whole


@pytest.mark.parametrize("file", ["report.json", "metrics.csv"])
def test_a_file_of_scores_that_is_none_any_more_is_named_whole(file: str, tmp_path: Path) -> None:
    run = RunFolder(finished(tmp_path / "vae" / "a", 0).path)
    (run.path / file).write_bytes(b"\xff{")
    (finding,) = ehrsynth.verify(run.path).findings
    assert f"{file}: expected sha256" in finding


def test_each_score_that_was_altered_added_or_removed_is_named(tmp_path: Path) -> None:
    run = finished(tmp_path / "vae" / "a", 0)
    content = json.loads(run.report.read_text())
    first, second, *others = content["scores"]
    write_json(run.report, {**content, "scores": [{**first, "value": None}, {**second, "metric": "x/y"}, *others]})
    findings = [line.removeprefix(f"{run.report}: ") for line in ehrsynth.verify(run.path).findings]
    assert findings == [
        f"{first['metric']}: expected {first['value']!r}, found no value",
        f"{second['metric']}: expected {second['value']!r}, found no such score",
        f"x/y: expected no such score, found {second['value']!r}",
    ]
