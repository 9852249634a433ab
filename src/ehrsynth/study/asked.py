"""What ``generate`` is asked for, beside what the run can do, and how it is told."""

from functools import partial
from math import isfinite
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.chunks import read_chunks
from ehrsynth.constraints import Rules
from ehrsynth.constraints import load as load_rules
from ehrsynth.constraints.policy import Policy
from ehrsynth.data.encoding import as_decoded
from ehrsynth.data.rare_codes import LOW_PREVALENCE, read_rare
from ehrsynth.data.table_files import read_table
from ehrsynth.data.training_rows import of_cohort
from ehrsynth.errors import OptionError, expect
from ehrsynth.files import sha256
from ehrsynth.models.base import SyntheticModel
from ehrsynth.sampling import Acceptance, Calibration, Ruled
from ehrsynth.sampling.draw import Chances, Keeping
from ehrsynth.sampling.wanted import answers
from ehrsynth.schema import Column, Schema
from ehrsynth.seeding import numpy_rng
from ehrsynth.study.blend import Cohort
from ehrsynth.study.loaded_run import Loaded
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.watch import Watch


def require_one_question(
    n: object,
    condition: object,
    conditions: object,
    balance: object,
    boost: object,
    post_selection: object,
    merge: object,
    mix: object,
    reintroduce: object,
) -> None:
    """Raise an ``OptionError`` for options of which each says by itself what the records are to be."""
    beside = {"condition": condition, "balance": balance, "boost": boost}
    given = [name for name, value in beside.items() if value]
    said = {"post_selection": post_selection, "merge": merge, "mix": mix, "n": n}
    others = [*given, *(name for name, value in said.items() if value is not None)]
    if conditions is not None and others:
        raise OptionError(f"conditions={conditions}: its rows say what each record is to have; leave out {others[0]}")
    if merge is not None and set(others) - {"merge", "mix", "n"}:
        raise OptionError(f"merge={merge}: it brings in a cohort at the share it has; leave out {others[0]}")
    if mix is not None and reintroduce:
        raise OptionError(f"mix={mix}: training rows have lost the codes that reintroduce brings back; leave out one")
    if post_selection is not None and given:
        raise OptionError(
            f"post_selection={post_selection}: it keeps of what the model draws freely; leave out {given[0]}"
        )


def guide(model: SyntheticModel, guidance: float | None) -> None:
    """Set the guidance of a model that has one."""
    if guidance is None:
        return
    number = isinstance(guidance, int | float) and not isinstance(guidance, bool) and isfinite(guidance)
    expect(number and guidance >= 0, "guidance", guidance, "a number, at least 0,")
    if not hasattr(model, "guidance"):
        raise OptionError(
            f"guidance={guidance}: {type(model).__name__} has none; diffusion models that are told labels have"
        )
    if model.conditioning != "label" or not model.conditionable:
        raise OptionError(
            f"guidance={guidance}: the run has no labels to heed; train with model.condition=[COLUMN, ...]"
        )
    model.guidance = float(guidance)  # type: ignore[assignment]


def rules_kept(folder: RunFolder, policy: Policy, schema: Schema) -> Ruled | None:
    """Return the rules of the data that a run was trained on, if they are to be kept."""
    if policy == "keep":
        return None
    if not folder.constraints.is_file():
        raise OptionError(
            f"constraints.policy={policy}: {folder.path} has no {folder.constraints.name}, for the version that trained"
            " it kept no rules; train again"
        )
    folder.require(folder.constraints)
    rules = Rules(load_rules(folder.constraints, schema), schema)
    return Ruled(rules, policy) if len(rules) else None


