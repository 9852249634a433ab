"""``prepare``: a source's raw tables -> a matrix folder."""

import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ehrsynth import constraints as rules
from ehrsynth.data.cohort.base import Cohort
from ehrsynth.data.events import tell_timeline
from ehrsynth.data.features.base import Feature
from ehrsynth.data.matrix import LOW_PREVALENCE, OUTPUTS, PROVENANCE, Matrix
from ehrsynth.data.one_sex import one_sex_rules
from ehrsynth.data.preprocess import Prepared, Preprocess
from ehrsynth.data.sources.base import Source
from ehrsynth.data.split import Split
from ehrsynth.data.store import Store
from ehrsynth.data.wide import widen
from ehrsynth.errors import OptionError
from ehrsynth.files import aside_of, read_object, require, sha256, sweep_leftovers, write_json, write_table

VERSIONS = ("ehrsynth", "numpy", "pandas", "pyarrow", "duckdb")


def prepare(
    source: Source,
    out: Path,
    *,
    cohort: Cohort,
    features: Mapping[str, Feature | None],
    preprocess: Preprocess,
    split: Split,
    seed: int,
    progress: Callable[[str], None] = lambda step: None,
) -> Matrix:
    """Make a matrix folder, or open the one that the same options made before.

    Args:
        source: where the patients come from.
        out: the folder; it appears under this name only when it is complete.
        cohort: who belongs, seen from when.
        features: the columns, in their order; None leaves one out.
        preprocess: the steps from plausible to encodable.
        split: the shares of the parts.
        seed: of the split.
        progress: called with the name of each step as it begins.

    Raises:
        InputError: the input is wrong, or ``out`` holds something else (``OptionError``).
    """
    progress("checking")
    sweep_leftovers(out.parent, out.name)
    chosen = {name: feature for name, feature in features.items() if feature is not None}
    files = source.inputs()
    for feature in chosen.values():
        files |= feature.inputs()
    identity = {
        "source": {"name": source.name, **source.options()},
        "cohort": cohort.options(),
        "features": {name: feature.options() for name, feature in chosen.items()},
        "inputs": {name: sha256(require(path)) for name, path in files.items()},
        "preprocess": vars(preprocess),
        "split": vars(split),
        "seed": seed,
    }
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return _existing(out, identity)
    with Store() as store:
        progress("reading the source")
        source.read(store)
        tell_timeline(store)
        progress("choosing the cohort")
        flow = cohort.choose(store)
        progress("collecting the features")
        wide = widen(store, list(chosen.values()))
    steps = [{"step": "source", "rows": len(wide), "columns": len(wide.specs), "detail": dict(wide.remarks)}]
    progress("preprocessing")
    parts = {name: wide[rows].frame() for name, rows in split.assign(len(wide), seed).items()}
    prepared = preprocess.apply(parts, wide.specs)
    progress("writing")
    aside = aside_of(out)
    aside.mkdir(parents=True)
    try:
        _write(
            aside, prepared, {**identity, "flow": [asdict(step) for step in flow], "steps": [*steps, *prepared.steps]}
        )
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
