import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ehrsynth.errors import FileError
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.files import write_json
from ehrsynth.layout import Layout, Records
from ehrsynth.reporting.report import build_report, read_report
from ehrsynth.schema import Column, Schema
from tests.scores import score_of

SCHEMA = Schema((Column("code", "binary", domain="diagnosis"),))
SCORES = (
    score_of("fidelity/apd", 0.25, "lower", (0.2, 0.3), seconds=0.1, anchors={"fresh_real": 0.1, "train_copy": None}),
    score_of("utility/tstr_auroc", None, "higher", status="skipped", reason="no outcome column"),
)


def records(n: int) -> Records:
    return Records(Layout.of(SCHEMA), torch.ones(n, 1, dtype=torch.uint8), torch.empty(n, 0))


def report() -> dict[str, Any]:
    real = RealData(SCHEMA, records(7), records(3))
    return build_report(SCORES, real, records(5), data={"train": "ab" * 32})


def test_the_file_reads_back_as_what_was_built(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json(path, report())
    read = read_report(path)
    assert read.scores == SCORES
    assert read.rows == {"train": 7, "holdout": 3, "synthetic": 5}
    assert read.data == {"train": "ab" * 32}
    assert {"ehrsynth", "python", "torch", "numpy", "scikit-learn", "lightgbm"} <= set(read.versions)


def test_the_file_holds_what_the_contract_says_and_no_row() -> None:
    content = report()
    assert set(content) == {"scores", "rows", "versions", "data", "warnings"}
    keys = {"metric", "value", "direction", "ci", "status", "reason", "seconds", "anchors"}
    assert all(set(score) == keys for score in content["scores"])
    assert content["scores"][0]["ci"] == [0.2, 0.3]


def test_keys_added_later_do_not_disturb(tmp_path: Path) -> None:
    content = report() | {"notes": "new"}
    content["scores"][0]["rank"] = 1
    write_json(tmp_path / "report.json", content)
    assert read_report(tmp_path / "report.json").scores == SCORES


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"direction": "up"}, r"scores\[0\] \(fidelity/apd\)\.direction: found 'up'"),
        ({"status": "fine"}, "status"),
        ({"value": None}, r"value: found 'None'; expected a finite number"),
        ({"value": math.nan}, "found 'NaN'; finite numbers were expected"),
        ({"value": True}, "value: found 'True'"),
        ({"ci": [0.1]}, r"ci: found '\[0.1\]'"),
        ({"anchors": {"fresh_real": "low"}}, r"anchors\.fresh_real: found 'low'"),
        ({"ci": [2, 1]}, r"ci: found '\[2, 1\]'; expected \[low, high\]"),
        ({"reason": ["text"]}, r"reason: found .*; expected a text or null"),
        ({"seconds": "long"}, "seconds: found 'long'; expected a number"),
        ({"metric": "apd"}, r"scores\[0\]\.metric"),
        ({"metric": "fidelity/\ud800"}, r"scores\[0\]\.metric"),
    ],
)
def test_a_wrong_score_is_named_by_file_and_key(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    path = tmp_path / "report.json"
    content = report()
    content["scores"][0] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(FileError, match=named) as caught:
        read_report(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["scores", "rows", "versions", "data"])
def test_an_absent_key_is_named(tmp_path: Path, key: str) -> None:
    content = report()
    del content[key]
    write_json(tmp_path / "report.json", content)
    with pytest.raises(FileError, match=f"{key}: found 'None'"):
        read_report(tmp_path / "report.json")


def test_hashes_are_texts_counts_are_numbers_and_a_metric_is_there_once(tmp_path: Path) -> None:
    content = report()
    for change, words in (
        ({"data": {"train": ["a"]}}, r"data\.train: found .*; expected a text or null"),
        ({"rows": {"train": True}}, r"rows\.train: found 'True'; expected a whole number"),
        ({"scores": 2 * content["scores"]}, "scores: found 'fidelity/apd'; expected every metric once"),
    ):
        write_json(tmp_path / "report.json", content | change)
        with pytest.raises(FileError, match=words):
            read_report(tmp_path / "report.json")


def test_warnings_are_kept_and_an_older_report_has_none(tmp_path: Path) -> None:
    real = RealData(SCHEMA, records(7), records(3))
    content = build_report(SCORES, real, records(5), data={}, warnings=["The holdout shares rows with train."])
    write_json(tmp_path / "new.json", content)
    assert read_report(tmp_path / "new.json").warnings == ("The holdout shares rows with train.",)
    del content["warnings"]
    write_json(tmp_path / "old.json", content)
    assert read_report(tmp_path / "old.json").warnings == ()
    write_json(tmp_path / "odd.json", content | {"warnings": "text"})
    with pytest.raises(FileError, match="warnings: found 'text'; expected a list of sentences"):
        read_report(tmp_path / "odd.json")


def test_a_list_is_no_report(tmp_path: Path) -> None:
    write_json(tmp_path / "report.json", [1])
    with pytest.raises(FileError, match="an object with scores"):
        read_report(tmp_path / "report.json")
