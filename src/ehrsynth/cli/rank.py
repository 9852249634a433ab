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
    target = None if cfg.out is None else Path(cfg.out)
    if target is not None and not target.name.endswith(TABLE_SUFFIXES):
        raise OptionError(f"out={target}: unknown table type; use one of {', '.join(TABLE_SUFFIXES)}")
    runs = find_runs(cfg.runs)
    ranking = rank(runs, instantiate(cfg.profile), cfg.seed)
    out.print(ranking_table(ranking))
    if target is not None:
        html = write_ranking(target, ranking, runs)
        out.print(f"ranking  {target}\nreport   {html}")


def find_runs(pattern: str) -> list[RunFolder]:
    """Return the finished runs among the folders that a glob matches.

    Raises:
        FileError: there is none.
    """
    folders = sorted({Path(match) for match in glob(str(pattern), recursive=True)})
    runs = [RunFolder(folder) for folder in folders if RunFolder(folder).finished]
    if not runs:
        raise FileError(f"runs={pattern}: no finished run among {len(folders)} matches; a run has a report.json")
    return runs


def rank(runs: Sequence[RunFolder], profile: Profile, seed: int) -> Ranking:
    """Rank runs; those that differ in nothing but the seed form one group.

    Raises:
        OptionError: the runs were trained on different matrices, so their scores cannot be compared.
    """
    fingerprints = {run.provenance["matrix"]["fingerprint"]: run for run in runs}
    if len(fingerprints) > 1:
        first, second = list(fingerprints.values())[:2]
        raise OptionError(
            f"runs: {first.path} and {second.path} come from different matrices; rank one study at a time"
        )
    table = tabulate({str(run.path): run.scores() for run in runs})
    return rank_runs(table.values, table.directions, profile, groups=group_names(runs), errors=table.errors, seed=seed)


def group_names(runs: Sequence[RunFolder]) -> dict[str, str]:
    """Return run -> group: the model's name, with the variant behind it where a model has several."""
    facts = {str(run.path): run.provenance for run in runs}
    variants = {(fact["model"], fact["variant"]) for fact in facts.values()}
    several = {model for model, count in Counter(model for model, _ in variants).items() if count > 1}
    return {
        path: f"{fact['model']} {fact['variant'][:4]}" if fact["model"] in several else str(fact["model"])
        for path, fact in facts.items()
    }


def write_ranking(target: Path, ranking: Ranking, runs: Sequence[RunFolder]) -> Path:
    """Write the ranking as a table and, beside it, the comparison report; return the report's path."""
    write_table(target, ranking.table.rename_axis("group").reset_index())
    html = target.with_name(target.name.split(".")[0] + ".html")
    comparison_html(html, ranking, {str(run.path): run.report for run in runs}, figures(ranking, runs))
    return html


def figures(ranking: Ranking, runs: Sequence[RunFolder]) -> list[NamedFigure]:
    """Draw the comparison from the matrix and one synthetic table a group; none if the matrix has moved."""
    folder = Path(runs[0].provenance["matrix"]["folder"])
    if not folder.is_dir():
        return []
    matrix = Matrix.open(folder)
    encoder = Encoder(matrix.schema)
    real = RealData(matrix.schema, encoder.encode(matrix.train), encoder.encode(matrix.holdout), matrix.constraints)
    first = {group: run for run, group in reversed(ranking.groups.items())}
    tables = {group: RunFolder(Path(first[str(group)])).synthetic for group in ranking.table.index}
    return comparison_figures(ranking, real, {group: encoder.encode(read_table(t)) for group, t in tables.items()})


if __name__ == "__main__":
    run("rank", sys.argv[1:])
