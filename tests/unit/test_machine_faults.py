"""What the machine does to a command is no score, is not kept, and is one line with status 1."""

import errno
import json
import logging
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch

from ehrsynth.data.store import Store
from ehrsynth.errors import FileError, InputError, MachineError, OptionError, machine_fault
from ehrsynth.evaluation.evaluator import NotApplicableError, Value
from ehrsynth.evaluation.memory import Memory
from ehrsynth.evaluation.privacy.identity_disclosure import IdentityDisclosure
from ehrsynth.evaluation.privacy.inference import Inference
from ehrsynth.evaluation.privacy.linkability import Linkability
from ehrsynth.evaluation.suite import Suite
from tests.conftest import Cli
from tests.evaluation_toy import toy_real, toy_records
from tests.unit.test_memory import Counted
from tests.unit.test_suite import Fixed

REAL = toy_real(n=60, holdout=40)


class LightGBMError(Exception):
    """As LightGBM raises it."""


def numpys() -> Exception:
    with pytest.raises(MemoryError) as error:
        np.empty(2**59, dtype=np.float64)
    return error.value


def torchs() -> Exception:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**58, dtype=torch.float64)
    return error.value


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("in a library")
    error.__cause__ = cause
    return error


OF_THE_MACHINE = {
    "a full disk": OSError(errno.ENOSPC, "No space left on device", "x.npz"),
    "a quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "a failing disk": OSError(errno.EIO, "Input/output error", "x.npz"),
    "a memory error": MemoryError(),
    "numpy's": numpys(),
    "torch's": torchs(),
    "a GPU's": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "DuckDB's": duckdb.OutOfMemoryException("Out of Memory Error"),
    "Arrow's": pa.ArrowMemoryError("malloc of size 9 failed"),
    "LightGBM's": LightGBMError("std::bad_alloc"),
    "below another": wrapped(OSError(errno.ENOSPC, "No space left on device")),
}
OF_SOMEBODY_ELSE = {
    "a bug": ZeroDivisionError("division by zero"),
    "a missing file": FileNotFoundError(errno.ENOENT, "No such file"),
    "the user's": FileError("a.csv: no such file"),
    "a bad shape": RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
}


@pytest.mark.parametrize("case", OF_THE_MACHINE)
@pytest.mark.parametrize("when", ["preparing", "scoring"])
def test_what_the_machine_does_is_no_score(case: str, when: str) -> None:
    error = OF_THE_MACHINE[case]
    fault = machine_fault(error)
    assert isinstance(fault, MachineError)
    assert len(str(fault).splitlines()) == 1
    fails = Fixed("fails", Value(0.0) if when == "preparing" else error, error if when == "preparing" else None)  # type: ignore[arg-type]
    with pytest.raises(MachineError):
        Suite(evaluators=[Fixed("good", Value(0.5)), fails]).fit(REAL, 0).score(toy_records(5, 0))


@pytest.mark.parametrize("case", OF_SOMEBODY_ELSE)
def test_what_others_do_is_not_blamed_on_the_machine(case: str) -> None:
    assert machine_fault(OF_SOMEBODY_ELSE[case]) is None


@pytest.mark.parametrize("error", [OptionError("x=1: no"), FileError("p.csv: no such file")])
def test_an_option_that_is_wrong_is_no_score(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InputError, match=str(error)):
        Suite(evaluators=[Fixed("good", Value(0.5), error)]).fit(REAL, 0).score(toy_records(5, 0))
    assert not caplog.records, "nobody needs a traceback"


def test_options_are_looked_at_before_any_work() -> None:
    for evaluator, words in (
        (IdentityDisclosure(identifiers=["nope"]), "identity disclosure: identifiers: the schema has no column 'nope'"),
        (IdentityDisclosure(population="absent.csv"), "absent.csv: no such file"),
        (Inference(secrets=["nope"]), "inference: secrets: the schema has no column 'nope'"),
        (Linkability(known=(["nope"], [])), "linkability: known: the schema has no column 'nope'"),
    ):
        with pytest.raises(InputError, match=words):
            Suite(evaluators=[evaluator]).fit(REAL, 0)
    with pytest.raises(NotApplicableError):  # what the data lack is skipped, as ever
        Fixed("skipped", Value(0.0), at_fit=NotApplicableError("no outcome")).fit(REAL, 0)


def cached(folder: Path, compute: Counted) -> list[int]:
    found: list[int] = Memory("data", folder).cached({"work": "w"}, compute)["x"].tolist()
    return found


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "forged", "of other work", "not ours"])
def test_a_cache_that_is_broken_or_forged_is_computed_again_and_said(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    compute = Counted()
    first = cached(tmp_path, compute)
    (file,) = tmp_path.glob("*.npz")
    content = file.read_bytes()
    with np.load(file) as arrays:
        seal = arrays["sha256"]
    if how == "flipped":
        place = content.index(np.int64(first[0]).tobytes(), content.index(b"fortran_order"))
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif how == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "forged":
        np.savez(file, x=np.array([7, 7, 7]), sha256=seal)
    elif how == "of other work":
        Memory("data", tmp_path / "other").cached({"work": "v"}, compute)
        file.write_bytes(next((tmp_path / "other").iterdir()).read_bytes())
    else:
        np.savez(file, x=np.array([7, 7, 7]))
    before = compute.times
    with caplog.at_level(logging.WARNING):
        again = cached(tmp_path, compute)
    assert compute.times == before + 1
    assert again == [before + 1, before + 2, before + 3]
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: damaged or not ours (checksum differs); computed again"
    ]
    assert cached(tmp_path, compute) == again
    assert compute.times == before + 1


def test_a_cache_that_does_not_fit_fails_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", full)
        with pytest.raises(MachineError, match=r"\.npz: the cache cannot be written \(No space left on device\)"):
            cached(tmp_path, Counted())
    assert not list(tmp_path.iterdir())
    assert cached(tmp_path, Counted()) == [1, 2, 3]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device", "o.csv"), MemoryError("9 GiB")])
def test_a_command_says_it_in_one_line(
    error: Exception, cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("ehrsynth.cli.generate.RunFolder.open", Path)
    monkeypatch.setattr("ehrsynth.cli.generate.generate", fails)
    assert cli("generate", "run=r", f"out={tmp_path / 'o.csv'}") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ehrsynth generate: failed: ")
    assert "repeat the command" in line


def test_what_killed_preparations_spilled_is_removed_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Store() as store:
        (scratch,) = tmp_path.iterdir()
        assert scratch.stat().st_mode & 0o077 == 0, "patients are nobody else's business"
        assert store.value("SELECT 1") == 1
    assert not list(tmp_path.iterdir())
    dead = tmp_path / scratch.name.replace(scratch.name.split("-")[1], "9999999")  # beyond any process
    dead.mkdir()
    (dead / "spilled").write_text(json.dumps({"subject_id": 1}), encoding="utf-8")
    outside = tmp_path / "outside"
    outside.mkdir()
    link = tmp_path / dead.name.replace(dead.name.split("-")[2][:8], "0" * 8)
    link.symlink_to(outside)
    assert cli("rank", f"runs={tmp_path}/none") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
