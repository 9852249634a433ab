"""The runs of a study -> one page that compares them: how they rank, how they trained, in what they differ."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ehrsynth.errors import FileError, OptionError
from ehrsynth.evaluation.pareto import Plane, default_axes, plane
from ehrsynth.evaluation.ranking import Ranking, rank_runs
from ehrsynth.evaluation.score_table import ScoreTable, tabulate
from ehrsynth.files import sha256
from ehrsynth.reporting.compare_page import DONE, RowSet, RunLine, compare_html
from ehrsynth.reporting.comparison import worst_leaks
from ehrsynth.study.attempt import Attempt
from ehrsynth.study.build import build
from ehrsynth.study.chain import Input, append, log_beside, log_in
from ehrsynth.study.conf import load, names, parsed
from ehrsynth.study.plan import FILE as PLAN
from ehrsynth.study.plan import planned
from ehrsynth.study.rank import checked, deciding, group_names, scores_of
from ehrsynth.study.row_sets import titles
from ehrsynth.study.run_folder import PROVENANCE, RunFolder
from ehrsynth.study.spec import RECIPE, rules_asked_for
from ehrsynth.words import printable

PAGE = "compare.html"
FEW = 3  # runs that a remark names
UNTOLD = ("model._", "trainer._", "data.matrix", "data.name", "evaluation.quick.", "evaluation.full.", "temporal.")


@dataclass(frozen=True, repr=False)
class StudyComparison:
    """The runs of a study, within the real rows they stand on: scores on other rows cannot be compared.

    Attributes:
        study: its folder.
        sets: one for each set of rows, with the runs on them, those that have not finished among them.
        remarks: what is said of runs that are not shown or were not checked, and of what could not be ranked.
        read: what was read of the runs, by name, for the log of the page.
    """

    study: Path
    sets: tuple[RowSet, ...]
    remarks: tuple[str, ...] = ()
    read: Mapping[str, Input] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say what is compared."""
        return f"<StudyComparison of {len(self.frame)} runs in {printable(str(self.study))}, see .frame>"

    @property
    def frame(self) -> pd.DataFrame:
        """One row a run: its rows, model, seed, status, the options in which runs differ, and its scores."""
        lines = {
            run.name: {
                "rows": part.title,
                "model": run.model,
                "seed": run.seed,
                "status": run.status,
                **run.options,
                **{score.metric: score.value for score in run.scores},
            }
            for part in self.sets
            for run in part.runs
        }
        return pd.DataFrame.from_dict(lines, orient="index").rename_axis("run")

    def save(self, target: str | Path | None = None) -> Path:
        """Write the page, by default as ``compare.html`` into the folder of the study, and return its path.

        The step is noted in the log of the study, or beside a page that lies elsewhere.
        """
        page = self.study / PAGE if target is None else Path(target)
        compare_html(page, f"{self.study.resolve().name}: {len(self.frame)} runs compared", self.sets, self.remarks)
        profiles = {each.profile.name: vars(each.profile) for part in self.sets for each in part.rankings}
        append(
            log_in(self.study) if page.parent.resolve() == self.study.resolve() else log_beside(page),
            "compare",
            options={"profiles": profiles},
            inputs=self.read,
            outputs={page.name: sha256(page)},
        )
        return page


