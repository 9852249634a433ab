"""The matrix folder: the boundary between ``prepare`` and everything after it."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth import constraints as rules
from ehrsynth.constraints import Constraint
from ehrsynth.data.one_sex import one_sex_rules
from ehrsynth.data.preprocess import Prepared, Preprocess, RareCode
from ehrsynth.data.sources.base import Source
from ehrsynth.data.split import SPLITS, Split, require_rows
from ehrsynth.data.wide import widen
from ehrsynth.errors import FileError, OptionError, SchemaError, TableError
from ehrsynth.files import aside_of, read_object, read_table, require, sha256, sweep_leftovers, write_json, write_table
from ehrsynth.layout import Layout
from ehrsynth.schema import SUBJECT, Schema

LOW_PREVALENCE = "low_prevalence.json"
OUTPUTS = (*[f"{name}.parquet" for name in SPLITS], "schema.json", "constraints.json", LOW_PREVALENCE)
PROVENANCE = "provenance.json"
VERSIONS = ("ehrsynth", "numpy", "pandas", "pyarrow")


class Matrix:
    """An opened matrix folder.

    Attributes:
        folder: where it lies.
        schema: the columns.
        constraints: rules that hold in the training rows.
        provenance: source, options, versions, rows and columns after each step, hashes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.schema = Schema.load(folder / "schema.json")
        self.constraints: tuple[Constraint, ...] = rules.load(folder / "constraints.json", Layout.of(self.schema))
        self.provenance = read_object(folder / PROVENANCE, outputs=dict)

    @classmethod
    def open(cls, folder: Path) -> "Matrix":
        """Open and check a folder that ``prepare`` wrote.

        Raises:
            FileError: the folder or a file is missing, or a file is not the one that was written.
            SchemaError: ``schema.json`` is malformed, or a constraint names a column that is not in it.
            TableError: a subject is in two parts, a table does not fit the schema or has less than two rows, or an
                outcome is constant.
        """
        if not folder.is_dir():
            raise FileError(f"{folder}: no such folder; a matrix folder, written by prepare, was expected")
        for name in (*OUTPUTS, PROVENANCE):
            require(folder / name)
        matrix = cls(folder)
        matrix._check_subjects()
        for part in SPLITS:
            table = matrix.schema.validate(getattr(matrix, part), str(folder / f"{part}.parquet"))
            require_rows(table, str(folder / f"{part}.parquet"))
        matrix.schema.require_outcomes(matrix.train, str(folder / "train.parquet"))
        for name in OUTPUTS:
            if sha256(folder / name) != matrix.provenance["outputs"].get(name):
                raise FileError(f"{folder / name}: changed since prepare wrote it (sha256 differs); prepare it again")
        return matrix

    @property
    def name(self) -> str:
        """The folder's name, which names the study."""
        return self.folder.name

    @cached_property
    def train(self) -> pd.DataFrame:
        """R, the rows to train on, with ``subject_id``."""
        return read_table(self.folder / "train.parquet")

    @cached_property
    def validation(self) -> pd.DataFrame:
        """The rows that checkpoints are chosen on."""
        return read_table(self.folder / "validation.parquet")

    @cached_property
    def holdout(self) -> pd.DataFrame:
        """H, the rows no model and no choice has seen."""
        return read_table(self.folder / "holdout.parquet")

    @property
    def fingerprint(self) -> str:
        """Hash of the contents: the same wherever the folder lies and whenever it was made."""
        return hashlib.sha256(json.dumps(self.provenance["outputs"], sort_keys=True).encode()).hexdigest()

    def _check_subjects(self) -> None:
        for part in SPLITS:
            if SUBJECT not in getattr(self, part):
                file = self.folder / f"{part}.parquet"
                raise TableError(f"{file}: no column {SUBJECT!r}; it must name the subject of each row")
        for one, other in combinations(SPLITS, 2):
            shared = getattr(self, other)[SUBJECT].isin(getattr(self, one)[SUBJECT])
            if shared.any():
                raise TableError(
                    f"{self.folder / other}.parquet: the subject of row {int(shared.argmax())} is also in {one}.parquet"
                    f" ({int(shared.sum())} subjects are in both); a subject must be in one part only"
                )