def training_shares(folder: RunFolder, schema: Schema, name: str) -> NDArray[np.float64]:
    """Return how many training rows have each level of a column, missing the last; they stay with the patients."""
    column = schema.by_name.get(name)
    if column is None or column.numeric:
        raise OptionError(f"post_selection={name}: no binary or categorical column of the model's schema")
    file = beside_patients(folder, "train.parquet", f"post_selection={name}: the training rows stay")
    levels = 2 if column.kind == "binary" else len(column.levels)
    found = np.zeros(levels + column.missing)
    for frame in read_chunks(file):
        cells, _ = answers(column, frame[name], ".")
        found += np.bincount(np.where(np.isnan(cells), levels, cells).astype(int), minlength=len(found))
    return found


def training_sample(run: Loaded, share: float, n: int, seed: int) -> pd.DataFrame:
    """Return of the rows that a run was trained on a share of a table of ``n``, none twice; they stay with patients."""
    number = isinstance(share, int | float) and not isinstance(share, bool) and isfinite(share)
    expect(number and 0 < share < 1, "mix", share, "a share above 0 and below 1")
    rows = read_table(beside_patients(run.folder, "train.parquet", f"mix={share}: the training rows stay"))
    rows = rows[of_cohort(rows, run.seen.get("only", {}))]
    wanted = round(n * share)
    if not 0 < wanted <= min(len(rows), n - 1):
        raise OptionError(
            f"mix={share}: {wanted:,} of n={n:,} would be training rows, of which there are {len(rows):,}"
        )
    chosen = numpy_rng(seed, "training sample").choice(len(rows), wanted, replace=False)
    schema = run.model.schema
    return as_decoded(schema.validate(rows.iloc[chosen], "train.parquet"), schema).reset_index(drop=True)


def tell(
    watch: Watch,
    acceptance: Acceptance,
    n: int,
    policy: Policy,
    post_selection: str | None,
    cohort: Cohort | None,
    keeping: Keeping | None,
) -> None:
    """Say how records came to be what was asked for."""
    if cohort is not None:
        watch.say(f"merge: {len(cohort.records):,} records are those of the cohort's own model")
    if acceptance.way != "none":
        watch.say(f"condition: {acceptance}")
        for line in acceptance.by_way():
            watch.say(f"  {line}")
    if post_selection is not None:
        watch.say(f"post_selection={post_selection}: {n:,} of {acceptance.drawn:,} records drawn were kept")
    if keeping is not None:
        watch.say(f"{'calibrate' if isinstance(keeping, Calibration) else 'exact'}: {keeping}")
    if policy != "keep" and acceptance.accepted:
        broken = (
            f"{100 * acceptance.broken / acceptance.accepted:.2f} % of {acceptance.accepted:,} records broke a rule"
        )
        mended = f", {acceptance.changed:,} cells were changed" if policy == "repair" else ""
        watch.say(f"constraints.policy={policy}: {broken}{mended}")


def as_plain(value: object) -> object:
    """Return what was asked of a column as JSON can hold it."""
    if isinstance(value, list | tuple):
        return [None if end is None else str(end) for end in value]
    return str(value)


def beside_patients(folder: RunFolder, name: str, what: str) -> Path:
    """Return a file of the matrix folder that a run was trained on, if it is still the same."""
    role = Path(name).stem
    facts = folder.facts(matrix={"folder": str}, data={role: str})
    file = Path(facts["matrix"]["folder"]) / name
    if not file.is_file() or sha256(file) != facts["data"][role]:
        raise OptionError(f"{what} in {file}, which is gone or another one now")
    return file


def rare_codes(folder: RunFolder, how: bool | str) -> list[tuple[Column, Chances]]:
    """Return the rare codes with their chances: they stay with the patients, a run folder does not carry them."""
    if not how:
        return []
    file = beside_patients(folder, LOW_PREVALENCE, f"reintroduce={str(how).lower()}: the rare codes stay")
    rare, groups = read_rare(file.parent)
    if how is True:
        return [(one.code.column, one.code.prevalence) for one in rare]
    if rare and groups is None:
        raise OptionError(f"reintroduce={how}: {file} knows prevalences only, by an older version; prepare it again")
    return [(one.code.column, partial(one.chances, groups=groups)) for one in rare]