def compare(runs: str | Path, out: str | Path | None = None) -> StudyComparison:
    """Compare the runs of a study, finished or not.

    Args:
        runs: the folder of the study, with runs below it as ``MODEL/RUN_ID``.
        out: the page to write; ``save`` writes it too.

    Raises:
        FileError: there is no run, or none whose files are as they were written.
    """
    study = Path(runs)
    folders = [RunFolder(path) for path in sorted(study.glob("*/*"))]
    folders = [run for run in folders if run.config.is_file() or run.finished]
    if not folders:
        found = "no run in it" if study.is_dir() else "no such folder"
        raise FileError(
            f"runs={study}: {found}; the folder of a study was expected, with runs as MODEL/RUN_ID below it"
        )
    members, remarks = [], []
    for run in folders:
        try:
            members.append(_member(run))
        except FileError as error:
            remarks.append(printable(str(error)))
    if not members:
        raise FileError(remarks[0])
    begun = {str(run.path.relative_to(study)) for run in folders}
    if absent := [each.known_by for each in planned(study) if each.known_by not in begun]:
        few = f"{', '.join(absent[:FEW])}{', ...' if len(absent) > FEW else ''}"
        remarks.append(
            printable(f"runs that were asked for and have not begun ({len(absent)}), see ehrsynth study: {few}")
        )
    unchecked = [member.run.shown for member in members if member.rows and member.run.hashes is None]
    remarks += [f"{run}: by a version that kept no hashes: not checked" for run in unchecked]
    sets = [_row_set(title, own, remarks) for title, own in sorted(_by_rows(members).items())]
    read = {name: given for member in members for name, given in _read_of(member, study).items()}
    if (asked_for := study / PLAN).is_file():
        read[PLAN] = Input(sha256(asked_for))  # no file: it grows with the study
    compared = StudyComparison(study, tuple(sets), tuple(remarks), read)
    if out is not None:
        compared.save(out)
    return compared


@dataclass(frozen=True)
class _Member:
    """A run as it was read, with all its options.

    Attributes:
        rows: what tells its real rows from others'.
        recipe: what made them, by its config; a run that has not finished is known by this alone.
    """

    run: RunFolder
    line: RunLine
    rows: tuple[str | None, ...]
    recipe: str


def _member(run: RunFolder) -> _Member:
    """Read a run.

    Raises:
        FileError: a file is not as it was written, or not what it should be.
    """
    if run.finished:
        checked(run)
        run.require(run.config, run.metrics)
    try:
        config = parsed(run.config.read_text(encoding="utf-8"), run.config)
        line = RunLine(
            name=printable(f"{run.path.parent.name}/{run.path.name}"),
            model=printable(run.path.parent.name),
            seed=int(config["seed"]),
            status=DONE,
            checkpoints=_checkpoints(run.metrics),
            options=_options(config),
            epochs=int(config["trainer"]["max_epochs"]),
        )
        matrix, rules = config["data"]["matrix"], rules_asked_for(config["constraints"])
        made = matrix or {**{part: config[part] for part in RECIPE}, "constraints": rules}
        recipe = json.dumps(made, sort_keys=True)
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{run.config}: not the config of a run ({type(error).__name__}: {error})") from None
    if not run.finished:
        last = Attempt.of(run.path)
        line = replace(line, status=last.status if last else "interrupted", reason=last.reason if last else "")
        return _Member(run, line, (), recipe)
    facts = run.facts(model=str, variant=str, seed=int, epoch=int, matrix={"folder": str}, seconds=dict)
    memory = facts.get("peak_memory_gb")  # of a version that noted it
    line = replace(
        line,
        model=facts["model"],
        scores=run.scores(),
        epoch=facts["epoch"],
        seconds={step: float(value) for step, value in facts["seconds"].items() if isinstance(value, Real)},
        memory=float(memory) if isinstance(memory, Real) else None,
        report=run.html if run.html.is_file() else None,
    )
    return _Member(run, line, run.real_data, recipe)


def _read_of(member: _Member, study: Path) -> dict[str, Input]:
    """Return what was read of a run, for the log; of one that has not finished without its files, for they change."""
    run, finished = member.run, bool(member.rows)
    files = [run.config, run.metrics]
    if finished:
        files += [run.path / PROVENANCE, run.report, run.report.with_suffix(".parquet")]
    return {
        printable(file.relative_to(study).as_posix()): Input.of(file) if finished else Input(sha256(file))
        for file in files
        if file.is_file()
    }


def _checkpoints(file: Path) -> pd.DataFrame:
    """Return the scores at checkpoints by epoch; none before the first."""
    if not file.is_file():
        return pd.DataFrame()
    try:
        frame = pd.read_csv(file).astype({"epoch": int}).set_index("epoch")
        return frame[[name for name in frame if "/" in str(name)]].astype(float)
    except (KeyError, ValueError) as error:
        raise FileError(f"{file}: not readable as scores at checkpoints ({type(error).__name__})") from None


