"""Several runs -> a ranking for a use case, one for each set of real rows that runs were judged on."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import glob
from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth.chunks import write_table
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.table_files import read_table
from ehrsynth.data.training_rows import leaves
from ehrsynth.errors import FileError, OptionError
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.fidelity.dimension_wise_distance import published_distances
from ehrsynth.evaluation.pareto import default_axes
from ehrsynth.evaluation.ranking import Profile, rank_runs, ranks_by_use
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.score_table import tabulate
from ehrsynth.files import TABLE_SUFFIXES, sha256
from ehrsynth.reporting.comparison import Section, comparison_html, ranking_rows, worst_leaks
from ehrsynth.reporting.parts import read_parts
from ehrsynth.reporting.ranking_figures import prevalence_figure, ranking_figures, use_map
from ehrsynth.reporting.style import NamedFigure
from ehrsynth.reporting.summary import Finding
from ehrsynth.study.build import build
from ehrsynth.study.chain import Input, append, log_beside
from ehrsynth.study.conf import Choice, load, names, parsed
from ehrsynth.study.row_sets import titles
from ehrsynth.study.run_folder import PROVENANCE, RunFolder
from ehrsynth.study.spec import OURS, whole
from ehrsynth.words import printable

DECIDING = (
    "model",
    "rows",
    "constraints",
    "trainer",
    "n",
    "privacy",
)  # what sets variants of a model apart


@dataclass(frozen=True, repr=False)
class Comparison:
    """Runs, ranked within the real rows they were judged on: scores on other rows cannot be compared.

    Attributes:
        sections: one for each set of rows.
        runs: path -> run.
        remarks: what is said of sets of rows that could not be ranked, and of runs that were not checked.
        options: that decided, for the log of what is written.
    """

    sections: tuple[Section, ...]
    runs: Mapping[str, RunFolder]
    remarks: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say what was ranked."""
        sets = f" on {len(self.sections)} sets of rows" if len(self.sections) > 1 else ""
        return f"<Comparison of {len(self.runs)} runs for {self.sections[0].ranking.profile.name}{sets}, see .frame>"

    @property
    def frame(self) -> pd.DataFrame:
        """One row per group, best first; with several sets of rows the first column says which."""
        return ranking_rows(self.sections)

    def best(self, section: Section | None = None) -> RunFolder:
        """Return a run of the group that is first on a set of rows, by default the first one."""
        ranking = (section or self.sections[0]).ranking
        return self.runs[next(run for run, group in ranking.groups.items() if group == ranking.table.index[0])]

    def leaks(self, section: Section) -> dict[str, Finding]:
        """Return for each group of a section whether the table of its worst run leaks."""
        return worst_leaks(section.ranking, {run: self.runs[run].scores() for run in section.reports})

    def save(self, target: str | Path) -> Path:
        """Write the ranking as a table and, beside it, the comparison report; return the report's path."""
        target = Path(target)
        suffix = next((suffix for suffix in TABLE_SUFFIXES if target.name.endswith(suffix)), target.suffix)
        html = target.with_name(target.name.removesuffix(suffix) + ".html")
        write_table(target, self.frame)
        comparison_html(html, [replace(section, figures=self._figures(section)) for section in self.sections])
        reports = [file for run in self.runs.values() for file in (run.report, run.report.with_suffix(".parquet"))]
        append(
            log_beside(target),
            "rank",
            options=self.options,
            inputs={printable(str(file)): Input.of(file) for file in reports if file.is_file()},
            outputs={file.name: sha256(file) for file in (target, html)},
        )
        return html

    def _figures(self, section: Section) -> list[NamedFigure]:
        """Draw the ranking and, if matrix and synthetic tables are still there, the columns of one run a group."""
        ranking, runs = section.ranking, [self.runs[run] for run in section.reports]
        shown = ranking_figures(ranking, section.scores or {})
        if len(ranking.table) > 1:
            table = tabulate(section.scores or {})
            uses = [build(load("profile", name), "profile") for name in names("profile")]
            by_use = ranks_by_use(table.values, table.cards, uses, ranking.groups)
            shown.insert(1, use_map(by_use.loc[[str(group) for group in ranking.table.index]]))
        if not all(run.trained and not run.visits.is_file() for run in runs):
            return shown
        origin = runs[0].facts(matrix={"folder": str, "fingerprint": str})["matrix"]
        if not Path(origin["folder"]).is_dir():
            return shown
        matrix = Matrix.open(Path(origin["folder"]))
        if matrix.fingerprint != origin["fingerprint"]:
            return shown
        encoder = Encoder(matrix.schema)
        real = RealData(matrix.schema, matrix.records("train"), matrix.records("holdout"), matrix.constraints)
        first = {group: run for run, group in reversed(ranking.groups.items())}
        shown_of = {group: self.runs[first[str(group)]] for group in ranking.table.index}
        tables = {group: run.synthetic for group, run in shown_of.items()}
        for run in shown_of.values():
            run.require(run.synthetic)
        return [*shown, prevalence_figure(real, {group: encoder.encode(read_table(t)) for group, t in tables.items()})]


