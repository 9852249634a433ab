"""A run folder -> a synthetic table."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from ehrsynth.chunks import write_chunks
from ehrsynth.data import parsing
from ehrsynth.data.rare_codes import LOW_PREVALENCE, read_rare
from ehrsynth.errors import OptionError, expect
from ehrsynth.files import TABLE_SUFFIXES, sha256, writable
from ehrsynth.models.base import SyntheticModel, load_model
from ehrsynth.sampling import Acceptance, synthesize
from ehrsynth.schema import Column, Schema
from ehrsynth.study.build import located
from ehrsynth.study.run_folder import PROVENANCE, RunFolder
from ehrsynth.study.spec import whole
from ehrsynth.study.watch import NOBODY, Watch


class Written(NamedTuple):
    """A synthetic table on disk."""

    file: Path
    rows: int
    columns: int


def generate(
    run: RunFolder | str | Path,
    n: int | None = None,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    condition: Mapping[str, object] | None = None,
    device: str = "auto",
    reintroduce: bool = False,
    quote_formulas: bool = False,
    model_class: type[SyntheticModel] | str | None = None,
    watch: Watch = NOBODY,
) -> pd.DataFrame | Written:
    """Draw records from the chosen checkpoint of a finished run.

    Args:
        run: the run, or its folder.
        n: records; as many as the run had training rows by default.
        out: a file to write them to, .csv, .csv.gz or .parquet; without one the table is returned.
        seed: of the draws.
        condition: wanted value by column; only such records are kept.
        device: ``auto`` takes a GPU if there is one; or ``cpu``, ``cuda``.
        reintroduce: add codes that were too rare to train on, drawn at their training prevalence.
        quote_formulas: in a CSV, put an apostrophe before texts that a spreadsheet would take for a formula.
        model_class: of the run, if it is not one of this package; a name is imported, so it must be one you trust.
        watch: who is told what happens.

    Raises:
        InputError: there is no such run, a file of it is not as it was written, or an option is wrong.
    """
    folder = RunFolder.open(run.path if isinstance(run, RunFolder) else Path(run))
    if out is not None and not str(out).endswith(TABLE_SUFFIXES):
        raise OptionError(f"out={out}: unknown table type; use one of {', '.join(TABLE_SUFFIXES)}")
    for name, flag in (("reintroduce", reintroduce), ("quote_formulas", quote_formulas)):
        expect(isinstance(flag, bool), name, flag, "true or false")
    expect(
        condition is None or isinstance(condition, Mapping), "condition", condition, "a mapping of columns to values"
    )
    if quote_formulas and (out is None or str(out).endswith(".parquet")):
        raise OptionError("quote_formulas=true: it is for a CSV; out=FILE.csv was expected")
    if out is not None:
        writable("out", Path(out), file=True)
    known = _model_class(model_class)
    folder.require(folder.path / PROVENANCE)
    folder.require(folder.chosen_checkpoint, folder.schema)
    if folder.hashes is None:
        watch.say(f"{folder.path}: by a version that kept no hashes: its files were not checked")
    n = folder.facts(rows={"train": int})["rows"]["train"] if n is None else whole("n", n, least=1)
    rare = _rare(folder) if reintroduce else []
    model = load_model(folder.chosen_checkpoint, Schema.load(folder.schema), known).to(torch_device(device))
    wanted = {str(name): _level(model.schema.by_name.get(name), value) for name, value in (condition or {}).items()}
    acceptance = Acceptance()
    with watch.bar("generating", n) as advance:
        chunks = synthesize(
            model,
            n,
            whole("seed", seed),
            condition=wanted,
            acceptance=acceptance,
            low_prevalence=rare,
            progress=lambda done: advance(done, None),
        )
        if out is None:
            table = pd.concat(chunks, ignore_index=True)
        else:
            rows = write_chunks(Path(out), chunks, quote_formulas=quote_formulas)
    if acceptance.way != "none":
        watch.say(f"condition: {acceptance}")
    if out is None:
        return table
    return Written(Path(out), rows, len(model.schema.columns) + len(rare))


def _level(column: Column | None, value: object) -> str:
    """Return a value as a schema names it: of zeros and ones, 1, 1.0, True and true are the same."""
    if column is None or column.numeric:
        return str(value)
    known = ("0", "1") if column.kind == "binary" else column.levels
    found = parsing.levels(pd.Series([str(value)]), known).iloc[0]
    return str(value) if pd.isna(found) else str(found)


def _model_class(given: type | str | None) -> type[SyntheticModel] | None:
    """Return the class that the user gives or names; that of this package needs none."""
    found = located(given, "model_class") if isinstance(given, str) else given
    if found is not None and not (isinstance(found, type) and issubclass(found, SyntheticModel)):
        raise OptionError(f"model_class={given}: no model; a subclass of ehrsynth.models.base.SyntheticModel is one")
    return found


def _rare(folder: RunFolder) -> list[tuple[Column, float]]:
    """Return the rare codes with their prevalence: they stay with the patients, a run folder does not carry them."""
    facts = folder.facts(matrix={"folder": str}, data={"low_prevalence": str})
    file = Path(facts["matrix"]["folder"]) / LOW_PREVALENCE
    if not file.is_file() or sha256(file) != facts["data"]["low_prevalence"]:
        raise OptionError(f"reintroduce=true: the rare codes stay in {file}, which is gone or another one now")
    return [(one.code.column, one.code.prevalence) for one in read_rare(file.parent)[0]]


def torch_device(name: str) -> torch.device:
    """Return the device to sample on: ``auto`` takes a GPU if there is one.

    Raises:
        OptionError: no such device, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError):
        raise OptionError(f"device={name}: not on this machine; use auto, cpu or cuda") from None
    return found