def _options(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what runs on the same rows can differ in, as one would type it."""
    told = {**deciding(config, ("data", "evaluation")), "profile": config["profile"]["name"]}
    return {name: _typed(value) for name, value in told.items() if not name.startswith(UNTOLD)}


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _by_rows(members: Sequence[_Member]) -> dict[str, list[_Member]]:
    """Return title -> runs on the same rows; those that have not finished stand with finished ones of their recipe."""
    known = {member.recipe: member.rows for member in members if member.rows}
    sets: dict[tuple[str | None, ...], list[_Member]] = {}
    for member in members:
        sets.setdefault(member.rows or known.get(member.recipe, (member.recipe,)), []).append(member)
    finished = {rows: runs for rows, own in sets.items() if (runs := [member.run for member in own if member.rows])}
    named = dict(zip(finished, titles(list(finished.values())), strict=True)) if finished else {}
    if len(sets) > 1:
        named = {rows: title or "finished runs" for rows, title in named.items()}
    begun = [rows for rows in sets if rows not in named]
    named |= {rows: f"no finished run{f' {number}' * (len(begun) > 1)}" for number, rows in enumerate(begun, start=1)}
    return {named[rows]: own for rows, own in sets.items()}


def _row_set(title: str, members: Sequence[_Member], remarks: list[str]) -> RowSet:
    """Rank the finished runs on a set of rows for every profile; what cannot be ranked goes to ``remarks``."""
    apart = _apart([member.line for member in members])
    lines = [
        replace(line, options={name: line.options[name] for name in apart if name in line.options})
        for line in (member.line for member in members)
    ]
    runs = [member.run for member in members if member.rows]
    if not runs:
        return RowSet(title, {}, lines)
    try:
        scores = scores_of(runs)
    except FileError as error:  # of parts that no manifest vouches for
        remarks.append(f"{error}; no score among runs")
        scores = {run.shown: run.scores() for run in runs}
    name_of = {member.run.shown: member.line.name for member in members}
    groups = {name_of[run]: group for run, group in group_names(runs).items()}
    table = tabulate(own := {name_of[run]: found for run, found in scores.items()})
    seeds = {line.name: str(line.seed) for line in lines}
    rankings: list[Ranking] = []
    chosen_for = Counter(member.line.options["profile"] for member in members)
    for name in sorted(names("profile"), key=lambda name: -chosen_for[name]):  # first what the study was made for
        profile = build(load("profile", name), "profile")
        try:
            ranked = rank_runs(table.values, table.cards, profile, groups=groups, seeds=seeds, errors=table.errors)
            rankings.append(ranked)
        except OptionError as error:
            remarks.append(f"{title or 'all runs'}: not ranked: {error}")
    lines = [replace(line, group=groups.get(line.name, ""), scores=own.get(line.name, ())) for line in lines]
    facts = {f"{role} rows": f"{runs[0].rows.get(role, 0):,}" for role in ("train", "holdout")}
    leaks = worst_leaks(rankings[0], own) if rankings else {}
    return RowSet(title, facts, lines, rankings, _plane(table, groups), leaks)


def _apart(lines: Sequence[RunLine]) -> list[str]:
    """Return the options in which runs differ; those of a model, in which its own runs do."""
    found = []
    for name in dict.fromkeys(name for line in lines for name in line.options):
        seen: dict[str, set[str | None]] = {}
        for line in lines:
            seen.setdefault(line.model if name.startswith("model.") else "", set()).add(line.options.get(name))
        if any(len(values) > 1 for values in seen.values()):
            found.append(name)
    return found


def _plane(table: ScoreTable, groups: Mapping[str, str]) -> Plane | None:
    """Place the runs that have both scores."""
    axes = default_axes()
    both = np.isfinite(table.values.reindex(columns=list(axes)).to_numpy()).all(axis=1)
    return plane(table.values[both], table.errors, table.cards, groups, axes) if both.any() else None
