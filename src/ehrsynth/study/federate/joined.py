"""Folders of several sites -> one, under columns that all of them have: what stands for the sites on one machine.

It holds the rows of all sites one after another, each after its own, so that sites can take turns in one process and
what they have made together can be judged. Where sites are on machines of their own nobody needs it.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth import constraints as rules
from ehrsynth.chunks import write_table
from ehrsynth.constraints import Constraint, Rules
from ehrsynth.data.matrix import OUTPUTS, PROVENANCE, Matrix
from ehrsynth.data.prepare import VERSIONS
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.public_matrix import PublicMatrix
from ehrsynth.data.rare_codes import LOW_PREVALENCE, save_rare
from ehrsynth.errors import OptionError, SchemaError, expect
from ehrsynth.files import aside_of, put_in_place, sha256, writable, write_json
from ehrsynth.schema import SUBJECT, Schema
from ehrsynth.seeding import secret_rng
from ehrsynth.study.chain import Input, append, log_in
from ehrsynth.study.federate.agree import agreed
from ehrsynth.study.federate.sites import SITES
from ehrsynth.study.shared import owned
from ehrsynth.study.watch import Watch

MOST_NAMES = 5  # columns that a message names


def joined(folders: Iterable[str | Path], preprocess: Preprocess | None, matrices: Path, watch: Watch) -> Matrix:
    """Put folders of sites together, or open what was put together from the same before.

    Args:
        folders: that ``prepare`` wrote, one a site; their names name the sites.
        preprocess: the thresholds by which they agree on columns; None asks that all have the same.
        matrices: below which the folder is kept.
        watch: who is told what happens.

    Raises:
        OptionError: two sites of one name.
        SchemaError: sites have other columns, or mean different things by them.
        InputError: a folder is not as ``prepare`` wrote it.
    """
    sites = _opened(folders)
    made_from = {
        SITES: {name: matrix.fingerprint for name, matrix in sites.items()},
        "preprocess": None if preprocess is None else vars(preprocess),
    }
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:10]
    folder = matrices / f"{'-'.join(sites) if len(sites) < 4 else f'{len(sites)}-sites'}-{digest}"
    writable("paths.matrices", folder)
    with owned(folder.with_name(f".{folder.name}.lock"), f"putting {folder.name} together", watch.say):
        if not folder.is_dir():
            schema = _same(sites) if preprocess is None else agreed(sites, preprocess, secret_rng())
            aside = aside_of(folder)
            try:
                _write(aside, sites, schema, made_from)
                put_in_place(aside, folder)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
            _note(folder, sites, made_from)
            watch.say(f"{len(sites)} sites, {len(schema.columns):,} columns  {folder}")
    return Matrix.open(folder)


def _opened(folders: Iterable[str | Path]) -> dict[str, Matrix]:
    found = dict[str, Matrix]()
    for folder in map(Path, folders):
        expect(folder.resolve().name not in found, "sites", folder, "a folder of another name than the others")
        found[folder.resolve().name] = Matrix.open(folder)
    if not found:
        raise OptionError("sites=[]: folders that prepare wrote were expected, one a site")
    return found


def _same(sites: Mapping[str, Matrix]) -> Schema:
    (first, matrix), *others = sites.items()
    for name, other in others:
        one, two = matrix.schema.by_name, other.schema.by_name
        differing = [column for column in dict.fromkeys([*one, *two]) if one.get(column) != two.get(column)]
        if differing or matrix.schema != other.schema:
            more = f" and {len(differing) - MOST_NAMES:,} more" if len(differing) > MOST_NAMES else ""
            named = ", ".join(map(repr, differing[:MOST_NAMES])) or "their order"
            raise SchemaError(
                f"site {name}: other columns than site {first} has: {named}{more}; align=true lets sites agree on"
                " columns, by sums of counts"
            )
    return matrix.schema


def _write(aside: Path, sites: Mapping[str, Matrix], schema: Schema, made_from: Mapping[str, Any]) -> None:
    aside.mkdir(parents=True)
    schema.save(aside / "schema.json")
    file = aside / "schema.json"
    seen = {
        name: matrix if matrix.schema == schema else PublicMatrix(matrix, file, f"site {name}")
        for name, matrix in sites.items()
    }
    rules.save(aside / "constraints.json", _shared_rules(sites, schema))
    save_rare(aside / LOW_PREVALENCE, (), {})
    rows: dict[str, dict[str, int]] = {name: {} for name in sites}
    for part in next(iter(sites.values())).parts:
        tables = []
        for name, matrix in seen.items():
            table = getattr(matrix, part)
            tables.append(table.assign(**{SUBJECT: name + ":" + table[SUBJECT].astype(str)}))
            rows[name][part] = len(table)
        write_table(aside / f"{part}.parquet", pd.concat(tables, ignore_index=True))
    total = {part: sum(own[part] for own in rows.values()) for part in next(iter(rows.values()))}
    provenance = {
        "version": 1,
        SITES: rows,
        "made_from": made_from,
        "rows": total,
        "versions": {name: version(name) for name in VERSIONS},
        "outputs": {name: sha256(aside / name) for name in OUTPUTS},
    }
    write_json(aside / PROVENANCE, provenance)


def _shared_rules(sites: Mapping[str, Matrix], schema: Schema) -> list[Constraint]:
    """Return the rules that every site has, of columns that stayed."""
    first, *others = (matrix.constraints for matrix in sites.values())
    return [rule for rule in first if all(rule in own for own in others) and _binds(rule, schema)]


def _binds(rule: Constraint, schema: Schema) -> bool:
    try:
        Rules((rule,), schema)
    except (SchemaError, KeyError):
        return False
    return True


def _note(folder: Path, sites: Mapping[str, Matrix], made_from: Mapping[str, Any]) -> None:
    inputs = {name: Input.of(matrix.folder / PROVENANCE) for name, matrix in sites.items()}
    outputs = {name: sha256(folder / name) for name in (*OUTPUTS, PROVENANCE)}
    append(log_in(folder), "federate", options={"preprocess": made_from["preprocess"]}, inputs=inputs, outputs=outputs)
