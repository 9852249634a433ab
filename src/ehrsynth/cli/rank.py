"""``ehrsynth rank``: several runs -> one ranking for a use case."""

import sys
from collections import Counter
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from ehrsynth.cli.console import out
from ehrsynth.cli.main import run
from ehrsynth.cli.options import path, whole_number
from ehrsynth.cli.run_folder import RunFolder
from ehrsynth.cli.tables import ranking_table
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import FileError, OptionError
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.ranking import Profile, Ranking, rank_runs, tabulate
from ehrsynth.files import TABLE_SUFFIXES, read_table, write_table
from ehrsynth.reporting.comparison import comparison_html
from ehrsynth.reporting.gallery import NamedFigure, comparison_figures


def task(cfg: DictConfig) -> None:
    """Rank the runs that ``cfg.runs`` matches, print the table, and write it where ``cfg.out`` says."""
    target = None if cfg.out is None else path(cfg, "out")
    if target is not None and not target.name.endswith(TABLE_SUFFIXES):
        raise OptionError(f"out={target}: unknown table type; use one of {', '.join(TABLE_SUFFIXES)}")
    seed = whole_number(cfg, "seed")
    runs = find_runs(str(cfg.runs))
    ranking = rank(runs, instantiate(cfg.profile), seed)
    out.print(ranking_table(ranking))
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


def rank(runs: Sequence[RunFolder], profile: Profile, seed: int) -> Ranking:
    """Rank runs; those that differ in nothing but the seed form one group.

    Raises:
        OptionError: the runs were judged on different real rows, so their scores cannot be compared.
    """
    judged_on = {run.real_data: run for run in runs}
    if len(judged_on) > 1:
        first, second = list(judged_on.values())[:2]
        raise OptionError(
            f"runs: {first.path} and {second.path} were judged on different matrices; rank one study at a time"
        )
    table = tabulate({str(run.path): run.scores() for run in runs})
    return rank_runs(table.values, table.directions, profile, groups=group_names(runs), errors=table.errors, seed=seed)


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
    comparison_html(html, ranking, {str(run.path): run.report for run in runs}, figures(ranking, runs))
    return html


def figures(ranking: Ranking, runs: Sequence[RunFolder]) -> list[NamedFigure]:
    """Draw the comparison from the matrix and one synthetic table a group, if all of them are still there."""
    if not all(run.trained for run in runs):
        return []
    origin = runs[0].provenance["matrix"]
    if not Path(origin["folder"]).is_dir():
        return []
    matrix = Matrix.open(Path(origin["folder"]))
    if matrix.fingerprint != origin["fingerprint"]:
        return []
    encoder = Encoder(matrix.schema)
    real = RealData(matrix.schema, encoder.encode(matrix.train), encoder.encode(matrix.holdout), matrix.constraints)
    first = {group: run for run, group in reversed(ranking.groups.items())}
    tables = {group: RunFolder(Path(first[str(group)])).synthetic for group in ranking.table.index}
    return comparison_figures(ranking, real, {group: encoder.encode(read_table(t)) for group, t in tables.items()})


if __name__ == "__main__":
    run("rank", sys.argv[1:])
