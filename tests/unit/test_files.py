"""Nothing half-written ever has its final name."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ehrsynth.errors import FileError
from ehrsynth.files import (
    ABANDONED,
    aside_of,
    put_in_place,
    read_json,
    read_object,
    sha256,
    sweep_leftovers,
    write_json,
    written_aside,
)


def write_until_full(path: Path) -> None:
    with written_aside(path) as aside:
        aside.write_text("half a fi", encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("before", [None, "old"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "report.json"
    if before is not None:
        path.write_text(before, encoding="utf-8")
    with pytest.raises(OSError, match="No space") as caught:
        write_until_full(path)
    assert caught.value.filename == str(path), "no library says which file it was"
    assert [p.name for p in tmp_path.iterdir()] == ([] if before is None else ["report.json"])
    assert before is None or path.read_text(encoding="utf-8") == before


def test_json_refuses_what_is_not_json_and_keeps_the_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == {"x": 1.5}


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("content", [[1], {"other": []}, {"codes": None}, {"codes": {}}])
def test_an_object_without_its_key_is_named(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "a.json", content)
    with pytest.raises(FileError, match=r"a\.json: no 'codes' in it; .*list"):
        read_object(tmp_path / "a.json", codes=list)


def leave(path: Path) -> Path:
    """Start a process that writes ``path`` aside, and kill it while it does."""
    script = (
        "import os, pathlib, sys; from ehrsynth.files import written_aside\n"
        "with written_aside(pathlib.Path(sys.argv[1])) as aside:\n"
        "    aside.write_text('patients'); os.kill(os.getpid(), 9)"
    )
    before = set(path.parent.glob(".*"))
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9
    (left,) = set(path.parent.glob(".*")) - before
    return left


def test_what_killed_processes_leave_is_swept(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    dead, deep, other = leave(tmp_path / "a.csv"), leave(tmp_path / "checkpoints" / "b"), leave(tmp_path / "x.a.csv")
    mine = aside_of(tmp_path / "a.csv")
    foreign = tmp_path / dead.name.replace(dead.name[1:9], "0" * 8)
    for path in (mine, foreign, tmp_path / "a.csv", tmp_path / ".hidden", tmp_path / ".1234abcd.a.csv"):
        path.write_text("kept")
    kept = {"a.csv", ".hidden", ".1234abcd.a.csv", mine.name, foreign.name, "checkpoints"}
    sweep_leftovers(tmp_path, "a.csv")
    assert {path.name for path in tmp_path.iterdir()} == {*kept, other.name}
    assert deep.exists()
    sweep_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert not deep.exists()


def test_leftovers_of_another_machine_are_swept_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / f".00000000-{os.getpid()}-1234abcd.matrix"
    folder.mkdir()
    (folder / "train.csv").touch()
    sweep_leftovers(tmp_path)
    assert folder.exists()
    os.utime(folder, (0, folder.stat().st_mtime - ABANDONED - 60))
    sweep_leftovers(tmp_path)
    assert not folder.exists()


def test_a_name_reaches_the_disk_after_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    of = {name: getattr(os, name) for name in ("fsync", "replace", "rename")}

    def seen(name: str) -> None:
        def call(*args: object) -> object:
            place = os.readlink(f"/proc/self/fd/{args[0]}") if name == "fsync" else str(args[0])
            done.append(f"{name} {'aside' if Path(place).name.startswith('.') else Path(place).name}")
            return of[name](*args)

        monkeypatch.setattr(os, name, call)

    for name in of:
        seen(name)
    write_json(tmp_path / "a.json", {})
    assert done == ["fsync aside", "replace aside", f"fsync {tmp_path.name}"]
    done.clear()
    aside = aside_of(tmp_path / "matrix")
    aside.mkdir()
    (aside / "train.parquet").write_bytes(b"x")
    put_in_place(aside, tmp_path / "matrix")
    assert done == ["fsync train.parquet", "fsync aside", "rename aside", f"fsync {tmp_path.name}"]


def test_whoever_writes_sweeps_what_killed_processes_left_beside_it(tmp_path: Path) -> None:
    dead = leave(tmp_path / "synthetic.csv")
    write_json(tmp_path / "other.json", {})
    assert not dead.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', "9" * 5000, "\x00"])
def test_what_is_no_json_of_ours_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match=r"a\.json: not readable as JSON"):
        read_json(tmp_path / "a.json")


def test_an_object_is_looked_into(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"rows": {"train": "many"}})
    with pytest.raises(FileError, match=r"a\.json: no 'train' in it; .* int"):
        read_object(tmp_path / "a.json", rows={"train": int})