def rank(
    runs: RunFolder | str | Path | Iterable[RunFolder | str | Path],
    profile: Profile | Choice = "ml_development",
    *,
    seed: int = 0,
    axes: tuple[str, str] | None = None,
) -> Comparison:
    """Rank runs for a use case; those that differ in nothing but the seed form one group.

    Args:
        runs: finished runs, reports of ``evaluate``, their folders, or a pattern of paths.
        profile: the weights: a name in ``conf/profile``, a YAML file of one's own, or a profile.
        seed: of the bootstrap.
        axes: metrics of utility and privacy for the Pareto view.

    Raises:
        FileError: there is no finished run.
        FileError: a file of a run is not as it was written.
        OptionError: on no set of rows is any metric of the profile there in all runs.
    """
    seed = whole("seed", seed)
    weights = profile if isinstance(profile, Profile) else build(load("profile", profile), "profile")
    if isinstance(runs, str | Path):
        found = find_runs(str(runs))
    else:
        several = [runs] if isinstance(runs, RunFolder) else runs
        found = [RunFolder.open(run.path if isinstance(run, RunFolder) else Path(run)) for run in several]
        if not found:
            raise FileError("runs: none was given; at least one finished run was expected")
    remarks = [f"{run.path}: by a version that kept no hashes: not checked" for run in found if not checked(run)]
    if axes is not None:
        measured = {score.metric for run in found for score in run.scores()}
        remarks += [f"pareto: no run has {axis}" for axis in axes if axis not in {*measured, *default_axes()}]
    sets: dict[tuple[str | None, str | None], list[RunFolder]] = {}
    for run in found:
        sets.setdefault(run.real_data, []).append(run)
    titled = sorted(zip(titles(list(sets.values())), sets.values(), strict=True), key=lambda pair: pair[0])
    sections, left_out = [], []
    for title, own in titled:
        try:
            sections.append(_section(own, weights, seed, axes, title))
        except OptionError as error:  # such as a report of another suite, which keeps the others from nothing
            left_out.append(error)
            remarks.append(f"{title or own[0].path}: not ranked: {error}")
    if not sections:
        raise left_out[0]
    options = {"profile": vars(weights), "seed": seed, "pareto": axes}
    return Comparison(tuple(sections), {run.shown: run for run in found}, tuple(remarks), options)


def checked(run: RunFolder) -> bool:
    """Whether what is ranked of a run is as ``train`` wrote it; a report of ``evaluate`` stands for itself.

    Raises:
        FileError: it is not.
    """
    if not run.trained:
        return True
    parts = run.report.with_suffix(".parquet")
    run.require(run.report, run.path / PROVENANCE, *([parts] if parts.is_file() else []))
    return run.hashes is not None


