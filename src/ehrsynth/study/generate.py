"""A run folder -> a synthetic table."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from ehrsynth.chunks import write_chunks
from ehrsynth.constraints.policy import POLICIES, Policy
from ehrsynth.data.rare_codes import LOW_PREVALENCE, read_rare
from ehrsynth.errors import OptionError, expect
from ehrsynth.files import TABLE_SUFFIXES, sha256, writable, write_json
from ehrsynth.layout import Records
from ehrsynth.models.base import SyntheticModel, load_model
from ehrsynth.reporting.report import current_versions
from ehrsynth.sampling import Acceptance
from ehrsynth.sampling.draw import Asked, decoded, record_batches
from ehrsynth.sampling.shares import TIMES, Shares, demand_of, post_selected
from ehrsynth.sampling.table import ConditionTable
from ehrsynth.schema import Column, Schema
from ehrsynth.study.asked import (
    as_plain,
    beside_patients,
    guide,
    require_one_question,
    rules_kept,
    tell,
    training_shares,
)
from ehrsynth.study.build import located
from ehrsynth.study.run_folder import PROVENANCE, RunFolder
from ehrsynth.study.spec import whole
from ehrsynth.study.watch import NOBODY, Watch


class Written(NamedTuple):
    """A synthetic table on disk."""

    file: Path
    rows: int
    columns: int

    @property
    def provenance(self) -> Path:
        """What made it, beside it."""
        return provenance_of(self.file)


def provenance_of(table: Path) -> Path:
    """Return the file that says what made a synthetic table."""
    stem = next(table.name.removesuffix(suffix) for suffix in TABLE_SUFFIXES if table.name.endswith(suffix))
    return table.with_name(f"{stem}.{PROVENANCE}")


def generate(
    run: RunFolder | str | Path,
    n: int | None = None,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    condition: Mapping[str, object] | None = None,
    conditions: str | Path | None = None,
    balance: str | None = None,
    boost: Mapping[str, Mapping[str, float]] | None = None,
    post_selection: str | None = None,
    guidance: float | None = None,
    policy: Policy = "keep",
    device: str = "auto",
    reintroduce: bool = False,
    quote_formulas: bool = False,
    model_class: type[SyntheticModel] | str | None = None,
    watch: Watch = NOBODY,
) -> pd.DataFrame | Written:
    """Draw records from the chosen checkpoint of a finished run.

    A model is given what it can be conditioned on; what it cannot is met by drawing records until enough have it. A
    file ``OUT.provenance.json`` beside the table says which of the two it was for each column, and what else made it.

    Args:
        run: the run, or its folder.
        n: records; as many as the run had training rows by default, or one for each row of ``conditions``.
        out: a file to write them to, .csv, .csv.gz or .parquet; without one the table is returned.
        seed: of the draws.
        condition: what all records must have: by column a level, 0 or 1, a number, a pair of numbers of which either
            may be None, or the word ``missing``.
        conditions: a table, CSV or Parquet, whose rows say what is known of each record; empty cells are completed.
        balance: column whose levels get equal shares.
        boost: by column and level how many times its share is to grow against that of the others.
        post_selection: outcome whose share is to be that of the training rows: three times as many records are drawn,
            and the first of each level kept.
        guidance: of a diffusion model that was told labels: how much more than the calibrated 0 to heed them.
        policy: of records that break the rules of the run's data: they are kept, others drawn for them (``reject``), or
            as few cells as possible changed (``repair``).
        device: ``auto`` takes a GPU if there is one; or ``cpu``, ``cuda``.
        reintroduce: add codes that were too rare to train on, drawn at their training prevalence.
        quote_formulas: in a CSV, put an apostrophe before texts that a spreadsheet would take for a formula.
        model_class: of the run, if it is not one of this package; a name is imported, so it must be one you trust.
        watch: who is told what happens.

    Raises:
        InputError: there is no such run, a file of it is not as it was written, an option is wrong, or hardly any
            record that the model draws has what is asked for.
    """
    folder = RunFolder.open(run.path if isinstance(run, RunFolder) else Path(run))
    if out is not None and not str(out).endswith(TABLE_SUFFIXES):
        raise OptionError(f"out={out}: unknown table type; use one of {', '.join(TABLE_SUFFIXES)}")
    for name, flag in (("reintroduce", reintroduce), ("quote_formulas", quote_formulas)):
        expect(isinstance(flag, bool), name, flag, "true or false")
    expect(
        condition is None or isinstance(condition, Mapping), "condition", condition, "a mapping of columns to values"
    )
    fits = isinstance(boost or {}, Mapping) and all(isinstance(levels, Mapping) for levels in (boost or {}).values())
    expect(fits, "boost", boost, "a mapping of columns to levels, and of these to numbers")
    expect(policy in POLICIES, "constraints.policy", policy, f"one of {', '.join(POLICIES)}")
    if quote_formulas and (out is None or str(out).endswith(".parquet")):
        raise OptionError("quote_formulas=true: it is for a CSV; out=FILE.csv was expected")
    require_one_question(n, condition, conditions, balance, boost, post_selection)
    if out is not None:
        writable("out", Path(out), file=True)
        writable("out", provenance_of(Path(out)), file=True)
    known = _model_class(model_class)
    folder.require(folder.path / PROVENANCE)
    folder.require(folder.chosen_checkpoint, folder.schema)
    if folder.hashes is None:
        watch.say(f"{folder.path}: by a version that kept no hashes: its files were not checked")
    schema = Schema.load(folder.schema)
    table = None if conditions is None else ConditionTable(Path(conditions), schema)
    facts = folder.facts(model=str, rows={"train": int})
    n = table.rows if table else whole("n", facts["rows"]["train"] if n is None else n, least=1)
    rare = _rare(folder) if reintroduce else []
    rules = rules_kept(folder, policy, schema)
    parts = None if post_selection is None else training_shares(folder, schema, post_selection)
    model = load_model(folder.chosen_checkpoint, schema, known).to(torch_device(device))
    guide(model, guidance)
    seed = whole("seed", seed)
    condition = {str(name): value for name, value in (condition or {}).items()}
    shares = Shares(balance, {str(name): {str(k): by for k, by in of.items()} for name, of in (boost or {}).items()})
    asked: Asked = table.demand() if table else condition
    if shares.columns:
        asked = demand_of(shares, model, n, seed, condition)
    options = {
        "condition": {name: as_plain(value) for name, value in condition.items()},
        "conditions": None if table is None else {"file": table.file.name, "sha256": sha256(table.file)},
        "balance": balance,
        "boost": shares.boost,
        "post_selection": post_selection,
        "guidance": guidance,
        "constraints.policy": policy,
        "reintroduce": reintroduce,
        "quote_formulas": quote_formulas,
    }
    acceptance = Acceptance()
    with watch.bar("generating", n) as advance:
        drawn = record_batches(model, n if parts is None else TIMES * n, seed, None, asked, rules, acceptance)
        if parts is not None:
            option = f"post_selection={post_selection}"
            drawn = post_selected(drawn, schema.by_name[str(post_selection)], parts, n, option)
        chunks = decoded(model, _watched(drawn, lambda done: advance(done, None)), seed, rare)
        if out is None:
            made = pd.concat(chunks, ignore_index=True)
        else:
            rows = write_chunks(Path(out), chunks, quote_formulas=quote_formulas)
    tell(watch, acceptance, n, policy, post_selection)
    if out is None:
        return made
    written = Written(Path(out), rows, len(schema.columns) + len(rare))
    checkpoint = {"file": folder.chosen_checkpoint.name, "sha256": sha256(folder.chosen_checkpoint)}
    provenance = {
        "run": {"run_id": folder.path.name, "model": facts["model"], "checkpoint": checkpoint},
        "n": n,
        "seed": seed,
        "device": model.device.type,
        "asked": options,
        "how": acceptance.to_dict(),
        "table": {"file": written.file.name, "sha256": sha256(written.file), "columns": written.columns},
        "versions": current_versions(),
    }
    write_json(written.provenance, provenance)
    return written


def _watched(batches: Iterator[Records], progress: Callable[[int], None]) -> Iterator[Records]:
    done = 0
    for records in batches:
        done += len(records)
        progress(done)
        yield records


def _model_class(given: type | str | None) -> type[SyntheticModel] | None:
    """Return the class that the user gives or names; that of this package needs none."""
    found = located(given, "model_class") if isinstance(given, str) else given
    if found is not None and not (isinstance(found, type) and issubclass(found, SyntheticModel)):
        raise OptionError(f"model_class={given}: no model; a subclass of ehrsynth.models.base.SyntheticModel is one")
    return found


def _rare(folder: RunFolder) -> list[tuple[Column, float]]:
    """Return the rare codes with their prevalence: they stay with the patients, a run folder does not carry them."""
    file = beside_patients(folder, LOW_PREVALENCE, "reintroduce=true: the rare codes stay")
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
