"""``ehrsynth rank``: several runs -> one ranking for a use case."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from ehrsynth.chunks import write_table
from ehrsynth.cli.console import out
from ehrsynth.cli.main import run
from ehrsynth.cli.options import path, whole_number
from ehrsynth.cli.run_folder import RunFolder
from ehrsynth.cli.tables import ranking_table
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.table_files import read_table
from ehrsynth.errors import FileError, OptionError
from ehrsynth.evaluation.compared import published_distances
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.pareto import AXES
from ehrsynth.evaluation.ranking import Profile, Ranking, rank_runs
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.score_table import tabulate
from ehrsynth.files import TABLE_SUFFIXES
from ehrsynth.reporting.comparison import comparison_html, worst_leaks
from ehrsynth.reporting.gallery import NamedFigure
from ehrsynth.reporting.parts import read_parts
from ehrsynth.reporting.ranking_gallery import prevalence_figure, ranking_figures


def task(cfg: DictConfig) -> None:
    """Rank the runs that ``cfg.runs`` matches, print the table, and write it where ``cfg.out`` says."""
    target = None if cfg.out is None else path(cfg, "out")
    if target is not None and not target.name.endswith(TABLE_SUFFIXES):
        raise OptionError(f"out={target}: unknown table type; use one of {', '.join(TABLE_SUFFIXES)}")
    seed = whole_number(cfg, "seed")
    runs = find_runs(str(cfg.runs))
    axes = (str(cfg.pareto.utility), str(cfg.pareto.privacy))
    ranking = rank(runs, instantiate(cfg.profile), seed, axes)
    show(ranking, runs)
    if target is not None:
        html = write_ranking(target, ranking, runs)
        out.print(f"ranking  {target}\nreport   {html}")


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


def rank(runs: Sequence[RunFolder], profile: Profile, seed: int, axes: tuple[str, str] = AXES) -> Ranking:
    """Rank runs; those that differ in nothing but the seed form one group.

    Args:
        runs: what to rank.
        profile: the weights.
        seed: of the bootstrap.
        axes: metrics of utility and privacy for the Pareto view.

    Raises:
        OptionError: the runs were judged on different real rows, so their scores cannot be compared.
    """
    judged_on = {run.real_data: run for run in runs}
    if len(judged_on) > 1:
        first, second = list(judged_on.values())[:2]
        raise OptionError(
            f"runs: {first.path} and {second.path} were judged on different matrices; rank one study at a time"
        )
    table = tabulate(scores_of(runs))
    return rank_runs(
        table.values,
        table.directions,
        profile,
        groups=group_names(runs),
        seeds={str(run.path): str(run.provenance["seed"]) for run in runs if run.trained},
        errors=table.errors,
        axes=axes,
        seed=seed,
    )


def scores_of(runs: Sequence[RunFolder]) -> dict[str, list[Score]]:
    """Return run -> its scores, and the score that exists only among the runs if all of them kept their parts."""
    files = {str(run.path): run.report.with_suffix(".parquet") for run in runs}
    scores = {str(run.path): run.scores() for run in runs}
    if all(file.is_file() for file in files.values()):
        for name, score in published_distances({name: read_parts(file) for name, file in files.items()}).items():
            scores[name].append(score)
    return scores


def show(ranking: Ranking, runs: Sequence[RunFolder]) -> None:
    """Print the ranking, a line for every group that leaks, and one for every pair that cannot be told apart."""
    out.print(ranking_table(ranking))
    scores = {str(folder.path): folder.scores() for folder in runs}
    for group, finding in worst_leaks(ranking, scores).items():
        if finding.level == "poor":
            out.print(f"WARNING: {group}: does it leak? {finding.answer} {finding.detail}", style="bold red")
    for warning in ranking.warnings:
        out.print(f"WARNING: {warning}")


def group_names(runs: Sequence[RunFolder]) -> dict[str, str]:
    """Return run -> group: the model's name, with the variant behind it where a model has several.

    A report of ``evaluate`` stands alone, under the name of its folder.
    """
    facts = {str(run.path): run.provenance for run in runs if run.trained}
    variants = {(fact["model"], fact["variant"]) for fact in facts.values()}
    several = {model for model, count in Counter(model for model, _ in variants).items() if count > 1}
    names = {
        name: f"{fact['model']} {fact['variant'][:4]}" if fact["model"] in several else str(fact["model"])
        for name, fact in facts.items()
    }
    return {str(run.path): names.get(str(run.path), str(run.path)) for run in runs}


def write_ranking(target: Path, ranking: Ranking, runs: Sequence[RunFolder]) -> Path:
    """Write the ranking as a table and, beside it, the comparison report; return the report's path."""
    write_table(target, ranking.table.rename_axis("group").reset_index())
    html = target.with_name(target.name.split(".")[0] + ".html")
    scores = scores_of(runs)
    reports = {str(run.path): run.report for run in runs}
    comparison_html(html, ranking, reports, figures(ranking, runs, scores), scores)
    return html


def figures(ranking: Ranking, runs: Sequence[RunFolder], scores: Mapping[str, Sequence[Score]]) -> list[NamedFigure]:
    """Draw the ranking and, if the matrix and the synthetic tables are still there, the columns of one run a group."""
    shown = ranking_figures(ranking, scores)
    if not all(run.trained for run in runs):
        return shown
    origin = runs[0].provenance["matrix"]
    if not Path(origin["folder"]).is_dir():
        return shown
    matrix = Matrix.open(Path(origin["folder"]))
    if matrix.fingerprint != origin["fingerprint"]:
        return shown
    encoder = Encoder(matrix.schema)
    real = RealData(matrix.schema, matrix.records("train"), matrix.records("holdout"), matrix.constraints)
    first = {group: run for run, group in reversed(ranking.groups.items())}
    tables = {group: RunFolder(Path(first[str(group)])).synthetic for group in ranking.table.index}
    return [*shown, prevalence_figure(real, {group: encoder.encode(read_table(t)) for group, t in tables.items()})]


if __name__ == "__main__":
    run("rank", sys.argv[1:])
