"""``ehrsynth rank``: several runs -> one ranking for a use case."""

import sys
from collections.abc import Mapping
from typing import Any

from ehrsynth.cli.console import out, say, warn
from ehrsynth.cli.main import run
from ehrsynth.cli.options import optional_path
from ehrsynth.cli.tables import ranking_table
from ehrsynth.errors import OptionError, expect
from ehrsynth.files import TABLE_SUFFIXES, writable
from ehrsynth.study.build import build
from ehrsynth.study.rank import Comparison, rank


def task(config: Mapping[str, Any]) -> None:
    """Rank the runs that ``runs`` matches, print the ranking, and write it where ``out`` says."""
    target = optional_path(config, "out")
    if target is not None and not target.name.endswith(TABLE_SUFFIXES):
        raise OptionError(f"out={target}: unknown table type; use one of {', '.join(TABLE_SUFFIXES)}")
    if target is not None:
        writable("out", target, file=True)
    axes = _axes(config["pareto"])
    profile = build(config["profile"], "profile")
    comparison = rank(str(config["runs"]), profile, seed=config["seed"], axes=axes)
    show(comparison)
    if target is not None:
        html = comparison.save(target)
        say(f"ranking  {target}", f"report   {html}")


def _axes(pareto: Any) -> tuple[str, str]:
    expect(isinstance(pareto, Mapping), "pareto", pareto, "utility and privacy, a metric each,")
    for name in ("utility", "privacy"):
        expect(isinstance(pareto[name], str), f"pareto.{name}", pareto[name], "a metric")
    return pareto["utility"], pareto["privacy"]


def show(comparison: Comparison) -> None:
    """Print each ranking, a line for every group that leaks, and those that cannot be told apart."""
    for section in comparison.sections:
        out.print(ranking_table(section.ranking, section.title))
        for group, options in section.options.items():
            say(f"{group}: {options}")
        for group, finding in comparison.leaks(section).items():
            if finding.level == "poor":
                warn(f"{group}: does it leak? {finding.answer} {finding.detail}")
        for warning in section.ranking.warnings:
            say(f"WARNING: {warning}")
    for remark in comparison.remarks:
        say(f"WARNING: {remark}")


if __name__ == "__main__":
    run("rank", sys.argv[1:])
