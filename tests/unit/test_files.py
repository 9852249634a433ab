"""Nothing half-written ever has its final name."""

import errno
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.errors import FileError
from ehrsynth.files import read_json, read_table, sha256, write_json, write_table, written_aside


def write_until_full(path: Path) -> None:
    with written_aside(path) as aside:
        aside.write_text("half a fi", encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("before", [None, "old"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "report.json"
    if before is not None:
        path.write_text(before, encoding="utf-8")
    with pytest.raises(OSError, match="No space"):
        write_until_full(path)
    assert [p.name for p in tmp_path.iterdir()] == ([] if before is None else ["report.json"])
    assert before is None or path.read_text(encoding="utf-8") == before


def test_json_refuses_what_is_not_json_and_keeps_the_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == {"x": 1.5}


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_tables_round_trip(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    write_table(tmp_path / name, frame)
    pd.testing.assert_frame_equal(read_table(tmp_path / name), frame)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"x,y\n", "empty"),
        ("a.csv", b'x,y\n1,"2\n3,4', "not readable"),
        ("a.csv", b"x\n\xff\xfe\n", "not readable"),
        ("a.csv.gz", b"no gzip", "not readable"),
        ("a.parquet", b"PAR1 no parquet", "not readable"),
        ("a.xlsx", b"?", "unknown table type"),
    ],
)
def test_unreadable_tables_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=words) as raised:
        read_table(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value)


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
