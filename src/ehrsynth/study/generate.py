"""A run folder -> a synthetic table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ehrsynth.chunks import write_chunks
from ehrsynth.constraints.policy import POLICIES, Policy
from ehrsynth.data.rare_codes import LOW_PREVALENCE
from ehrsynth.errors import OptionError, expect
from ehrsynth.files import TABLE_SUFFIXES, sha256, writable, write_json
from ehrsynth.layout import Records
from ehrsynth.ledger import LEDGER
from ehrsynth.models.base import SyntheticModel
from ehrsynth.reporting.report import current_versions
from ehrsynth.sampling import Acceptance
from ehrsynth.sampling.draw import Asked, decoded, record_batches, with_rare_codes
from ehrsynth.sampling.shares import TIMES, Shares, demand_of, post_selected
from ehrsynth.sampling.table import ConditionTable
from ehrsynth.seeding import derive
from ehrsynth.study.asked import (
    as_plain,
    guide,
    rare_codes,
    require_one_question,
    rules_kept,
    tell,
    training_sample,
    training_shares,
)
from ehrsynth.study.blend import cohort_of, interleaved, outside
from ehrsynth.study.calibration import calibration_asked, judged_calibrated
from ehrsynth.study.chain import Input, append, log_beside
from ehrsynth.study.complete_visits import complete_visits
from ehrsynth.study.continue_visits import WrittenDraws, continue_visits
from ehrsynth.study.describe import describe, described_in
from ehrsynth.study.generate_visits import SyntheticPatients, WrittenVisits, generate_visits
from ehrsynth.study.loaded_run import loaded_run
from ehrsynth.study.run_folder import PROVENANCE, RunFolder
from ehrsynth.study.spec import whole
from ehrsynth.study.watch import NOBODY, Watch
from ehrsynth.study.weighing import weighing_asked


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
    calibrate: bool | None = None,
    pool: float | None = None,
    exact: bool = False,
    policy: Policy = "keep",
    merge: RunFolder | str | Path | None = None,
    mix: float | None = None,
    device: str = "auto",
    reintroduce: bool | str = False,
    quote_formulas: bool = False,
    prefixes: str | Path | None = None,
    after: int | None = None,
    complete: Sequence[str] = (),
    of: str | Path = "holdout",
    draws: int = 1,
    model_class: type[SyntheticModel] | str | None = None,
    out_format: str = "meds",
    watch: Watch = NOBODY,
) -> pd.DataFrame | Written | SyntheticPatients | WrittenVisits | WrittenDraws:
    """Draw records from the chosen checkpoint of a finished run.

    A model is given what it can be conditioned on; what it cannot is met by drawing records until enough have it. A
    file ``OUT.provenance.json`` beside the table says which of the two it was for each column, and what else made it;
    ``OUT.croissant.json`` describes the table to search engines and loaders; ``OUT.log.jsonl`` binds all of them to the
    run, see ``verify``.

    Of a run over patients through time ``out`` is a folder in ``out_format``; without one their rows and visits are
    returned. What can be asked of them is ``condition``, of what is said of a patient once and of their visits,
    ``calibrate`` with ``pool``, and ``policy``, of rules over time. ``prefixes`` asks for what may follow the first
    visits of real patients, and ``complete`` for other drugs, say, at the same visits.

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
        calibrate: draw more records, and keep those that together have the shares of the training rows: of codes and
            levels, pairs of them, numbers of codes, latent classes, and through time what visits say. None leaves it to
            the model, most of which do not.
        pool: records that are drawn for each that is kept; 1.5 by default to calibrate, 4 for ``exact``.
        exact: draw more records under the condition, and keep those that the model finds likely without being told it.
        policy: of records that break the rules of the run's data: they are kept, others drawn for them (``reject``), or
            as few cells as possible changed (``repair``).
        merge: a run on the same matrix that saw a rare cohort only (``rows.only``): its records come in at the cohort's
            share of the training rows, in place of those that this run would draw of it.
        mix: share of the table, below 1, that are training rows themselves, drawn at random: REAL PATIENTS.
        device: ``auto`` takes a GPU if there is one; or ``cpu``, ``cuda``.
        reintroduce: add codes that were too rare to train on, drawn at their training prevalence; ``"demographics"``
            draws them where they belong by age, sex and the like.
        quote_formulas: in a CSV, put an apostrophe before texts that a spreadsheet would take for a formula.
        prefixes: whose records are to go on: ``train``, ``validation`` or ``holdout`` of the run's own patients, or a
            trajectories folder; what follows is written to the folder ``out``, a file for each of ``draws``.
        after: visits of each of them that are given, all by default.
        complete: domains of codes, or ``measurements``: they are drawn anew at each visit of real patients, given its
            other domains, its date and kind, and the visits before; written to ``out`` likewise. Of models that can.
        of: whose visits these are: a part of the run's own patients, or a trajectories folder.
        draws: continuations, or completions, of each.
        model_class: of the run, if it is not one of this package; a name is imported, so it must be one you trust.
        out_format: of patients through time: ``meds`` (MEDS 0.4), ``omop`` (OMOP CDM 5.4), ``fhir`` (FHIR R4, NDJSON).
        watch: who is told what happens.

    Raises:
        InputError: there is no such run, a file of it is not as it was written, an option is wrong, or hardly any
            record that the model draws has what is asked for.
    """
    expect(
        condition is None or isinstance(condition, Mapping), "condition", condition, "a mapping of columns to values"
    )
    fits = isinstance(boost or {}, Mapping) and all(isinstance(levels, Mapping) for levels in (boost or {}).values())
    expect(fits, "boost", boost, "a mapping of columns to levels, and of these to numbers")
    expect(policy in POLICIES, "constraints.policy", policy, f"one of {', '.join(POLICIES)}")
    expect(reintroduce in (True, False, "demographics"), "reintroduce", reintroduce, "true, false or demographics")
    seed = whole("seed", seed)
    if isinstance(run, RunFolder | str | Path) and (through_time := _of_visits(run)) is not None:
        of_rows = {
            **{"conditions": conditions, "balance": balance, "boost": boost, "post_selection": post_selection},
            **{"guidance": guidance, "exact": exact, "merge": merge, "mix": mix, "reintroduce": reintroduce or None},
        }
        _refuse(of_rows, f"of rows alone so far; {through_time.shown} draws patients through time")
        of_drawn = {"n": n, "condition": condition, "calibrate": calibrate, "pool": pool}
        of_drawn |= {"constraints.policy": policy != "keep"}
        if complete:
            of_others = {**of_drawn, "continue": prefixes, "after": after}
            _refuse(of_others, f"complete={','.join(complete)} draws a part of each visit that is there; leave it out")
            return complete_visits(through_time, complete, of, draws, out, seed, device, model_class, watch)
        if prefixes is not None:
            _refuse(of_drawn, f"continue={prefixes} says whose records are to go on; leave it out")
            return continue_visits(through_time, prefixes, after, draws, out, seed, device, model_class, watch)
        return generate_visits(
            through_time, n, out, seed, condition, calibrate, pool, policy, device, model_class, watch, out_format
        )
    if prefixes is not None:
        raise OptionError(f"continue={prefixes}: of patients through time alone; the run draws rows")
    if complete:
        raise OptionError(f"complete={','.join(complete)}: of patients through time; conditions=FILE completes rows")
    expect(out_format == "meds", "out_format", out_format, "none, for a run of rows: a table is told by out=FILE.csv")
    _check_output(out, quote_formulas)
    require_one_question(n, condition, conditions, balance, boost, post_selection, merge, mix, reintroduce)
    loaded = loaded_run(run, device, model_class, watch)
    folder, schema, model = loaded.folder, loaded.model.schema, loaded.model
    if LEDGER in folder.provenance:
        reads = {"reintroduce": reintroduce, "merge": merge, "mix": mix, "post_selection": post_selection}
        _refuse(reads, f"looks at training patients without noise, and {folder.shown} is private")
    table = None if conditions is None else ConditionTable(Path(conditions), schema)
    n = table.rows if table else whole("n", loaded.rows if n is None else n, least=1)
    rare = rare_codes(folder, reintroduce)
    rules = rules_kept(folder, policy, schema)
    parts = None if post_selection is None else training_shares(folder, schema, post_selection)
    guide(model, guidance)
    beside: dict[str, object] = {
        "conditions": conditions,
        "balance": balance,
        "boost": boost,
        "post_selection": post_selection,
        "merge": merge,
    }
    weighing = weighing_asked(loaded, exact, pool, condition, {**beside, "calibrate": calibrate})
    calibration = calibration_asked(
        folder,
        schema,
        calibrate,
        None if weighing else pool,
        {"condition": condition, **beside},
        watch,
        usual=model.calibrated,
        as_trained=judged_calibrated(model, loaded.seen),
    )
    condition = {str(name): value for name, value in (condition or {}).items()}
    shares = Shares(balance, {str(name): {str(k): by for k, by in of.items()} for name, of in (boost or {}).items()})
    real = None if mix is None else training_sample(loaded, mix, n, seed)
    own = n - (0 if real is None else len(real))
    other = None if merge is None else loaded_run(merge, device, model_class, watch)
    cohort = None if other is None else cohort_of(loaded, other, own, seed, rules)
    options = {
        "condition": {name: as_plain(value) for name, value in condition.items()},
        "conditions": None if table is None else {"file": table.file.name, "sha256": sha256(table.file)},
        "balance": balance,
        "boost": shares.boost,
        "post_selection": post_selection,
        "guidance": guidance,
        "calibrate": calibrate,
        "pool": pool,
        "exact": exact,
        "constraints.policy": policy,
        "merge": None if cohort is None else cohort.about,
        "mix": None if real is None else {"share": mix, "training_rows": len(real)},
        "reintroduce": reintroduce,
        "quote_formulas": quote_formulas,
    }
    acceptance, keeping = Acceptance(), calibration or weighing
    with watch.bar("generating", own) as advance:

        def told(done: int) -> None:
            advance(done, None)

        def draw(rows: int, seed: int) -> Iterator[pd.DataFrame]:
            part = Acceptance()
            asked: Asked = table.demand() if table else condition
            if shares.columns:
                asked = demand_of(shares, model, rows, seed, condition)
            count = rows * (TIMES if parts is not None else 1)
            drawn = record_batches(model, count, seed, None, asked, rules, part, told if keeping else None, keeping)
            if parts is not None:
                option = f"post_selection={post_selection}"
                drawn = post_selected(drawn, schema.by_name[str(post_selection)], parts, rows, option)
            try:
                yield from decoded(model, drawn if keeping else _watched(drawn, told), len(rare))
            finally:
                acceptance.add(part)

        if cohort is None:
            chunks = draw(own, seed)
        else:
            others = own - len(cohort.records)
            chunks = outside(lambda seed: draw(others, seed), cohort.only, others, seed)
            chunks = interleaved(chunks, cohort.records, own, derive(seed, "merge"))
        chunks = with_rare_codes(chunks, rare, seed)  # of the cohort's records too
        if real is not None:
            chunks = interleaved(chunks, real, n, derive(seed, "mix"))
        if out is None:
            made = pd.concat(chunks, ignore_index=True)
        else:
            rows = write_chunks(Path(out), chunks, quote_formulas=quote_formulas)
    tell(watch, acceptance, n, policy, post_selection, cohort, keeping)
    if real is not None:
        watch.warn(f"mix={mix}: {len(real):,} of {n:,} rows are training patients themselves; share them as such")
    if out is None:
        return made
    written = Written(Path(out), rows, len(schema.columns) + len(rare))
    provenance = {
        "run": loaded.about,
        "n": n,
        "seed": seed,
        "device": model.device.type,
        "asked": options,
        "how": acceptance.to_dict(),
        "calibration": None if calibration is None else calibration.to_dict(),
        "weighing": None if weighing is None else weighing.to_dict(),
        "table": {"file": written.file.name, "sha256": sha256(written.file), "columns": written.columns},
        "versions": current_versions(),
    }
    write_json(written.provenance, provenance)
    keeps_rows = real is not None or any(one.model.keeps_rows for one in (loaded, other) if one)
    place = describe(folder, written.file, f"{rows:,} records", schema, keeps_rows=keeps_rows)
    read = {"checkpoint": loaded.folder.chosen_checkpoint, "schema": loaded.folder.schema}
    if other is not None:
        read["merge"] = other.folder.chosen_checkpoint
    if table is not None:
        read["conditions"] = table.file
    for name, asked in (("train.parquet", real is not None or parts is not None), (LOW_PREVALENCE, bool(reintroduce))):
        if asked:
            read[name] = Path(folder.facts(matrix={"folder": str})["matrix"]["folder"]) / name
    append(
        log_beside(written.file),
        "generate",
        options={"n": n, "seed": seed, "device": model.device.type, **options},
        inputs={name: Input.of(file) for name, file in read.items()},
        outputs={file.name: sha256(file) for file in (written.file, written.provenance, place)},
    )
    return written


def _of_visits(run: RunFolder | str | Path) -> RunFolder | None:
    """Return the run if it is one over patients through time."""
    folder = RunFolder.open(run.path if isinstance(run, RunFolder) else Path(run))
    return folder if folder.visits.is_file() else None


def _refuse(options: Mapping[str, object], why: str) -> None:
    for name, value in options.items():
        if value:
            raise OptionError(f"{name}: {why}")


def _check_output(out: str | Path | None, quote_formulas: bool) -> None:
    if out is not None and not str(out).endswith(TABLE_SUFFIXES):
        raise OptionError(f"out={out}: unknown table type; use one of {', '.join(TABLE_SUFFIXES)}")
    expect(isinstance(quote_formulas, bool), "quote_formulas", quote_formulas, "true or false")
    if quote_formulas and (out is None or str(out).endswith(".parquet")):
        raise OptionError("quote_formulas=true: it is for a CSV; out=FILE.csv was expected")
    if out is not None:
        writable("out", Path(out), file=True)
        for beside in (provenance_of(Path(out)), log_beside(Path(out)), described_in(Path(out))):
            writable("out", beside, file=True)


def _watched(batches: Iterator[Records], progress: Callable[[int], None]) -> Iterator[Records]:
    done = 0
    for records in batches:
        done += len(records)
        progress(done)
        yield records
