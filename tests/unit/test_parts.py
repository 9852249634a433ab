from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.chunks import write_table
from ehrsynth.errors import FileError
from ehrsynth.evaluation.evaluator import Undefined, Value
from ehrsynth.reporting.parts import of_kind, parts_frame, read_parts, write_parts
from tests.scores import score_of

PARTS = {
    ("column", "age"): Value(0.1, (0.05, 0.2)),
    ("column", "bmi"): Value(0.3),
    ("subgroup", "sex=F"): Undefined("too small"),
}
SCORES = [
    score_of("fidelity/ks", 0.2, "lower", (0.1, 0.3), anchors={"fresh_real": 0.05}, parts=PARTS),
    score_of("utility/tstr_auroc", None, "higher", status="skipped", reason="no outcome"),
]


def test_one_row_a_score_and_one_a_part() -> None:
    frame = parts_frame(SCORES)
    assert frame.columns.tolist() == [
        "metric",
        "kind",
        "part",
        "direction",
        "status",
        "reason",
        "value",
        "low",
        "high",
        "fresh_real",
        "train_copy",
        "independent",
    ]
    assert frame["kind"].tolist() == ["all", "column", "column", "subgroup", "all"]
    assert frame["status"].tolist() == ["ok", "ok", "ok", "undefined", "skipped"]
    assert frame.loc[0, ["value", "low", "high", "fresh_real"]].tolist() == [0.2, 0.1, 0.3, 0.05]
    assert frame.loc[1:, "fresh_real"].isna().all()


def test_parts_read_back_as_they_were_written(tmp_path: Path) -> None:
    write_parts(tmp_path / "report.parquet", SCORES)
    assert read_parts(tmp_path / "report.parquet") == {"fidelity/ks": PARTS}
    assert pd.read_parquet(tmp_path / "report.parquet")["reason"].tolist()[3:] == ["too small", "no outcome"]


def test_another_table_is_refused_by_name(tmp_path: Path) -> None:
    write_table(tmp_path / "x.parquet", pd.DataFrame({"metric": ["a"], "kind": ["all"]}))
    with pytest.raises(FileError, match=r"x\.parquet: no column 'part'"):
        read_parts(tmp_path / "x.parquet")


def test_parts_of_a_kind_are_those_with_a_value() -> None:
    assert list(of_kind(SCORES[0], "column")) == ["age", "bmi"]
    assert of_kind(SCORES[0], "subgroup") == {}
    assert of_kind(None, "column") == {}