def find_runs(pattern: str) -> list[RunFolder]:
    """Return the finished runs, and the reports of ``evaluate``, among the paths that a glob matches.

    Raises:
        FileError: there is none.
    """
    found = [Path(match) for match in glob(pattern, recursive=True)]
    folders = sorted({match.parent if match.name == "report.json" else match for match in found})
    runs = [RunFolder(folder) for folder in folders if RunFolder(folder).finished]
    if not runs:
        raise FileError(f"runs={pattern}: no finished run among {len(folders)} matches; a run has a report.json")
    return runs


def _section(
    runs: Sequence[RunFolder], profile: Profile, seed: int, axes: tuple[str, str] | None, title: str
) -> Section:
    scores = scores_of(runs)
    table = tabulate(scores)
    ranking = rank_runs(
        table.values,
        table.cards,
        profile,
        groups=group_names(runs),
        seeds={run.shown: str(run.provenance["seed"]) for run in runs if run.trained},
        errors=table.errors,
        axes=axes,
        seed=seed,
    )
    options = variants(runs)
    facts = {f"{role} rows": f"{runs[0].rows.get(role, 0):,}" for role in ("train", "holdout")}
    return Section(
        ranking, {run.shown: run.report for run in runs}, scores=scores, title=title, facts=facts, options=options
    )


def scores_of(runs: Sequence[RunFolder]) -> dict[str, list[Score]]:
    """Return run -> its scores, and the score that exists only among the runs if all of them kept their parts."""
    files = {run.shown: run.report.with_suffix(".parquet") for run in runs}
    scores = {run.shown: run.scores() for run in runs}
    if all(file.is_file() for file in files.values()):
        for name, score in published_distances({name: read_parts(file) for name, file in files.items()}).items():
            scores[name].append(score)
    return scores


def variants(runs: Sequence[RunFolder]) -> dict[str, str]:
    """Return group -> the options in which it differs from the other groups of its model, where there are such."""
    first: dict[str, tuple[str, Mapping[str, Any]]] = {}
    names = group_names(runs)
    for run in runs:
        if run.trained and run.config.is_file():
            content = parsed(run.config.read_text(encoding="utf-8"), run.config)
            first.setdefault(names[run.shown], (str(run.provenance["model"]), content))
    found: dict[str, str] = {}
    for model in {model for model, _ in first.values()}:
        own = {group: content for group, (name, content) in first.items() if name == model}
        found |= dict(zip(own, options_apart(list(own.values())), strict=True))
    return {group: text for group, text in found.items() if text}


def options_apart(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return for each of several runs of a model the options that set it apart, as one would type them."""
    flat = [deciding(config) for config in configs]
    names = [name for name in dict.fromkeys(name for own in flat for name in own) if _differs(name, flat)]
    return [", ".join(f"{name}={own[name]}" for name in names if name in own) for own in flat]


def deciding(config: Mapping[str, Any], more: Collection[str] = ()) -> dict[str, Any]:
    """Return what decides about a run, and ``more`` parts of its configuration, by option.

    Options of the trainer that earlier versions had not are left out where they have the value that these had.
    """
    found = dict(leaves({part: config[part] for part in (*DECIDING, *more) if part in config}))
    usual = {f"trainer.{name}": value for name, value in OURS.items()}
    return {name: value for name, value in found.items() if name not in usual or value != usual[name]}


def _differs(name: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    return any(name not in own or own[name] != flat[0].get(name) for own in flat)


def group_names(runs: Sequence[RunFolder]) -> dict[str, str]:
    """Return run -> group: the model's name, with the variant behind it where a model has several.

    A report of ``evaluate`` stands alone, under the name of its folder.
    """
    facts = {run.shown: run.provenance for run in runs if run.trained}
    variants = {(fact["model"], fact["variant"]) for fact in facts.values()}
    several = {model for model, count in Counter(model for model, _ in variants).items() if count > 1}
    digits = next(n for n in range(4, 11) if len({(m, v[:n]) for m, v in variants}) == len(variants) or n == 10)
    names = {
        name: f"{fact['model']} {fact['variant'][:digits]}" if fact["model"] in several else str(fact["model"])
        for name, fact in facts.items()
    }
    return {run.shown: names.get(run.shown, run.shown) for run in runs}