def prepare(
    source: Source,
    out: Path,
    *,
    preprocess: Preprocess,
    split: Split,
    seed: int,
    progress: Callable[[str], None] = lambda step: None,
) -> Matrix:
    """Make a matrix folder, or open the one that the same options made before.

    Args:
        source: where the patients come from.
        out: the folder; it appears under this name only when it is complete.
        preprocess: the steps from plausible to encodable.
        split: the shares of the parts.
        seed: of the split.
        progress: called with the name of each step as it begins.

    Raises:
        InputError: the input is wrong, or ``out`` holds something else (``OptionError``).
    """
    progress("checking")
    sweep_leftovers(out.parent, out.name)
    identity = {
        "source": {"name": source.name, **source.options()},
        "inputs": {path.name: sha256(require(path)) for path in source.inputs()},
        "preprocess": vars(preprocess),
        "split": vars(split),
        "seed": seed,
    }
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return _existing(out, identity)
    progress("reading the source")
    wide = widen(source)
    steps = [{"step": "source", "rows": len(wide), "columns": wide.shape[1] - 1, "detail": source.remarks()}]
    progress("preprocessing")
    parts = {name: wide.iloc[rows] for name, rows in split.assign(len(wide), seed).items()}
    prepared = preprocess.apply(parts, source.columns())
    progress("writing")
    aside = aside_of(out)
    aside.mkdir(parents=True)
    try:
        _write(aside, prepared, {**identity, "steps": [*steps, *prepared.steps]})
        try:
            os.rename(aside, out)
        except OSError:
            if not out.exists():
                raise
            return _existing(out, identity)  # another process was faster
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    progress("checking the folder")
    return Matrix.open(out)


def _write(folder: Path, prepared: Prepared, made_from: dict[str, Any]) -> None:
    for name, table in prepared.tables.items():
        write_table(folder / f"{name}.parquet", table)
    prepared.schema.save(folder / "schema.json")
    rules.save(folder / "constraints.json", one_sex_rules(prepared.schema, prepared.tables["train"]))
    write_json(folder / LOW_PREVALENCE, {"version": 1, "codes": [asdict(code) for code in prepared.rare]})
    provenance = {
        "version": 1,
        **made_from,
        "rows": {name: len(table) for name, table in prepared.tables.items()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        "outputs": {name: sha256(folder / name) for name in OUTPUTS},
    }
    write_json(folder / PROVENANCE, provenance)


def _existing(out: Path, identity: dict[str, Any]) -> Matrix:
    """Open the folder if ``identity`` made it."""
    if not (out / PROVENANCE).is_file():
        raise OptionError(f"out={out}: something else is there; name a folder that does not exist yet")
    there = read_object(out / PROVENANCE, outputs=dict)
    for key, wanted in json.loads(json.dumps(identity)).items():
        if there.get(key) != wanted:
            raise OptionError(
                f"out={out}: a matrix made with another {key} is there ({there.get(key)}, now {wanted});"
                " name another folder, or remove this one"
            )
    return Matrix.open(out)


def read_low_prevalence(folder: Path) -> tuple[RareCode, ...]:
    """Read the codes that were too rare to train on, from a matrix folder.

    Raises:
        FileError: the file is missing or malformed.
    """
    path = folder / LOW_PREVALENCE
    entries = read_object(path, codes=list)["codes"]
    try:
        columns = Schema.from_dict({"version": 1, "columns": [e["column"] for e in entries]}).columns if entries else ()
        return tuple(RareCode(c, float(e["prevalence"])) for c, e in zip(columns, entries, strict=True))
    except (SchemaError, KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path}: not a list of columns with their prevalence ({type(error).__name__})") from None
